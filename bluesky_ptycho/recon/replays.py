"""Passes that a device has learnt: one call does again what took Python dozens (a CUDA graph).

A pass over few frames in many batches keeps a fast card waiting for its next order. As no pass waits for the device
before its end, all that it orders can be recorded, with the frames in an order that lies in a buffer. Whether that
helps is measured: a pass is recorded once it has come twice in the same form and Python took most of its time, and what
was recorded is used if it gives what the plain pass gives, and sooner.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..backend import Backend
from ..registry import algorithms
from .engine import Engine, PassForm, RecordingEngine, Slots
from .passes import PassOptions
from .state import ReconState

logger = logging.getLogger("bluesky_ptycho")

REPLAYABLE = ("epie", "rpie", "mpie", "lsqml")
"""Algorithms that change nothing but object, probe and their velocities, in place. The others make one batch a pass."""

IMAGES = ("object", "probe", "object_velocity", "probe_velocity")

PLAIN_FIRST = 2
"""Passes of a form before it is recorded: kernels are compiled, transforms planned and times known by then."""

ORDERING_SHARE = 0.7
"""Of a plain pass's time, that Python takes to give its orders, from which on it is recorded: where the device has more
to do than that, there is nothing to gain, and the memory of a recorded pass would be much."""

TRIES = 2
"""Recorded passes after which it is decided whether they help."""

SAME = 1e-3
"""Relative difference of images that the order of atomic additions may make in a pass."""


def make_pass(name: str, state: ReconState, engine: Engine, slots: Slots, options: PassOptions) -> float:
    """Make a pass of the algorithm `name`, wait for its error, and read what its visits have noted.

    Parameters
    ----------
    name : str
        Of a registered algorithm.
    state : ReconState
    engine : Engine
    slots : (n,) int64
        Frames in the order of their visits.
    options : PassOptions

    Returns
    -------
    float
        Sum of (amplitude - |wave|)² over valid pixels, in photons, as the frames were met.
    """
    # Batches of neighbours are other frames, in other numbers, each time.
    form = engine.form_of(state) if name in REPLAYABLE and not options.settings.compact_batches else None
    if form is None:
        error = float(algorithms[name](state, engine, slots, options))
    else:
        replays: Replays = state.memory.setdefault("replays", Replays())
        work = _Pass(name, state, cast(RecordingEngine, engine), options)
        error = replays.make(work, form.with_values(name, options, len(slots)), slots)
    engine.read_notes(state)
    return error


@dataclass
class _Recorded:
    """What was recorded, for images and an order of frames that lie where they lay then.

    Attributes
    ----------
    replay : callable
    images : list of complex64
        Those of :data:`IMAGES` that it works on.
    order, order_there : (n,) int64, (n,) int32 on the device
        Frames in the order that it visits them.
    error : scalar on the device
    notes : list
        As :meth:`RecordingEngine.take_notes` returns them, whose slots are slices of `order`.
    """

    replay: Callable[[], None]
    images: list[Any]
    order: Slots
    order_there: Any
    error: Any
    notes: list[Any]


@dataclass(frozen=True)
class _Pass:
    """What a pass is made with."""

    name: str
    state: ReconState
    engine: RecordingEngine
    options: PassOptions

    def plain(self, slots: Slots) -> Any:
        """Order all that the algorithm wants; return its error, a scalar on the device."""
        return algorithms[self.name](self.state, self.engine, slots, self.options)

    def images(self) -> list[Any]:
        """Return copies of what the pass changes."""
        return [getattr(self.state, name) * 1 for name in IMAGES]

    def record(self, order: Slots, there: Any) -> _Recorded:
        """Record the pass over `order`, which lies on the device at `there`."""
        images, found = [getattr(self.state, name) for name in IMAGES], []
        self.engine.clear()  # sums that are there already would not be set to 0 again
        try:
            replay = self.state.backend.record(lambda: found.append(self.plain(order)))
        finally:
            self.engine.clear()  # sums that were recorded only were never set to 0
        return _Recorded(replay, images, order, there, found[0], self.engine.take_notes())

    def put_back(self, images: list[Any]) -> None:
        """Set what the pass changes, in the arrays that are there."""
        for name, image in zip(IMAGES, images, strict=True):
            getattr(self.state, name)[...] = image


class Replays:
    """What is known of the passes of one state in their latest form.

    Attributes
    ----------
    plain_s, replayed_s : list of float
        How long passes have taken either way.
    given_up : bool
        Whether recording has failed.
    """

    def __init__(self) -> None:
        self._form: PassForm | None = None
        self._forget()

    def _forget(self) -> None:
        self.given_up = False
        self.plain_s: list[float] = []
        self.replayed_s: list[float] = []
        self._ordering_s = 0.0
        self._recorded: _Recorded | None = None

    @property
    def helps(self) -> bool:
        """Whether what is recorded takes less time than plain passes, as far as is known."""
        return len(self.replayed_s) < TRIES or min(self.replayed_s) < min(self.plain_s)

    @property
    def _worth_recording(self) -> bool:
        """Whether a plain pass has come often enough, and left the device idle."""
        waiting = len(self.plain_s) == PLAIN_FIRST and not self.given_up
        return waiting and self._ordering_s > ORDERING_SHARE * self.plain_s[-1]

    def make(self, work: _Pass, form: PassForm, slots: Slots) -> float:
        """Make a pass over `slots`, plain or recorded; return its error."""
        if self._form is None or not form.is_same(self._form):
            self._form = form
            self._forget()
            work.state.backend.give_back()
        if self._recorded is not None:
            return self._again(work, slots)
        return self._record(work, slots) if self._worth_recording else self._plain(work, slots)

    def _plain(self, work: _Pass, slots: Slots) -> float:
        began = time.perf_counter()
        error = work.plain(work.engine.follow(slots)[0])
        self._ordering_s = time.perf_counter() - began
        error = float(error)
        self.plain_s.append(time.perf_counter() - began)
        return error

    def _record(self, work: _Pass, slots: Slots) -> float:
        """Record the pass, try it, and make it the plain way."""
        engine = work.engine
        order, there = engine.follow(slots)
        noted, before, recorded = engine.take_notes(), work.images(), None
        try:
            recorded = work.record(order, there)
            for _ in range(2):  # the second meets what the first has left
                work.put_back(before)
                recorded.replay()
            tried, error_tried = work.images(), float(recorded.error)
        except Exception as error:  # a driver has kinds of errors of its own; the plain way is open
            recorded, self.given_up = None, True
            logger.info("a pass cannot be recorded: %s: %s", type(error).__name__, error)
            engine.take_notes()
        work.put_back(before)
        engine.give_notes(noted)
        error_plain = float(work.plain(order))
        self.plain_s.append(min(self.plain_s))  # it has been recorded: that is not tried again
        if recorded is None or not np.isfinite(error_plain):
            recorded = None
        elif np.isclose(error_tried, error_plain, rtol=SAME) and _alike(work.state.backend, tried, recorded.images):
            self._recorded = recorded
        else:
            recorded, self.given_up = None, True
            logger.warning("a recorded pass differs from the plain one on this device; passes are made the plain way")
        work.state.backend.give_back()
        return error_plain

    def _again(self, work: _Pass, slots: Slots) -> float:
        recorded, state, began = self._recorded, work.state, time.perf_counter()
        assert recorded is not None
        for name, image in zip(IMAGES, recorded.images, strict=True):
            if getattr(state, name) is not image:
                image[...] = getattr(state, name)
                setattr(state, name, image)
        recorded.order[:] = slots
        recorded.order_there[...] = state.backend.to_device(slots.astype(np.int32))
        recorded.replay()
        work.engine.give_notes(recorded.notes)
        error = float(recorded.error)
        self.replayed_s.append(time.perf_counter() - began)
        if not self.helps:
            work.engine.read_notes(state)  # before what they lie in is gone
            self._recorded = recorded = None
            state.backend.give_back()
        return error


def _alike(backend: Backend, ours: list[Any], theirs: list[Any]) -> bool:
    """Tell whether images are the same but for the order of additions."""
    xp = backend.xp
    sizes = [(xp.max(xp.abs(a - b)), xp.max(xp.abs(b))) for a, b in zip(ours, theirs, strict=True)]
    numbers = backend.floats([number for pair in sizes for number in pair])
    return all(difference <= SAME * size for difference, size in zip(numbers[::2], numbers[1::2], strict=True))
