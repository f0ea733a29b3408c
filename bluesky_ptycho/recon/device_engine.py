"""The engine of CUDA devices: fused kernels over chunks of frames; what they do not serve goes the generic way.

Nothing here waits for the device but :meth:`DeviceEngine.read_notes`, after a pass. Totals, slopes and curvatures are
scalars on the device, and so are the steps that are made of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Backend
from .array_engine import ArrayEngine
from .device_kernels import (
    MIXTURE,
    MODEL,
    MOST_PARTS,
    WORK,
    DeviceFrames,
    SolveKernels,
    groups_of,
    parts_of,
    record,
    strips_of,
)
from .engine import Directions, PassForm, Slots, Visit
from .object_sums import Asked, ObjectSums
from .reference import Coefficients
from .state import ReconState


class DeviceEngine(ArrayEngine):
    """One lane that takes frames in chunks; the probe ``(1, m, ny, nx)`` is shared where all frames meet the same.

    Parameters
    ----------
    backend : Backend
        One that compiles CUDA.
    chunk_bytes : int
        Bound of the waves of a chunk; chunks are halved while they do not fit into the device's memory.
    tiled : bool, optional
        How the object's gradients are added, see :class:`~bluesky_ptycho.recon.object_sums.ObjectSums`; measured
        without it.
    """

    def __init__(self, backend: Backend, chunk_bytes: int = 1 << 28, tiled: bool | None = None) -> None:
        super().__init__(backend, chunk_bytes)
        kernels = SolveKernels(backend)
        self._launch = kernels.launch
        self.object_sums = ObjectSums(backend, kernels, tiled)
        self._frames = DeviceFrames(backend)
        self._chunk: tuple[Slots, Any] = (np.zeros(0, np.int64), None)
        self._order: tuple[Slots, Any] = self._chunk
        self._added = False
        self._one = backend.xp.ones(1, dtype="float32")
        self._no_weights, self._no_background = (backend.xp.zeros(1, dtype=t) for t in ("uint8", "float32"))

    def warm_up(self, state: ReconState) -> None:
        """Allocate the sums and find out how to add the gradients of as many frames as `state` has room for."""
        super().warm_up(state)
        self.object_sums.measure(state, min(len(state.frames.numbers), self._most_frames(state)))

    def _most_frames(self, state: ReconState) -> int:
        """Return how many frames a chunk may have."""
        return max(1, self.chunk_bytes // (8 * int(np.prod(state.probe.shape))))

    def run(self, state: ReconState, slots: Slots, visit: Visit, found: Directions | None = None) -> Any:
        """Visit all frames in chunks that fit `chunk_bytes` and the memory; return the total on the device.

        Raises
        ------
        MemoryError
            If one frame does not fit, or memory ran out when sums were half made.
        """
        self._prepare(state)
        self.total = 0.0
        on_device = self._on_device(slots)
        start, most = 0, self._most_frames(state)
        while start < len(slots):
            part = slots[start : start + most]
            before, self._added = self.total, False
            self._chunk = part, on_device[start : start + most]
            try:
                visit(self, part)
            except MemoryError:
                if self._added or len(part) == 1:
                    raise
                self.total, most = before, len(part) // 2
                self.chunk_bytes = most * 8 * int(np.prod(state.probe.shape))
                continue
            start += len(part)
        return self.total

    def form_of(self, state: ReconState) -> PassForm | None:
        """Return what the kernels are given; None where more is uploaded in a pass than the order of the frames."""
        detection, frames = state.detection, state.frames
        uploads = state.variation is not None or state.excess is not None or detection.transfer is not None
        if uploads or not self.backend.records:
            return None
        self._prepare(state)
        here = self._frames
        flags = here.any_fractional, detection.poisson, detection.fits_gain, state.tracks_shifts, self.chunk_bytes
        placed = here.corners, here.taps, here.fractional, here.unit, here.brightness
        return PassForm.of(
            (state.object.shape, state.probe.shape, *flags),
            (frames.counts, frames.weights, detection.background, *placed),
        )

    def follow(self, slots: Slots) -> tuple[Slots, Any]:
        """Upload `slots` once for all batches."""
        self._order = np.array(slots), self.backend.to_device(slots.astype(np.int32))
        return self._order

    def _on_device(self, slots: Slots) -> Any:
        """Return `slots` on the device, where a slice of what is followed lies already."""
        order, there = self._order
        if (slots is order or slots.base is order) and slots.flags.c_contiguous:
            first = (slots.ctypes.data - order.ctypes.data) // order.itemsize
            return there[first : first + len(slots)]
        return self.backend.to_device(slots.astype(np.int32))

    def _prepare(self, state: ReconState) -> None:
        """Have all arrays as kernels take them."""
        xp = self.backend.xp
        for name in ("object", "probe", "object_velocity", "probe_velocity"):
            setattr(state, name, xp.ascontiguousarray(getattr(state, name), dtype=xp.complex64))
        self._frames.update(state.frames)
        self._ensure(state)

    def _note_sums(self, state: ReconState, name: str, slots: Slots, sums: Any) -> None:
        """Keep sums ``(k, n, parts)`` of a chunk's frames for the store's array `name` ``(capacity, k)``."""
        self._note(state, name, slots, self.backend.xp.sum(sums, axis=2).T)

    def _index(self, slots: Slots) -> Any:
        """Return `slots` on the device; those of a run's chunk are there already."""
        return self._chunk[1] if slots is self._chunk[0] else self.backend.to_device(slots.astype(np.int32))

    def _work(self, state: ReconState, slots: Slots, probes: Any, changes: Any = None) -> Any:
        own = [a is not None and a.shape[0] == len(slots) for a in (probes, changes)]
        return record(WORK, len(slots), *state.probe.shape, *state.object.shape, *own, self._parts(state))

    def _pixels(self, state: ReconState) -> int:
        return int(np.prod(state.probe.shape[-2:]))

    def _parts(self, state: ReconState) -> int:
        return parts_of(self._pixels(state))

    def _new_waves(self, state: ReconState, slots: Slots) -> Any:
        return self.backend.xp.empty((len(slots), *state.probe.shape), dtype=self.backend.xp.complex64)

    def _new_sums(self, state: ReconState, slots: Slots, n: int) -> Any:
        return self.backend.xp.empty((n, len(slots), self._parts(state)), dtype=self.backend.xp.float32)

    def _add(self, sums: Any) -> None:
        self.total = self.total + self.backend.xp.sum(sums, dtype=self.backend.xp.float64)

    def probes(self, state: ReconState, slots: Slots) -> Any:
        """Shift the probe for each frame; return the probe itself where all lie on whole pixels."""
        if state.variation is not None:
            return super().probes(state, slots)
        return self._shifted(state, slots, state.probe[None, ...])

    def _shifted(self, state: ReconState, slots: Slots, each: Any, *, adjoint: bool = False) -> Any:
        if adjoint or not self._frames.any_fractional:
            return super()._shifted(state, slots, each, adjoint=adjoint)
        out, here = self._new_waves(state, slots), self._frames
        self._launch(
            "shift_probe", len(slots), strips_of(state.probe.shape), self._work(state, slots, each),
            self._index(slots), here.taps, here.fractional, each, out,
        )  # fmt: skip
        return out

    def exit_waves(self, state: ReconState, slots: Slots, probes: Any) -> Any:
        """Multiply by the object's windows."""
        waves = self._new_waves(state, slots)
        self._launch(
            "exit_waves", len(slots), self._pixels(state), self._work(state, slots, probes), self._index(slots),
            self._frames.corners, probes, state.object, waves,
        )  # fmt: skip
        return waves

    def _there(self, state: ReconState, slots: Slots, waves: Any) -> Any:
        """Take `waves` to the detector, in place in the far field."""
        if state.detection.transfer is not None:
            return self._to_detector(state, slots, waves)
        return self.backend.fft2(waves, overwrite=True)

    def _back(self, state: ReconState, slots: Slots, far: Any) -> Any:
        """Take waves `far` back from the detector, in place in the far field."""
        if state.detection.transfer is not None:
            return self._from_detector(state, slots, far)
        return self.backend.ifft2(far, overwrite=True)

    def _detection(self, state: ReconState, strength: float = 1.0) -> tuple[Any, tuple[Any, ...]]:
        """Return the kernels' model, and brightness, weights and background as they take them."""
        detection, weights, background = state.detection, state.frames.weights, state.detection.background
        told = (detection.poisson, weights is not None, background is not None)
        model = record(MODEL, *told, strength, *detection.scales(self._pixels(state)))
        weights = self._no_weights if weights is None else weights
        return model, (self._frames.brightness, weights, self._no_background if background is None else background)

    def measure(self, state: ReconState, slots: Slots, waves: Any, strength: float = 1.0) -> Any:
        """Transform and move towards the data."""
        if state.excess is not None:
            far = super().measure(state, slots, waves, strength)
            self._added = True
            return far
        far, frames = self._there(state, slots, waves), state.frames
        model, extras = self._detection(state, strength)
        values = self._work(state, slots, far), model
        data = self._index(slots), frames.counts, self._frames.unit
        if state.detection.plain and frames.weights is None and strength == 1.0:
            sums = self._new_sums(state, slots, 1)
            self._launch("project_modulus", len(slots), self._parts(state), *values, *data, far, sums)
        else:
            sums = self._new_sums(state, slots, 3)
            self._launch("project_model", len(slots), self._parts(state), *values, *data, *extras, far, sums)
        if state.detection.fits_gain:
            self._note_sums(state, "brightness", slots, sums[1:])
        self._add(sums[0])
        return far

    def project(self, state: ReconState, slots: Slots, waves: Any, strength: float = 1.0) -> Any:
        """Transform, move towards the data, transform back."""
        return self._back(state, slots, self.measure(state, slots, waves, strength))

    def accumulate(self, state: ReconState, slots: Slots, probes: Any, waves: Any) -> None:
        """Add the chunk's gradients to the sums."""
        self._added = True
        if state.tracks_variation and state.variation is not None:
            super().accumulate(state, slots, probes, waves)
            return
        n, work, sums, here = len(slots), self._work(state, slots, probes), self._ensure(state), self._frames
        index = self._index(slots)
        if state.tracks_shifts:
            asked = self._new_sums(state, slots, 4)
            where = index, here.corners, probes, state.object, waves
            self._launch("shift_sums", n, self._parts(state), work, *where, asked)
            self._note_sums(state, "shift_sums", slots, asked)
        self.object_sums.add(
            Asked(work, index, here.corners, probes, state.object, waves, sums.gradient, sums.illumination)
        )
        strips = strips_of(state.probe.shape)
        groups = groups_of(n, strips)
        self._launch(
            "probe_gradients", groups, strips, work, np.int32(groups), index, here.corners, here.taps,
            here.fractional, state.object, waves, sums.probe, sums.transmission,
        )  # fmt: skip

    def blend(
        self, state: ReconState, slots: Slots, probes: Any, stored: Any, of_product: float, of_stored: float
    ) -> Any:
        """Combine exit waves and stored waves."""
        waves = self._new_waves(state, slots)
        self._launch(
            "blend", len(slots), self._pixels(state), self._work(state, slots, probes), self._index(slots),
            self._frames.corners, probes, state.object, stored, np.float32(of_product), np.float32(of_stored), waves,
        )  # fmt: skip
        return waves

    def relay(
        self, state: ReconState, slots: Slots, probes: Any, stored: Any, waves: Any, keep: Coefficients,
        give: Coefficients,
    ) -> Any:  # fmt: skip
        """Combine, store and return in place."""
        self._added = True
        self._launch(
            "relay", len(slots), self._pixels(state), self._work(state, slots, probes), record(MIXTURE, keep, give),
            self._index(slots), self._frames.corners, probes, state.object, stored, waves,
        )  # fmt: skip
        return waves

    def _changes(self, state: ReconState, slots: Slots, found: Directions) -> Any:
        return self._shifted(state, slots, found.probe[None, ...])

    def couple(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> None:
        """Add the product of the two directions' effects."""
        changes, sums = self._changes(state, slots, found), self._new_sums(state, slots, 1)
        self._launch(
            "couple", len(slots), self._parts(state), self._work(state, slots, probes, changes), self._index(slots),
            self._frames.corners, probes, changes, state.object, found.object, sums,
        )  # fmt: skip
        self._add(sums)

    def bend(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> None:
        """Add the curvature along both directions."""
        changes, moved = self._changes(state, slots, found), self._new_waves(state, slots)
        work, index = self._work(state, slots, probes, changes), self._index(slots)
        self._launch(
            "exit_changes", len(slots), self._pixels(state), work, index, self._frames.corners, probes, changes,
            state.object, found.object, moved,
        )  # fmt: skip
        far, moved = (self._there(state, slots, waves) for waves in (self.exit_waves(state, slots, probes), moved))
        model, extras = self._detection(state)
        sums = self._new_sums(state, slots, 1)
        self._launch(
            "curvature", len(slots), self._parts(state), work, model, index, state.frames.counts, self._frames.unit,
            *extras, far, moved, sums,
        )  # fmt: skip
        self._add(sums)

    def directions(self, state: ReconState, object_regularisation: float, probe_regularisation: float) -> Directions:
        """Precondition the sums; slopes and curvatures stay on the device."""
        sums = self._ensure(state)
        image, along = self._direction(sums.gradient[None, ...], sums.illumination, object_regularisation)
        probe, probe_along = self._direction(sums.probe, sums.transmission, probe_regularisation)
        return Directions(image[0], probe, sums.gradient, sums.probe, *along, *probe_along)

    def _direction(self, gradient: Any, weight: Any, regularisation: float) -> tuple[Any, tuple[Any, Any]]:
        xp, parts = self.backend.xp, min(weight.size, MOST_PARTS)
        out, peak = xp.empty(gradient.shape, dtype=xp.complex64), xp.max(weight, keepdims=True)
        sums = xp.empty((2, parts), dtype=xp.float32)
        sizes = (np.int32(n) for n in (len(gradient), weight.size, parts))
        self._launch("direction", 1, parts, *sizes, np.float32(regularisation), peak, gradient, weight, out, sums)
        along = xp.sum(sums, axis=1, dtype=xp.float64)
        return out, (along[0], along[1])

    def best_steps(self, found: Directions, coupling: Any | None, share: float, most: float) -> tuple[Any, Any | None]:
        """Solve for both steps by one thread."""
        held, xp = coupling is None, self.backend.xp
        steps = xp.empty((2,), dtype=xp.float32)
        along = found.object_slope, found.object_curvature, found.probe_slope, found.probe_curvature
        told = np.int32(not held), np.float64(share), np.float64(most)
        self._launch("best_steps", 1, 1, *told, *along, found.object_slope if held else coupling, steps)
        return steps[:1], None if held else steps[1:]

    def advance(
        self, state: ReconState, found: Directions, object_step: Any, probe_step: Any | None, momentum: float = 0.0
    ) -> None:
        """Step in place and forget the sums."""
        self._advance(state.object, state.object_velocity, found.object, object_step, momentum)
        if probe_step is not None:
            self._advance(state.probe, state.probe_velocity, found.probe, probe_step, momentum)
        self.clear()

    def _advance(self, target: Any, velocity: Any, found: Any, step: Any, momentum: float) -> None:
        n, xp = target.size, self.backend.xp
        known = isinstance(step, float)
        factor, scalar = (step, self._one) if known else (1.0, xp.asarray(step, dtype=xp.float32))
        told = np.int32(n), np.float32(factor), scalar, np.float32(momentum)
        self._launch("advance", 1, n, *told, found, velocity, target)
