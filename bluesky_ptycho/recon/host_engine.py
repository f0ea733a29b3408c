"""The engine of the CPU: fused kernels, planned transforms, one lane per core."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import cpu_count
from . import kernels, reference
from .engine import Directions, Slots, Visit
from .host_arrays import fill, padded_like
from .host_lane import HostLane
from .state import ReconState

WORTH_SHARING = 1 << 17
"""Pixels; to hand a part of fewer to another thread takes longer than to do it."""


class Sums:
    """Per-lane sums of the host engine: object gradient and illumination, probe gradient and transmission."""

    def __init__(self, lanes: int, canvas: tuple[int, ...], probe: tuple[int, ...]) -> None:
        self.gradient = np.zeros((lanes, 1, *canvas), np.complex64)
        self.illumination = np.zeros((lanes, *canvas), np.float32)
        self.probe = np.zeros((lanes, *probe), np.complex64)
        self.transmission = np.zeros((lanes, *probe[-2:]), np.float32)

    def clear(self) -> None:
        """Set all to 0."""
        for array in vars(self).values():
            array[...] = 0


class HostEngine:
    """NumPy arrays, fused kernels, one lane per core.

    Frames are dealt to lanes by their order alone, so that equal inputs give equal results.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or cpu_count()
        self.lanes: list[HostLane] = []
        self.excess = np.zeros((self.threads, 2, 0, 0), np.float32)
        self._seen: set[Any] = set()
        self._pool: ThreadPoolExecutor | None = None

    def warm_up(self, state: ReconState) -> None:
        """Plan the transforms (FFTW measures), allocate and start the threads."""
        self._ensure(state)

    def _ensure(self, state: ReconState) -> None:
        probe, canvas = state.probe.shape, state.object.shape
        if not self.lanes or self.lanes[0].shape != probe:
            self.lanes = [HostLane(self, i, probe) for i in range(self.threads)]
            self.padded, self.padded_change = padded_like(probe), padded_like(probe)
            self.probe_direction = np.zeros(probe, np.complex64)
            self.sums = Sums(self.threads, canvas, probe)
            self.object_direction = np.zeros((1, *canvas), np.complex64)
        if self.sums.gradient.shape[-2:] != canvas:
            self.sums = Sums(self.threads, canvas, probe)
            self.object_direction = np.zeros((1, *canvas), np.complex64)
        if state.excess is not None and self.excess.shape[2:] != probe[1:]:
            self.excess = np.zeros((self.threads, 2, *probe[1:]), np.float32)
        if self._pool is None and self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="ptycho-lane")

    def clear(self) -> None:
        """Forget the sums."""
        if self.lanes:
            self.sums.clear()

    def close(self) -> None:
        """End the threads; a later run starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def run(self, state: ReconState, slots: Slots, visit: Visit, found: Directions | None = None) -> float:
        """Deal the frames to the lanes and wait for all of them."""
        self._ensure(state)
        fill(self.padded, state.probe)
        if found is not None:
            fill(self.padded_change, found.probe)
        try:
            return self._deal(slots, visit, _kernels_of(state, visit))
        finally:
            if state.excess is not None:
                state.excess += self.excess.sum(axis=0)
                self.excess[...] = 0

    def _deal(self, slots: Slots, visit: Visit, used: tuple[Any, ...]) -> float:
        if used not in self._seen:
            # The first call of a kernel registers its argument types in numba, which two threads must not do at once.
            self._seen.add(used)
            return sum(self._work(lane, slots, visit) for lane in self.lanes)
        waiting = []
        for lane in self.lanes[1:]:
            if self._pool is not None and lane.index < len(slots):
                waiting.append(self._pool.submit(self._work, lane, slots, visit))
        total = self._work(self.lanes[0], slots, visit)
        return total + sum(future.result() for future in waiting)

    def _work(self, lane: HostLane, slots: Slots, visit: Visit) -> float:
        lane.total = 0.0
        for i in range(lane.index, len(slots), self.threads):
            visit(lane, slots[i : i + 1])
        return lane.total

    def directions(self, state: ReconState, object_regularisation: float, probe_regularisation: float) -> Directions:
        """Add the lanes up and precondition."""
        self._ensure(state)
        sums, image, probe = self.sums, self.object_direction, self.probe_direction
        along = self._direction(sums.gradient, sums.illumination, object_regularisation, image)
        probe_along = self._direction(sums.probe, sums.transmission, probe_regularisation, probe)
        return Directions(image[0], probe, sums.gradient[0, 0], sums.probe[0], *along, *probe_along)

    def _direction(self, gradient: Any, weight: Any, regularisation: float, out: Any) -> tuple[float, float]:
        peak = max(self._share(out, lambda a, b: kernels.add_lanes(gradient, weight, a, b)))
        parts = self._share(
            out, lambda a, b: kernels.direction(gradient[0], weight[0], regularisation, peak, out, a, b)
        )
        return sum(slope for slope, _ in parts), sum(curvature for _, curvature in parts)

    def _share(self, image: NDArray[Any], work: Callable[[int, int], Any]) -> list[Any]:
        """Let each core do `work` on a part of the rows of `image`; one does it all where that takes no longer."""
        rows, cores = image.shape[-2], self.threads if image.size >= WORTH_SHARING else 1
        ends = [rows * i // cores for i in range(cores + 1)]
        parts = list(pairwise(ends))
        if self._pool is None or work.__code__ not in self._seen:  # see _deal
            self._seen.add(work.__code__)
            return [work(*part) for part in parts]
        waiting = [self._pool.submit(work, *part) for part in parts[1:]]
        return [work(*parts[0]), *(future.result() for future in waiting)]

    def best_steps(self, found: Directions, coupling: Any | None, share: float, most: float) -> tuple[Any, Any | None]:
        """Solve for both steps."""
        held = coupling is None
        slopes, curvatures = (found.object_slope, found.probe_slope), (found.object_curvature, found.probe_curvature)
        object_step, probe_step = reference.best_steps(
            np, slopes, (curvatures[0], 0.0 if held else curvatures[1]), 0.0 if held else coupling
        )
        return min(share * float(object_step), most), None if held else min(share * float(probe_step), most)

    def form_of(self, state: ReconState) -> None:
        """Return None: there is no device to record for."""

    def read_notes(self, state: ReconState) -> None:
        """Do nothing: lanes write into the store."""

    def advance(
        self, state: ReconState, found: Directions, object_step: Any, probe_step: Any | None, momentum: float = 0.0
    ) -> None:
        """Step in place and forget the sums, of which `directions` has left those of the first lane."""
        sums = self.sums

        def step_object(a: int, b: int) -> None:
            kernels.advance(
                state.object[None], state.object_velocity[None], found.object[None], float(object_step), momentum, a, b
            )
            sums.gradient[0, :, a:b] = 0
            sums.illumination[0, a:b] = 0

        def step_probe(a: int, b: int) -> None:
            if probe_step is not None:
                kernels.advance(state.probe, state.probe_velocity, found.probe, float(probe_step), momentum, a, b)
            sums.probe[0, :, a:b] = 0
            sums.transmission[0, a:b] = 0

        self._share(state.object, step_object)
        self._share(state.probe, step_probe)


def _kernels_of(state: ReconState, visit: Visit) -> tuple[Any, ...]:
    """Return what decides which kernels `visit` calls on frames of `state`."""
    detection, frames = state.detection, state.frames
    asked = (detection.plain, frames.weights is None, state.excess is None, state.tracks_shifts, state.tracks_variation)
    return visit.__code__, bool(frames.fractional.any()), *asked
