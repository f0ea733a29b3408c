"""The solver at work on one run: passes while there are some to be made, checkpoints, going on from one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..errors import MetadataError, NotFoundError, SettingsError
from ..geometry import Geometry
from ..io.checkpoint import Checkpoint
from ..preprocess import output_geometry
from ..recon import IncrementalSolver
from ..scan_plan import ScanPlan
from .checkpoints import Checkpoints
from .frame_supply import FrameSupply
from .intake import Intake
from .live_settings import LiveSettings
from .notes import Notes

HALVES_EVERY = 10
"""Passes between two over the half data sets while frames come: the live resolution takes a tenth of the time, of
which the end has as much less to do."""


class Solving:
    """Makes the passes that settings allow.

    Parameters
    ----------
    settings : LiveSettings
    notes : Notes
    checkpoints : Checkpoints, optional
        Where the state is kept.
    resumed : Checkpoint, optional
        What to go on from.
    beat : callable
        Called after every pass.

    Attributes
    ----------
    residual : float
        Of the last pass; NaN before the first.
    half_passes : int
        How often a frame was visited in its half data set, on average.
    """

    def __init__(
        self,
        settings: LiveSettings,
        notes: Notes,
        checkpoints: Checkpoints | None = None,
        resumed: Checkpoint | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._notes, self._beat = settings, notes, beat
        self._checkpoints, self._resumed = checkpoints, resumed
        self._visits = 0
        self._since_halves = 0
        self._last_news = time.monotonic()
        self.residual = float("nan")
        self.half_passes = 0

    # -- passes -------------------------------------------------------------------------------

    def wants_pass(self, solver: IncrementalSolver) -> bool:
        """Whether the frames have not had their passes yet.

        The bound is what makes a live result equal to its replay: both end with the same number of
        visits to each frame, whatever time there was in between, and a slow scan leaves the
        processor to others.
        """
        return solver.n_frames > 0 and self._visits < self._settings.passes * solver.n_frames

    def wants_halves(self, solver: IncrementalSolver) -> bool:
        """Whether the half data sets lag behind; beside :data:`HALVES_EVERY` they take time that is left over."""
        return self._settings.frc and solver.step_halves(0) < self._settings.solver.frc_passes

    def change(self, settings: LiveSettings) -> None:
        """Go by other settings; frames that have had their passes get as many with these."""
        self._settings = settings
        self._visits = 0
        if self._checkpoints is not None:
            self._checkpoints.settings = settings.to_dict()

    def begin_again(self) -> None:
        """Count from the first pass on, as the solver does."""
        self._visits, self.residual, self.half_passes = 0, float("nan"), 0
        if self._checkpoints is not None:
            self._checkpoints.discard()

    def halves_are_due(self, solver: IncrementalSolver) -> bool:
        """Whether it is the turn of the half data sets, although frames want passes."""
        return self._since_halves >= HALVES_EVERY and self.wants_halves(solver)

    def iterate(self, solver: IncrementalSolver) -> None:
        """Make a pass."""
        self.residual = float(solver.step(1))
        self._visits += solver.n_frames
        self._since_halves += 1
        self._after_pass(solver)

    def step_halves(self, solver: IncrementalSolver) -> None:
        """Make a pass over the half data sets."""
        visits = solver.step_halves()
        self.half_passes = round(visits) if math.isfinite(visits) else 0
        self._since_halves = 0
        self._after_pass(solver)

    def finish(self, solver: IncrementalSolver, tell: Callable[[], None]) -> None:
        """Make the passes of the tail; call ``tell()`` after each."""

        def after_pass() -> None:
            self._after_pass(solver)
            tell()

        solver.finish(after_pass)

    def _after_pass(self, solver: IncrementalSolver) -> None:
        self._beat()
        if solver.taken_back:
            self._notes.add("the reconstruction diverged and went back to its last good state, with smaller steps")
        if self._checkpoints is not None and self._checkpoints.is_due:
            self.save(solver)

    # -- checkpoints --------------------------------------------------------------------------

    def save(self, solver: IncrementalSolver) -> None:
        """Write a checkpoint now, if there is something to keep."""
        if self._checkpoints is None or not solver.iteration or not solver.n_frames:
            return
        try:
            self._checkpoints.write(solver.state, self._visits)
        except OSError as error:
            self._notes.add(f"a checkpoint cannot be written ({error}); a crash would cost the work since the last one")

    @property
    def is_resuming(self) -> bool:
        """Whether the frames of a checkpoint are still awaited, without which no pass is made."""
        return self._resumed is not None

    def resume(self, solver: IncrementalSolver, intake: Intake, supply: FrameSupply, *, news: bool, over: bool) -> None:
        """Restore `solver` once the frames of the checkpoint are there, or nothing has come for the patience.

        Parameters
        ----------
        solver : IncrementalSolver
        intake, supply : Intake, FrameSupply
            They tell which points have come, and which were rejected.
        news : bool
            Whether frames have just come.
        over : bool
            Whether none will come any more.
        """
        checkpoint, now = self._resumed, time.monotonic()
        if news:  # there may be more at once, and to count them costs time
            self._last_news = now
            return
        assert checkpoint is not None
        if not over and now - self._last_news < self._settings.patience_s:
            announced, missing = intake.expected(), set(supply.missing())
            if any(n not in announced or n in missing for n in checkpoint.seq_nums):
                return
        self._resumed = None
        try:
            self._refuse_others(checkpoint, intake.plan)
            self._restore(solver, checkpoint)
        except (MetadataError, SettingsError, NotFoundError) as error:
            self._notes.add(f"the checkpoint cannot be used ({error}): the reconstruction starts anew")
            return
        self._visits, self.residual = checkpoint.visits, float(solver.step(0))

    def _refuse_others(self, checkpoint: Checkpoint, plan: ScanPlan) -> None:
        """Raise a MetadataError if `checkpoint` is of frames that were cleaned to another grid than those to come."""
        was, now = LiveSettings.from_stored(checkpoint.settings).preprocess, self._settings.preprocess
        if (before := output_geometry(plan, was)) != (after := output_geometry(plan, now)):
            raise MetadataError(f"its patterns are {_grid(before)}; expected {_grid(after)}")
        if was.optical_centre != now.optical_centre:  # a phase ramp in the probe
            raise MetadataError(f"its optical_centre is {was.optical_centre}; expected {now.optical_centre}")

    def _restore(self, solver: IncrementalSolver, checkpoint: Checkpoint) -> None:
        """Restore `solver` under the settings that the checkpoint was made with, then go on with those in force."""
        settings = self._settings.solver
        saved = LiveSettings.from_stored(checkpoint.settings).solver
        if saved == settings:
            solver.restore(checkpoint.arrays)
            return
        solver.change(saved)
        try:
            solver.restore(checkpoint.arrays)
        finally:
            solver.change(settings)


def _grid(geometry: Geometry) -> str:
    """Say what an object is laid out by."""
    rows, columns = geometry.shape
    pitch = " × ".join(f"{1e9 * p:.3g}" for p in geometry.object_pixel_m)
    return f"{rows} × {columns} pixels for an object pixel of {pitch} nm"
