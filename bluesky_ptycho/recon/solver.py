"""The incremental solver: frames in, passes while they come, snapshots out."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import Backend, get_backend
from ..frames import Batch, Snapshot
from ..geometry import Canvas, Geometry
from ..scan_plan import ScanPlan
from . import algorithms as _registered  # noqa: F401  (fills the registry)
from .changing import adapt, refuse_fixed, require_room, start_again
from .constraints import Constraints
from .engine import make_engine
from .fresh_regions import FreshRegions
from .guard import Guard
from .halves import FEWEST, Halves
from .introduction import introduce
from .measure import error_of, has_converged
from .memory import bytes_of
from .optical_axis import stay_on_axis
from .passes import PassOptions
from .probe import orthogonalise
from .probe_start import ProbeStart
from .propagation import angular_spectrum
from .refinements import refinements
from .replays import make_pass
from .saved import Saved, canvas_of, put_arrays, rng_of, rng_to_array, to_arrays
from .schedule import Schedule, Stage
from .settings import SolverSettings
from .snapshots import make_snapshot
from .starting import rehearse, start_state
from .state import grown_canvas, move_to


class IncrementalSolver:
    """Reconstruct while frames arrive.

    Everything is allocated from the scan plan. One thread owns the solver; :meth:`close` ends the threads that help it.

    Parameters
    ----------
    plan : ScanPlan
        What will be measured: number of points, extent, illumination.
    geometry : Geometry
        Of the patterns.
    settings : SolverSettings, optional
    backend : {"auto", "numpy", "cupy"} or Backend
    probe : ndarray (modes, ny, nx) or (ny, nx) complex, optional
        First probe; its power is set from the frames. Without it the zone plate of the plan
        is taken, else the mean pattern.
    memory_budget : int or str, optional
        Of the host, in bytes or like "2 GB"; frames beyond it lie on the disk.

    Attributes
    ----------
    taken_back : int
        How often the reconstruction diverged and went back to its last good state.

    Raises
    ------
    MetadataError
        If `probe` does not fit the geometry.
    SettingsError, NotFoundError
        If the backend cannot be used, the algorithm is not known, or the budget cannot be kept.
    """

    def __init__(
        self,
        plan: ScanPlan,
        geometry: Geometry,
        settings: SolverSettings | None = None,
        backend: str | Backend = "auto",
        *,
        probe: NDArray[Any] | None = None,
        memory_budget: str | int | None = None,
    ) -> None:
        self.plan, self.geometry = plan, geometry
        self.backend = get_backend(backend)
        settings = settings or SolverSettings()
        self._probe = ProbeStart(plan, geometry, settings, probe)
        self.settings = settings.replace(modes=self._probe.modes)
        self._schedule = Schedule.parse(settings.algorithm)
        self._budget = bytes_of(memory_budget)
        self._state = start_state(plan, geometry, self.settings, self.backend, self._budget)
        distance_m = self.settings.slice_distance_m
        between = angular_spectrum(geometry, distance_m) if self.settings.slices > 1 and distance_m else None
        self._engine = make_engine(self.backend, between)
        self._ended = False
        self.taken_back = 0
        self._constraints = Constraints(self.settings, far_field=self._state.frames.far_field)
        self._refinements = refinements(self.settings)
        self._begin()

    def _begin(self) -> None:
        """Count from the first pass on."""
        self._rng = np.random.default_rng(self.settings.seed)
        self._residuals: list[float] = []
        self._passes_complete = 0
        self._schedule_began = (0, 0)
        self._at_work = ""
        self._fresh = FreshRegions()
        self._half_sets: Halves | None = None

    @property
    def n_frames(self) -> int:
        """Frames held."""
        return len(self._state.frames)

    @property
    def iteration(self) -> int:
        """Passes made."""
        return len(self._residuals)

    @property
    def canvas(self) -> Canvas:
        """Grid of the object; grows when a frame lies outside."""
        return self._state.canvas

    def warm_up(self) -> None:
        """Compile the kernels and plan the transforms, so that the first pass does not wait (seconds)."""
        rehearse(self.plan, self._state, self._engine, self._schedule, self.settings)

    def add(self, batch: Batch) -> None:
        """Take frames, in any order and at any time; a known sequence number replaces the frame.

        Raises
        ------
        MetadataError
            If shapes do not fit or a position is not finite.
        """
        if not batch.n:
            return
        state = self._state
        state.frames.check(batch)
        canvas = grown_canvas(self.canvas, batch.positions_m)
        if canvas is not self.canvas:
            move_to(state, canvas)
            state.frames.place(canvas)
        slots = state.frames.put(batch, canvas)
        if state.variation is not None:
            state.variation.welcome(slots, len(state.frames.numbers))

    def remove(self, seq_nums: ArrayLike) -> None:
        """Forget frames: the passes after this one do not know them."""
        self._state.frames.drop(np.asarray(seq_nums, dtype=np.int64))

    def change(self, settings: SolverSettings) -> None:
        """Go on with other settings from the next pass on: object, probe and what else was learnt stay.

        Momentum, what an algorithm keeps from pass to pass, and the half data sets begin anew; so does the schedule,
        where it is another one. Modes that are too many go, the weakest first; new ones are faint. A probe that is free
        already is not guessed again: a later `probe_start` holds it as it is for as many passes more.

        Raises
        ------
        SettingsError, NotFoundError
            If the settings cannot be had, or differ in one of :data:`changing.FIXED`; nothing is changed then.
        """
        was, state = self.settings, self._state
        refuse_fixed(was, settings)
        schedule = Schedule.parse(settings.algorithm)
        constraints = Constraints(settings, far_field=state.frames.far_field)
        settings = settings.replace(modes=self._probe.modes_for(settings))
        require_room(self._budget, state, settings)
        if settings.algorithm != was.algorithm:
            self._schedule_began = (self.iteration - self._passes_complete, self._passes_complete)
        adapt(state, was, settings, self._refinements)
        self._probe.change(settings)
        self.settings, self._schedule, self._constraints = settings, schedule, constraints
        self._refinements = refinements(settings)
        self._half_sets = None

    def reset(self) -> None:
        """Start again from the frames that are there: with the first probe, and no passes made."""
        start_again(self._state)
        self._probe = ProbeStart(self.plan, self.geometry, self.settings, self._probe.given)
        self._begin()

    def step(self, n: int = 1) -> float:
        """Make `n` passes over all frames so far; return the running residual of the last, NaN without frames."""
        for _ in range(n):
            self._pass()
        return self._residuals[-1] if self._residuals else float("nan")

    def complete(self) -> None:
        """Say that no more frames will come, planned or not: a schedule's later stages need not wait for them."""
        self._ended = True

    def finish(self, after_pass: Callable[[], None] = lambda: None) -> None:
        """Make the tail passes that follow the last frame, fewer once the residual has converged."""
        for _ in range(self.settings.tail_passes):
            self._pass(tail=True)
            after_pass()
            if self.converged:
                return

    @property
    def converged(self) -> bool:
        """Whether the residual has stopped falling, within the settings' tolerance."""
        return has_converged(self._residuals, self.settings.tolerance)

    @property
    def _complete(self) -> bool:
        """Whether all planned frames are there, or were: to take bad ones away does not start the scan anew."""
        return self._ended or self._passes_complete > 0 or self.n_frames >= self.plan.n_points

    def _stage(self, *, tail: bool = False) -> Stage:
        earlier, since = self._schedule_began
        before, since = self.iteration - self._passes_complete - earlier, self._passes_complete - since
        stage = self._schedule.at(before, since, complete=self._complete, tail=tail)
        if stage.name != self._at_work:  # what the one before kept, waves of all frames for one, is of no use any more
            Guard.of(self._state).clear_others(self._state)
        self._at_work = stage.name
        return stage

    def _pass(self, *, tail: bool = False) -> None:
        state = self._state
        slots = state.frames.slots(lit=True)
        if not len(slots):
            return
        free = self._probe.prepare(state, slots)
        guard = Guard.of(state)
        taken_back = guard.taken_back
        guard.before_pass(state)
        self._weigh()
        if state.frames.weights is not None and self.iteration == self.settings.refine_start:
            guard.pardon(state)  # the residual is another quantity from here on
        introduce(state, self._engine, self._rng.permutation(self._fresh.fill(state, slots)), self.settings)
        refining = free and self.iteration >= self.settings.refine_start
        for refinement in self._refinements:
            refinement.begin(state, slots, active=refining)
        stage = self._stage(tail=tail)
        options = PassOptions.of(stage, self.settings, free, guard.caution, tail=tail)
        error = make_pass(stage.name, state, self._engine, self._rng.permutation(slots), options)
        residual = error / float(state.frames.photons[slots].sum())
        # A pass that went wrong has nothing to say.
        went_wrong = guard.after_pass(state, residual, slots)
        self.taken_back += guard.taken_back - taken_back
        for refinement in self._refinements if refining and not went_wrong else ():
            refinement.finish(state, slots)
        self._constraints.impose(state)
        if free:
            orthogonalise(state)
        if np.isfinite(residual):
            self._passes_complete += self._complete
            self._residuals.append(residual)
        if free:
            stay_on_axis(state, self._probe.first, self.iteration)

    def _weigh(self) -> None:
        """Let weights count once the image is there: pixels of little weight, the brightest mostly, bring it soon."""
        self._state.frames.weighing = self.settings.weighs(self.iteration)

    def step_halves(self, n: int = 1) -> float:
        """Make `n` passes over each of two independent half data sets, for the Fourier ring correlation.

        They cost as much as `n` passes over all frames. Returns how often a frame was visited in its half, on average,
        with regard to the last frames once all have come; infinity while there is nothing to visit: before the first
        pass of :meth:`step`, without light, or with a few frames of many that are still to come.
        """
        n_lit = len(self._state.frames.slots(lit=True))
        if not self._probe.guessed or not n_lit:
            return float("inf")
        if self._half_sets is None:
            if n_lit < FEWEST and not self._complete:
                return float("inf")
            self._half_sets = Halves(
                self._state, self._probe.first, self._engine, self._constraints, self._schedule, self.settings
            )
        for _ in range(n):
            self._half_sets.step(self._state)
        return self._half_sets.progress(n_lit, ended=self._complete)

    def close(self) -> None:
        """End the threads of the passes; what has been solved can still be had."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what is needed to go on from here, as arrays in host memory by name, without the frames.

        Half data sets, stored exit waves and conjugate directions are left out: they are made anew.
        """
        state, slots = self._state, self._state.frames.slots()
        return {
            **to_arrays(state),
            "met": self._fresh.are_met(state, slots),
            "light": self._fresh.to_array(state),
            "residuals": np.array(self._residuals, dtype=np.float64),
            "passes": np.array([self._passes_complete, self.taken_back]),
            "schedule_began": np.array(self._schedule_began),
            "rng": rng_to_array(self._rng),
            "guard": Guard.of(state).to_array(),
            "first_probe": self._probe.first,
            "probe_start": self._probe.to_array(),
        }

    def restore(self, saved: Saved) -> None:
        """Go on from what :meth:`state` gave; the frames are there already, as many of them as can be had.

        Raises
        ------
        MetadataError
            If `saved` does not belong to a solver of this plan, geometry and settings.
        """
        state = self._state
        slots, rows = put_arrays(state, saved)
        lit = slots[saved["met"][rows]]
        self._fresh.take_up(saved["light"], canvas_of(state.canvas, saved), state, lit)
        self._probe.take_up(saved["first_probe"], saved["probe_start"])
        self._residuals = saved["residuals"].tolist()
        self._passes_complete, self.taken_back = (int(count) for count in saved["passes"])
        before, since = saved.get("schedule_began", (0, 0))  # what older versions wrote has none
        self._schedule_began = (int(before), int(since))
        state.memory.clear()
        Guard.of(state).take_up(saved["guard"], state, lit)
        self._half_sets = None
        self._rng = rng_of(saved["rng"])

    def _halves(self) -> Halves | None:
        while self.step_halves(0) < self.settings.frc_passes:
            self.step_halves()
        return self._half_sets

    def snapshot(self, *, frc: bool = False, exact_residual: bool = False) -> Snapshot:
        """Return a copy, in host memory, of what is known now.

        Parameters
        ----------
        frc : bool
            Bring the half data sets up to date for correlation and uncertainty; costs up to ``frc_passes`` passes, less
            those of :meth:`step_halves`. Else both are of the halves as they are, if they have met all frames.
        exact_residual : bool
            Make the residual of this very state over all frames; costs half a pass.
        """
        state = self._state
        self.taken_back += Guard.of(state).mend(state)
        slots = state.frames.slots(lit=True)
        self._weigh()
        exact = error_of(state, self._engine, slots) if exact_residual and self._probe.guessed else float("nan")
        halves = self._halves() if frc else self._half_sets
        judged = halves is not None and halves.visits >= len(slots)
        return make_snapshot(
            state,
            self.geometry,
            self.settings,
            residuals=np.array(self._residuals),
            residual=exact,
            frc=halves.correlate(state) if halves and judged else None,
            uncertainty=halves.uncertainty(state) if halves and judged else None,
            converged=self.converged,
        )
