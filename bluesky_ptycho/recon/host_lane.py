"""One core's part of the CPU engine: the steps of a visit on one frame at a time, in buffers that stay in its cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..planned_fft import PlannedFFT
from . import detection_kernels, kernels
from .engine import Directions, Slots
from .host_arrays import padded, padded_like, pairs
from .propagation import shift_back
from .reference import Coefficients
from .state import ReconState
from .subpixel import FIRST_TAP, N_TAPS

if TYPE_CHECKING:
    from .host_engine import HostEngine

NOTHING = np.zeros((0, 0), np.float32)
NO_WEIGHTS = np.zeros((0, 0), np.uint8)
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
        weights = NO_WEIGHTS if frames.weights is None else frames.weights[slot]
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
        fractional, add = frames.fractional[slot], False
        if fractional:  # the adjoint of a filter is the filter reversed, so the frame around the data is reversed too
            out, first = self.back, -FIRST_TAP
        else:  # to write gradients and add them afterwards costs as much as to make them
            add = not state.tracks_variation
            out, first = sums.probe[i] if add else self.shifted, 0
        kernels.pie_gradients(
            pairs(probes), pairs(state.object), r, c, pairs(waves),
            pairs(sums.gradient[i, 0]), sums.illumination[i], sums.transmission[i], pairs(out), first, add,
        )  # fmt: skip
        if fractional:
            self._unshift(state, slot, self.shifted if state.tracks_variation else sums.probe[i])
        if state.tracks_variation and state.variation is not None:
            window = state.object[r : r + self.shape[1], c : c + self.shape[2]]
            state.variation.note(state.backend, slots, self.shifted[:1], np.abs(window[None]) ** 2, lane=i)
            sums.probe[i] += self.shifted

    def _unshift(self, state: ReconState, slot: int, out: Any) -> None:
        """Shift the frame's probe gradients back and write them into the lane's own array, or add them to the sums."""
        taps = np.ascontiguousarray(state.frames.taps[slot][:, ::-1])
        kernels.shift_probe(pairs(self.back), taps, self.row, pairs(out), out is not self.shifted)

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
