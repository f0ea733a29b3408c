"""The engine of the CPU: fused kernels, planned transforms, one lane per core."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import PlannedFFT, cpu_count
from . import detection_kernels, kernels
from .engine import Directions, Slots, Visit
from .host_arrays import fill, padded, padded_like, pairs
from .propagation import shift_back
from .reference import Coefficients
from .state import ReconState
from .subpixel import FIRST_TAP, N_TAPS

NOTHING = np.zeros((0, 0), np.float32)
NO_EXCESS = np.zeros((0, 0, 0), np.float32)


class HostLane:
    """One core's buffers; chunks are single frames."""

    def __init__(self, engine: HostEngine, index: int, shape: tuple[int, int, int]) -> None:
        self.engine, self.index, self.shape = engine, index, shape
        self.fft = PlannedFFT(shape)
        self.shifted = np.zeros(shape, np.complex64)
        self.back = padded_like(shape)
        self.row = np.zeros(2 * (shape[-1] + N_TAPS - 1), np.float32)
        self.found = np.zeros(2)
        self.total = 0.0
        self._spare: PlannedFFT | None = None

    def probes(self, state: ReconState, slots: Slots) -> NDArray[np.complex64]:
        """Return the varied and shifted probe; the probe itself where there is nothing to do."""
        if state.variation is None:
            return self._shifted(state, slots[0], self.engine.padded, state.probe, self.shifted)
        own = np.array(state.probe)
        own[0] += state.variation.of(state.backend, slots)[0]
        return self._shifted(state, slots[0], padded(own), own, self.shifted)

    def _shifted(self, state: ReconState, slot: int, around: Any, plain: Any, out: Any) -> NDArray[np.complex64]:
        if not state.frames.fractional[slot]:
            return plain  # type: ignore[no-any-return]
        kernels.shift_probe(pairs(around), state.frames.taps[slot], self.row, pairs(out), False)
        return out  # type: ignore[no-any-return]

    def exit_waves(self, state: ReconState, slots: Slots, probes: Any) -> NDArray[np.complex64]:
        """Multiply into the transform's buffer."""
        r, c = state.frames.corners[slots[0]]
        kernels.exit_waves(probes, state.object, r, c, self.fft.buffer)
        return self.fft.buffer

    def _to_detector(self, state: ReconState, slot: int, fft: PlannedFFT) -> None:
        fft.forward()
        if state.detection.transfer is not None:
            fft.buffer *= self._space(state, slot)
            fft.inverse()

    def _space(self, state: ReconState, slot: int) -> NDArray[np.complex64]:
        transfer: NDArray[np.complex64] = state.detection.transfer
        if not state.frames.fractional[slot]:
            return transfer
        down, across = shift_back(state.frames.fractions[slot], self.shape[1:])
        return transfer * down[:, None] * across

    def measure(self, state: ReconState, slots: Slots, waves: Any, strength: float = 1.0) -> NDArray[np.complex64]:
        """Transform and move towards the data in the lane's buffer."""
        if waves is not self.fft.buffer:
            self.fft.buffer[:] = waves
        frames, detection, slot = state.frames, state.detection, slots[0]
        self._to_detector(state, slot, self.fft)
        scale, back = detection.scales(self.shape[1] * self.shape[2])
        counts, unit = frames.counts[slot], frames.unit[slot] / frames.gain[slot]
        if detection.plain and frames.weights is None and strength == 1.0:
            self.total += detection_kernels.project_modulus(self.fft.buffer, counts, unit, scale, back, self.row)
            return self.fft.buffer
        excess = NO_EXCESS if state.excess is None else self.engine.excess[self.index]
        weights, background, brightness = self._extras(state, slot)
        self.total += detection_kernels.project_model(
            self.fft.buffer, counts, unit, weights, background, brightness, detection.poisson, strength, scale, back,
            self.row, excess, self.found,
        )  # fmt: skip
        frames.brightness[slot] = self.found
        return self.fft.buffer

    def _extras(self, state: ReconState, slot: int) -> tuple[Any, Any, float]:
        frames, background = state.frames, state.detection.background
        weights = NOTHING if frames.weights is None else frames.weights[slot]
        return weights, NOTHING if background is None else background, 1.0 / float(frames.gain[slot]) ** 2

    def project(self, state: ReconState, slots: Slots, waves: Any, strength: float = 1.0) -> NDArray[np.complex64]:
        """Transform, move towards the data, transform back in the lane's buffer."""
        self.measure(state, slots, waves, strength)
        if state.detection.transfer is not None:
            self.fft.forward()
            self.fft.buffer *= np.conj(self._space(state, slots[0]))
        self.fft.inverse()
        return self.fft.buffer

    def accumulate(self, state: ReconState, slots: Slots, probes: Any, waves: Any) -> None:
        """Add the frame's gradients to the lane's sums."""
        slot, sums, i = slots[0], self.engine.sums, self.index
        frames = state.frames
        r, c = frames.corners[slot]
        if state.tracks_shifts:
            kernels.shift_sums(probes, state.object, r, c, waves, frames.shift_sums[slot])
        fractional = frames.fractional[slot]
        # the adjoint of a filter is the filter reversed, so the frame around the data is reversed too
        out, first = (self.back, -FIRST_TAP) if fractional else (waves, 0)
        kernels.pie_gradients(
            pairs(probes), pairs(state.object), r, c, pairs(waves),
            pairs(sums.gradient[i, 0]), sums.illumination[i], sums.transmission[i], pairs(out), first,
        )  # fmt: skip
        if fractional and not state.tracks_variation:
            self._unshift(state, slot, sums.probe[i], add=True)
            return
        if fractional:
            self._unshift(state, slot, self.shifted, add=False)
            out = self.shifted
        if state.tracks_variation and state.variation is not None:
            window = state.object[r : r + self.shape[1], c : c + self.shape[2]]
            state.variation.note(state.backend, slots, out[:1], np.abs(window[None]) ** 2, lane=i)
        sums.probe[i] += out

    def _unshift(self, state: ReconState, slot: int, out: Any, *, add: bool) -> None:
        taps = np.ascontiguousarray(state.frames.taps[slot][:, ::-1])
        kernels.shift_probe(pairs(self.back), taps, self.row, pairs(out), add)

    def blend(
        self, state: ReconState, slots: Slots, probes: Any, stored: Any, of_product: float, of_stored: float
    ) -> NDArray[np.complex64]:
        """Combine exit waves and stored waves in the transform's buffer."""
        r, c = state.frames.corners[slots[0]]
        kernels.blend(probes, state.object, r, c, stored[slots[0]], of_product, of_stored, self.fft.buffer)
        return self.fft.buffer

    def relay(
        self, state: ReconState, slots: Slots, probes: Any, stored: Any, waves: Any, keep: Coefficients,
        give: Coefficients,
    ) -> NDArray[np.complex64]:  # fmt: skip
        """Combine, store and return in place."""
        r, c = state.frames.corners[slots[0]]
        rows = (np.asarray(row, np.float32) for row in (keep, give))
        kernels.relay(probes, state.object, r, c, stored[slots[0]], *rows, waves)
        return waves  # type: ignore[no-any-return]

    def _probe_changes(self, state: ReconState, slot: int, found: Directions) -> NDArray[np.complex64]:
        return self._shifted(state, slot, self.engine.padded_change, found.probe, self.spare.buffer)

    @property
    def spare(self) -> PlannedFFT:
        """A second transform, made when first asked for."""
        if self._spare is None:
            self._spare = PlannedFFT(self.shape)
        return self._spare

    def couple(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> None:
        """Add the product of the two directions' effects."""
        r, c = state.frames.corners[slots[0]]
        changes = self._probe_changes(state, slots[0], found)
        self.total += kernels.couple(probes, changes, state.object, found.object, r, c)

    def bend(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> None:
        """Add the curvature along both directions."""
        slot, frames, detection = slots[0], state.frames, state.detection
        r, c = frames.corners[slot]
        # The buffers take turns: the changed probe lies in the spare one until its product with the object does.
        changes = self._probe_changes(state, slot, found)
        kernels.exit_waves(changes, state.object, r, c, self.spare.buffer)
        kernels.exit_waves(probes, found.object, r, c, self.fft.buffer)
        self.spare.buffer += self.fft.buffer
        kernels.exit_waves(probes, state.object, r, c, self.fft.buffer)
        for fft in (self.fft, self.spare):
            self._to_detector(state, slot, fft)
        weights, background, brightness = self._extras(state, slot)
        self.total += detection_kernels.curvature(
            self.fft.buffer, self.spare.buffer, frames.counts[slot], frames.unit[slot] / frames.gain[slot],
            weights, background, brightness, detection.poisson, detection.scales(self.shape[1] * self.shape[2])[0],
        )  # fmt: skip


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
        self._seen: set[tuple[Any, ...]] = set()
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
        along = kernels.direction(sums.gradient, sums.illumination, object_regularisation, image)
        probe_along = kernels.direction(sums.probe, sums.transmission, probe_regularisation, probe)
        return Directions(image[0], probe, sums.gradient[0, 0], sums.probe[0], *along, *probe_along)

    def advance(
        self, state: ReconState, found: Directions, object_step: float, probe_step: float, momentum: float = 0.0
    ) -> None:
        """Step in place and forget the sums."""
        kernels.advance(state.object[None], state.object_velocity[None], found.object[None], object_step, momentum)
        if probe_step:
            kernels.advance(state.probe, state.probe_velocity, found.probe, probe_step, momentum)
        self.sums.clear()


def _kernels_of(state: ReconState, visit: Visit) -> tuple[Any, ...]:
    """Return what decides which kernels `visit` calls on frames of `state`."""
    detection, frames = state.detection, state.frames
    asked = (detection.plain, frames.weights is None, state.excess is None, state.tracks_shifts, state.tracks_variation)
    return visit.__code__, bool(frames.fractional.any()), *asked
