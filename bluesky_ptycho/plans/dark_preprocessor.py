"""Darks for any plan: a preprocessor that takes them when they are needed.

Argument names are those of bluesky-darkframes, whose own preprocessor knows neither stream assets nor fly scans.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import Msg, MsgGenerator, ensure_generator, make_decorator

from ..errors import SettingsError
from ..frames import Acquisition
from ..given import check_callable, check_device, check_seconds
from ..keywords import checks_arguments
from ..scan_plan import MAX_DARK_AGE_S, START_KEY, dark_conditions
from .beamline import Shutter
from .darks import dark_records

TAKES_FRAMES = ("prepare", "trigger", "kickoff")


@dataclass(frozen=True)
class ShutterDarks:
    """The usual dark plan: shutter closed, `n_darks` events, and the shutter as it was.

    After a failure the shutter stays closed.

    Parameters
    ----------
    shutter : device
    n_darks : int
    stream_name : str
    """

    shutter: Any
    n_darks: int = 10
    stream_name: str = "dark"

    def __call__(self, detector: Any, exposures_s: Sequence[float]) -> MsgGenerator[None]:
        """Take darks with `detector` within an open run."""
        shutter = Shutter.of(self.shutter)
        assert shutter is not None
        before = yield from bps.rd(shutter.device)
        yield from shutter.close()
        if hasattr(detector, "prepare"):
            acquisition = Acquisition(self.stream_name, self.n_darks, tuple(exposures_s), None, "darks")
            yield from bps.prepare(detector, acquisition, wait=True)
        for _ in range(self.n_darks):
            yield from bps.checkpoint()
            yield from bps.trigger_and_read([detector], name=self.stream_name)
        yield from bps.checkpoint()
        yield from bps.mv(shutter.device, before)


class DarkPreprocessor:
    """Insert darks into every run that takes frames with a detector and has no fitting ones.

    They go into a stream of their own in the same run, before its first frame. A later run of equal exposures,
    gain, shape and locked signals, within `max_age`, does without and names the run in ``dark_uid`` of its start
    document. Ptychography scans that see to their darks themselves are left alone. What changes in the midst of
    a run counts for the next one: a stream has one file, which is open then.

    Parameters
    ----------
    detector : device
    dark_plan : callable, optional
        ``dark_plan(detector, exposures_s)`` takes darks in the open run; :class:`ShutterDarks` with the detector's
        own shutter unless given.
    max_age : float
        In s; infinity where darks serve for good.
    locked_signals : sequence of signals
        Darks serve as long as these read the same.

    Raises
    ------
    SettingsError
        If an argument is of no use, or neither `dark_plan` is given nor the detector has a shutter.

    Examples
    --------
    >>> RE.preprocessors.append(DarkPreprocessor(detector=fccd, locked_signals=[fccd.adu_per_ev]))  # doctest: +SKIP
    >>> RE(bp.count([fccd], 100))                                                                  # doctest: +SKIP
    """

    @checks_arguments
    def __init__(
        self,
        *,
        detector: Any,
        dark_plan: Callable[[Any, Sequence[float]], MsgGenerator[Any]] | None = None,
        max_age: float = MAX_DARK_AGE_S,
        locked_signals: Sequence[Any] = (),
    ) -> None:
        check_device("detector", detector, "a detector")
        check_seconds("max_age", max_age)
        if dark_plan is not None:
            check_callable("dark_plan", dark_plan, "a plan of (detector, exposures_s), or None")
        if dark_plan is None:
            shutter = getattr(detector, "shutter", None)
            if shutter is None:
                raise SettingsError(f"dark_plan is None and {detector.name} has no shutter; expected one of both")
            dark_plan = ShutterDarks(shutter)
        self.detector, self.dark_plan = detector, dark_plan
        self.max_age, self.locked_signals = max_age, tuple(locked_signals)

    def __call__(self, plan: Any) -> MsgGenerator[Any]:
        """Return `plan` with darks where they are needed."""
        plan = ensure_generator(plan)
        state = _State()
        answer, error = None, None
        while True:
            try:
                msg = plan.send(answer) if error is None else plan.throw(error)
            except StopIteration as end:
                return end.value
            answer, error = None, None
            try:
                answer = yield from self._process(msg, state)
            except GeneratorExit:
                plan.close()
                raise
            except Exception as raised:  # the plan itself must hear of it, to clean up
                error = raised

    def _process(self, msg: Msg, state: _State) -> Generator[Msg, Any, Any]:
        runs = state.runs
        if msg.command == "open_run":
            return (yield from self._open(msg, runs))
        if msg.command == "close_run":
            runs.pop(msg.run, None)
        elif self._takes_frames(msg):
            # Most plans give a key to a run, if at all, where they open it: then any open one may be meant.
            for run in [runs[msg.run]] if msg.run in runs else list(runs.values()):
                if not run.settled:
                    yield from self._settle(run, msg, state.prepared)
                    run.settled = True
            if msg.command == "prepare":
                state.prepared = msg.args[0]
        elif msg.command == "unstage" and msg.obj is self.detector:
            state.prepared = None
        return (yield msg)

    def _open(self, msg: Msg, runs: dict[Any, _Run]) -> Generator[Msg, Any, Any]:
        """Open a run, which names the darks that serve it if there are any."""
        scan = msg.kwargs.get(START_KEY)
        if isinstance(scan, Mapping) and (scan.get("n_darks") or scan.get("dark_uid")):
            return (yield msg)
        run = _Run(msg.run, is_scan=isinstance(scan, Mapping))
        run.named = self._find((yield from self._key(self._exposures())), run, self._exposures())
        if run.named is not None:
            md = {**msg.kwargs, "dark_uid": run.named}
            if isinstance(scan, Mapping):
                md[START_KEY] = {**scan, "dark_uid": run.named}
            msg = msg._replace(kwargs=md)
        run.uid = yield msg
        runs[msg.run] = run
        return run.uid

    def _takes_frames(self, msg: Msg) -> bool:
        """Tell whether a message makes the detector, or a flyer with its name, take frames or get ready to."""
        if msg.command not in TAKES_FRAMES or getattr(msg.obj, "name", None) != self.detector.name:
            return False
        rehearsal = msg.command == "prepare" and getattr(msg.args[0], "stream", "") is None
        return not rehearsal

    def _settle(self, run: _Run, msg: Msg, prepared: Any) -> MsgGenerator[None]:
        """Take darks before the first frame of a run unless those that it names serve.

        What the plan has `prepared` before it opened the run is prepared again after them.
        """
        exposures = tuple(getattr(msg.args[0], "exposures_s", ())) if msg.command == "prepare" else ()
        exposures = exposures or self._exposures()
        key = yield from self._key(exposures)
        if run.named is not None and self._find(key, run, exposures) == run.named:
            return
        darks = self.dark_plan(self.detector, exposures)
        yield from darks if run.key is None else bpp.set_run_key_wrapper(darks, run.key)
        if msg.command == "trigger" and hasattr(self.detector, "prepare"):
            # The plan does not prepare its frames any more: they must not follow the darks into their file.
            acquisition = prepared or Acquisition("primary", 1, exposures, None, "scan")
            yield from bps.prepare(self.detector, acquisition, wait=True)
        n_darks = int(getattr(self.dark_plan, "n_darks", 1))
        dark_records(self.detector).remember_for(key, n_darks, run.uid, is_scan=run.is_scan)

    def _exposures(self) -> tuple[float, ...]:
        return tuple(getattr(self.detector, "exposures_s", ()))

    def _key(self, exposures_s: Sequence[float]) -> Generator[Msg, Any, str]:
        """Return what must be equal for darks to serve."""
        locked = {}
        for signal in self.locked_signals:
            value = yield from bps.rd(signal)
            locked[signal.name] = np.asarray(value).tolist()
        return json.dumps([self._conditions(exposures_s), locked])

    def _conditions(self, exposures_s: Sequence[float]) -> str:
        info = getattr(self.detector, "info", None)
        return dark_conditions(None if info is None else info(), exposures_s)

    def _find(self, key: str, run: _Run, exposures_s: Sequence[float]) -> str | None:
        records, n_darks = dark_records(self.detector), int(getattr(self.dark_plan, "n_darks", 1))
        found = records.find_for(key, n_darks, self.max_age, is_scan=run.is_scan)
        if found is None and not self.locked_signals:  # those of a ptychography scan
            found = records.find_for(self._conditions(exposures_s), n_darks, self.max_age, is_scan=run.is_scan)
        return found


@dataclass
class _State:
    """The open runs of a plan, and what it has prepared the detector for, if anything."""

    runs: dict[Any, _Run] = field(default_factory=dict)
    prepared: Any = None


@dataclass
class _Run:
    """An open run, whether it is a ptychography scan, the darks that it names, and whether it has what it needs."""

    key: Any
    is_scan: bool
    uid: str = ""
    named: str | None = None
    settled: bool = False


def dark_wrapper(plan: Any, **arguments: Any) -> MsgGenerator[Any]:
    """Return `plan` with darks where they are needed; arguments as for :class:`DarkPreprocessor`."""
    return (yield from DarkPreprocessor(**arguments)(plan))


dark_preprocessor = make_decorator(dark_wrapper)
"""Decorator of plans: ``@dark_preprocessor(detector=fccd)``; arguments as for :class:`DarkPreprocessor`."""
