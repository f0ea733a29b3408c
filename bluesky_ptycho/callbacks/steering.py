"""The settings of a run under analysis, and who changes them: knobs, or the record of an earlier run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..errors import PtychoError
from ..knobs import Change, Request, turned
from .frame_supply import FrameSupply
from .live_settings import LiveSettings
from .notes import Notes
from .solving import Solving


class Steering:
    """Carries out requests between the passes of one run, and keeps account of them.

    A request that cannot be carried out is noted, and everything goes on as it was.

    Parameters
    ----------
    settings : LiveSettings
        What the run starts with, or the newest of `applied`.
    notes : Notes
    script : sequence of Change
        Of an earlier result: each is made again at equal frames used and, where those are the same, as many passes
        after the one before.
    applied : sequence of Change
        Of this run already, by a process that died.

    Attributes
    ----------
    settings : LiveSettings
        In force now.
    changes : tuple of Change
        Made so far; replaced, never changed: any thread may read it.
    paused : bool
        Whether no passes are to be made.
    obeyed : int
        Requests that have been dealt with, whatever came of them.
    """

    def __init__(
        self, settings: LiveSettings, notes: Notes, script: Sequence[Change] = (), applied: Sequence[Change] = ()
    ) -> None:
        self.settings, self._notes = settings, notes
        self.changes = tuple(applied)
        self._requests: deque[Request] = deque()
        self._script = deque(script[len(applied) :])
        self._counted_from = (0, 0)
        """Passes that the earlier result and this run had made at the last change that both have."""
        if applied and script:
            self._count_from(script[min(len(applied), len(script)) - 1], applied[-1].iteration)
        self.paused = next((c.changed["paused"] for c in reversed(self.changes) if "paused" in c.changed), False)
        self._closed = False
        self.obeyed = 0

    @property
    def version(self) -> int:
        """Number of the settings in force; 0 are those that the run started with."""
        return len(self.changes)

    def request(self, request: Request) -> None:
        """Ask for something, from any thread; it is done between two passes."""
        self._requests.append(dict(request))
        if self._closed:
            self.close()

    # -- in the thread of the analysis ----------------------------------------------------------

    def frames_until_next(self, solver: Any) -> int | None:
        """Return after how many more frames the script goes on, None if no number of frames matters; 0: none now."""
        return max(0, self._script[0].frames_used - solver.n_frames) if self._script else None

    @property
    def has_more(self) -> bool:
        """Whether the script goes on."""
        return bool(self._script)

    def obey(self, solver: Any, supply: FrameSupply, solving: Solving, *, over: bool = False) -> None:
        """Do what has been asked for, and what the script says; `over` is when all frames have come."""
        if over:
            self.paused = False
        while self._requests:
            self._carry_out(self._requests.popleft(), solver, supply, solving)
            self.obeyed += 1
        while self._script and not supply.is_rereading and self._is_due(self._script[0], solver, solving, over=over):
            change = self._script.popleft()
            self._carry_out(change.changed, solver, supply, solving)
            self._count_from(change, solver.iteration)

    def close(self) -> None:
        """Do nothing more: what is asked for from now on comes too late for this run."""
        self._closed = True
        while self._requests:
            self._notes.add(f"{_words(self._requests.popleft())} came after the last pass, too late for this scan")

    def _is_due(self, change: Change, solver: Any, solving: Solving, *, over: bool) -> bool:
        if not over and solver.n_frames < change.frames_used:
            return False
        then, here = self._counted_from
        return solver.iteration - here >= change.iteration - then or self.paused or not solving.wants_pass(solver)

    def _count_from(self, change: Change, iteration: int) -> None:
        """Count passes from `change` on, here at `iteration`; a solver that starts again counts from 0."""
        again = change.changed.get("reset") or "preprocess.optical_centre" in change.changed
        self._counted_from = (0, 0) if again else (change.iteration, iteration)

    def _carry_out(self, request: Request, solver: Any, supply: FrameSupply, solving: Solving) -> None:
        frames_used, iteration = solver.n_frames, solver.iteration
        try:
            settings = turned(self.settings, request)
            reset, paused = request.get("reset", False), request.get("paused", self.paused)
            if settings == self.settings and not reset and paused == self.paused:
                return
            self._apply(settings, solver, supply, solving)
        except PtychoError as error:
            self._notes.add(f"{_words(request)} cannot be had in this scan, which goes on as it was: {error}")
            return
        if reset or settings.preprocess.optical_centre != self.settings.preprocess.optical_centre:
            solver.reset()
            solving.begin_again()
        self.settings, self.paused = settings, paused
        change = Change(self.version + 1, request, settings.to_dict(), frames_used, iteration, time.time())
        self.changes = (*self.changes, change)
        since = f"from iteration {iteration} on, with {frames_used} frames"
        self._notes.log.tell(f"{_words(request)} {since}: settings version {self.version}")

    def _apply(self, settings: LiveSettings, solver: Any, supply: FrameSupply, solving: Solving) -> None:
        if settings.preprocess != self.settings.preprocess:
            supply.refuse(settings.preprocess)
        if settings.solver != self.settings.solver:
            solver.change(settings.solver)
        if settings.preprocess != self.settings.preprocess:
            supply.change(settings.preprocess)
        if settings != self.settings:
            solving.change(settings)


def _words(request: Request) -> str:
    return ", ".join(f"{name} = {value}" for name, value in request.items())
