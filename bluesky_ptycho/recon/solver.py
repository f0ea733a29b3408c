"""The incremental solver: frames in, passes while they come, snapshots out."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import Backend, get_backend
from ..errors import MetadataError
from ..frames import Batch, Snapshot
from ..geometry import Canvas, Geometry
from ..registry import algorithms
from ..scan_plan import ScanPlan
from . import algorithms as _registered  # noqa: F401  (fills the registry)
from .engine import make_engine
from .halves import Halves
from .measure import coverage, error_of
from .passes import PassOptions
from .probe import orthogonalise, scale_power
from .probe_guess import add_modes, first_probe
from .settings import SolverSettings
from .state import ReconState, grown_canvas, move_to
from .store import FrameStore


class IncrementalSolver:
    """Reconstruct while frames arrive.

    Everything is allocated from the scan plan; a frame has no weight until it is added. One thread
    owns the solver; :meth:`close`, or leaving its ``with`` block, ends the threads that help it.

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

    Raises
    ------
    MetadataError
        If `probe` does not fit the geometry.
    SettingsError, NotFoundError
        If the backend cannot be used or the algorithm is not known.
    """

    def __init__(
        self,
        plan: ScanPlan,
        geometry: Geometry,
        settings: SolverSettings | None = None,
        backend: str | Backend = "auto",
        *,
        probe: NDArray[Any] | None = None,
    ) -> None:
        self.plan, self.geometry = plan, geometry
        self.backend = get_backend(backend)
        self._given = _checked_probe(probe, geometry)
        settings = settings or SolverSettings()
        modes = settings.modes or (1 if self._given is None else len(self._given))
        self.settings = settings.replace(modes=modes)
        self._algorithm = algorithms[self.settings.algorithm]
        canvas = Canvas.for_extent(plan.extent_m, geometry)
        frames = FrameStore(plan.n_points, geometry.shape, self.backend, self.settings.subpixel)
        self._state = ReconState.start(self.backend, canvas, np.zeros((modes, *geometry.shape), np.complex64), frames)
        self._state.detection.poisson = self.settings.noise == "poisson"
        self._engine = make_engine(self.backend)
        self._rng = np.random.default_rng(self.settings.seed)
        self._residuals: list[float] = []
        self._guessed = 0
        self._free_passes = 0
        self._half_sets: Halves | None = None
        self._first_probe = np.zeros((modes, *geometry.shape), np.complex64)

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
        window = self.geometry.shape
        frames = FrameStore(2, window, self.backend, subpixel=True)
        probe = np.ones(self._state.probe.shape, np.complex64)
        rehearsal = ReconState.start(self.backend, self.canvas, probe, frames)
        middle = np.mean(np.reshape(self.plan.extent_m, (2, 2)), axis=1)
        positions = middle + np.array([[0.0, 0.0], [0.4, 0.3]]) * np.asarray(self.canvas.pixel_m)
        light = np.ones((2, *window), np.float32)
        frames.put(Batch(np.arange(2), positions, light, np.ones(window, bool)), self.canvas)
        rehearsal.detection = self._state.detection
        self._algorithm(rehearsal, self._engine, frames.slots(), PassOptions(self.settings))
        error_of(rehearsal, self._engine, frames.slots())
        self._engine.clear()

    def add(self, batch: Batch) -> None:
        """Take frames, in any order and at any time; a known sequence number replaces the frame.

        Raises
        ------
        MetadataError
            If shapes do not fit or a position is not finite.
        """
        if not batch.n:
            return
        canvas = grown_canvas(self.canvas, batch.positions_m)
        if canvas is not self.canvas:
            move_to(self._state, canvas)
        self._state.frames.put(batch, canvas)

    def remove(self, seq_nums: ArrayLike) -> None:
        """Forget frames: the passes after this one do not know them."""
        self._state.frames.drop(np.asarray(seq_nums, dtype=np.int64))

    def step(self, n: int = 1) -> float:
        """Make `n` passes over all frames so far; return the running residual of the last, NaN without frames."""
        for _ in range(n):
            self._pass()
        return self._residuals[-1] if self._residuals else float("nan")

    def finish(self) -> None:
        """Make the tail passes that follow the last frame."""
        for _ in range(self.settings.tail_passes):
            self._pass()

    def _pass(self) -> None:
        state = self._state
        slots = state.frames.slots(lit=True)
        if not len(slots):
            return
        free = self._prepare_probe(slots)
        options = PassOptions(self.settings, free)
        error = self._algorithm(state, self._engine, self._rng.permutation(slots), options)
        if free:
            orthogonalise(state)
        self._residuals.append(error / float(state.frames.photons[slots].sum()))

    def _prepare_probe(self, slots: NDArray[np.int64]) -> bool:
        """Guess the probe from what is known until it is released; tell whether it is."""
        state = self._state
        if self._free_passes >= self.settings.probe_start and self._guessed:
            return True
        if self._guessed != len(slots):
            photons = float(state.frames.photons[slots].mean())
            guess = self._given
            if guess is None:
                guess = first_probe(self.plan.illumination, self.geometry, state.frames, slots)[None]
            self._first_probe = scale_power(add_modes(guess, state.probe.shape[0]), photons)
            state.probe = self.backend.to_device(np.array(self._first_probe))
            self._guessed = len(slots)
            state.rest()
            state.memory.clear()  # what was learnt under the older guess
        self._free_passes += 1
        return False

    def step_halves(self, n: int = 1) -> float:
        """Make `n` passes over each of two independent half data sets, for the Fourier ring correlation.

        They cost as much as `n` passes over all frames. Returns how often a frame was visited in
        its half, on average; infinity while there is nothing to visit, that is before the first
        pass of :meth:`step` or without light.
        """
        n_lit = len(self._state.frames.slots(lit=True))
        if not self._guessed or not n_lit:
            return float("inf")
        if self._half_sets is None:
            self._half_sets = Halves(self._state, self._first_probe, self._engine, self._algorithm, self.settings)
        for _ in range(n):
            self._half_sets.step(self._state)
        return self._half_sets.visits / n_lit

    def close(self) -> None:
        """End the threads of the passes; what has been solved can still be had."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _correlate_halves(self) -> dict[str, Any] | None:
        while self.step_halves(0) < self.settings.frc_passes:
            self.step_halves()
        return None if self._half_sets is None else self._half_sets.correlate(self._state)

    def snapshot(self, *, frc: bool = False, exact_residual: bool = False) -> Snapshot:
        """Return a copy, in host memory, of what is known now.

        Parameters
        ----------
        frc : bool
            Make the Fourier ring correlation of two half data sets; costs up to ``frc_passes`` passes,
            less those that :meth:`step_halves` made before.
        exact_residual : bool
            Make the residual of this very state over all frames; costs half a pass.
        """
        state, host = self._state, self.backend.to_host
        slots = state.frames.slots(lit=True)
        exact = error_of(state, self._engine, slots) if exact_residual and self._guessed else float("nan")
        return Snapshot(
            object=np.array(host(state.object)),
            probe=np.array(host(state.probe)),
            canvas=self.canvas,
            geometry=self.geometry,
            coverage=coverage(state, slots),
            seq_nums=state.frames.seq_nums,
            positions_m=state.frames.positions_m[state.frames.slots()],
            residuals=np.array(self._residuals),
            residual=exact,
            iteration=self.iteration,
            frc=self._correlate_halves() if frc else None,
            settings=self.settings.to_dict(),
        )


def _checked_probe(probe: NDArray[Any] | None, geometry: Geometry) -> NDArray[np.complex64] | None:
    if probe is None:
        return None
    modes = np.asarray(probe, dtype=np.complex64)
    modes = modes[None] if modes.ndim == 2 else modes
    if modes.ndim != 3 or modes.shape[1:] != geometry.shape or not np.isfinite(modes).all() or not np.any(modes[0]):
        raise MetadataError(
            f"probe has shape {np.shape(probe)}; expected (modes, {geometry.shape[0]}, {geometry.shape[1]}) "
            "or one mode, finite and not zero"
        )
    return modes
