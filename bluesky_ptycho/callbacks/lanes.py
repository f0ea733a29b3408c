"""Sinks at work: each has a thread of its own, so that none slows the solver or another sink."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

from ..errors import PtychoError
from .updates import Sink, Update

OnError = Callable[[str, BaseException], None]

MOST_BATCHES = 4
"""Batches of frames that wait for a sink; bounds the memory."""


class Lane(threading.Thread):
    """Give one sink the updates of one run, in order.

    A sink that is slower than the run gets the newest counters and the newest snapshot; what they replace is
    not shown. It is told of the first and of the last update whatever happens, and of frames, where it wants them.

    Parameters
    ----------
    sink : Sink
    name : str
        How messages call it.
    patience_s : float
        How long frames wait for a sink that has too many waiting.
    on_error : callable
        ``on_error(name, error)``, when the sink raises; it is left out from then on.

    Attributes
    ----------
    skipped : int
        Snapshots that the sink was not shown.
    error : BaseException or None
        What it raised.
    """

    def __init__(self, sink: Sink, name: str, run: str, patience_s: float, on_error: OnError) -> None:
        super().__init__(name=f"{run} {name}", daemon=True)
        self.sink, self.label = sink, name
        self.wants_frames = bool(getattr(sink, "wants_frames", False))
        self._patience_s = patience_s
        self._n_batches = 0
        self.skipped = 0
        self.error: BaseException | None = None
        self._on_error = on_error
        self._waiting: dict[str, Update] = {}
        self._changed = threading.Condition()
        self._context = copy_context()

    def start(self) -> None:
        """Start the thread, in the context of the one that starts it: what it says belongs to the same run."""
        self._context = copy_context()
        super().start()

    def put(self, update: Update) -> None:
        """Take an update; waits for the sink with frames alone, and then only so long."""
        if update.kind == "frames":
            if self.wants_frames and not self._put_frames(update):
                self.give_up(PtychoError(f"it has not taken a batch of frames for {self._patience_s:g} s"))
            return
        with self._changed:
            if self.error is not None:
                return
            if update.kind == "final":
                self._replace("progress", "snapshot")
            self._replace(update.kind)
            self._waiting[update.kind] = update
            self._changed.notify()

    def _put_frames(self, update: Update) -> bool:
        """Tell whether there was room for frames within the patience."""
        with self._changed:

            def has_room() -> bool:
                return self.error is not None or sum(key.startswith("frames") for key in self._waiting) < MOST_BATCHES

            if not self._changed.wait_for(has_room, self._patience_s):
                return False
            if self.error is None:
                self._n_batches += 1
                self._waiting[f"frames {self._n_batches}"] = update
                self._changed.notify_all()
        return True

    def _replace(self, *kinds: str) -> None:
        for kind in kinds:
            self.skipped += self._waiting.pop(kind, None) is not None and kind == "snapshot"

    def run(self) -> None:
        """Work until the final update is delivered, or the sink has failed."""
        self._context.run(self._work)

    def _work(self) -> None:
        kind = ""
        while kind != "final" and self.error is None:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                kind = next(iter(self._waiting))
                update = self._waiting.pop(kind)
                self._changed.notify_all()
            try:
                self.sink(update)
            except BaseException as error:  # a sink may even call sys.exit()
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self.error = error
            self._waiting.clear()
            self._changed.notify_all()
        self._on_error(self.label, error)

    def give_up(self, error: PtychoError) -> None:
        """Leave a sink alone that does not return."""
        if self.error is None:
            self._fail(error)


class Lanes:
    """The sinks of one run.

    Parameters
    ----------
    sinks : sequence of Sink
    run : str
        What the threads' names begin with.
    patience_s : float
        How long the last update of a run, or frames, wait for a sink.
    on_error : callable
        ``on_error(name, error)``, once for each sink that fails.
    """

    def __init__(self, sinks: Sequence[Sink], run: str, patience_s: float, on_error: OnError) -> None:
        self._patience_s = patience_s
        names: list[str] = []
        for sink in sinks:
            name = str(getattr(sink, "name", type(sink).__name__))
            names.append(name if name not in names else f"{name} {len(names) + 1}")
        self._lanes = [Lane(sink, name, run, patience_s, on_error) for sink, name in zip(sinks, names, strict=True)]

    def __len__(self) -> int:
        return len(self._lanes)

    def start(self) -> None:
        """Start the threads."""
        for lane in self._lanes:
            lane.start()

    @property
    def want_frames(self) -> bool:
        """Whether a sink wants the frames."""
        return any(lane.wants_frames and lane.error is None for lane in self._lanes)

    def send(self, update: Update) -> None:
        """Pass an update on; waits with frames alone, for sinks that want them and are some of them behind."""
        for lane in self._lanes:
            lane.put(update)

    @property
    def skipped(self) -> int:
        """Snapshots that a sink was not shown because it was busy, of all sinks together."""
        return sum(lane.skipped for lane in self._lanes)

    @property
    def errors(self) -> dict[str, BaseException]:
        """Name of each sink that failed, with its error."""
        return {lane.label: lane.error for lane in self._lanes if lane.error is not None}

    @property
    def result_uid(self) -> Any:
        """Uid of the run that holds the result, None without one."""
        return next((lane.sink.result_uid for lane in self._lanes if hasattr(lane.sink, "result_uid")), None)

    def finish(self, make_update: Callable[[], Update]) -> Update:
        """Send the last update and wait for the sinks; return what was sent last.

        What stores the result comes after the others, so that it holds what became of them.
        """
        storing = [lane for lane in self._lanes if hasattr(lane.sink, "result_uid")]
        for lanes in ([lane for lane in self._lanes if lane not in storing], storing):
            update = make_update()
            for lane in lanes:
                lane.put(update)
            deadline = time.monotonic() + self._patience_s
            for lane in lanes:
                lane.join(max(0.0, deadline - time.monotonic()))
                if lane.is_alive():
                    lane.give_up(PtychoError(f"it has not come back for {self._patience_s:g} s"))
        return make_update()
