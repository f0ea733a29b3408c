"""The engine of array modules: devices, and the reference of the host engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import Backend
from . import reference
from .engine import Directions, PassForm, Slots, Visit
from .propagation import shift_back
from .reference import Coefficients
from .state import ReconState
from .store import FrameStore


@dataclass
class _Sums:
    """Object gradient and illumination, probe gradient and transmission, what the background lacks."""

    gradient: Any
    illumination: Any
    probe: Any
    transmission: Any


class ArrayEngine:
    """One lane that takes frames in chunks.

    Parameters
    ----------
    backend : Backend
    chunk_bytes : int
        Bound of one temporary of a chunk.
    """

    def __init__(self, backend: Backend, chunk_bytes: int = 1 << 28) -> None:
        self.backend = backend
        self.chunk_bytes = chunk_bytes
        self.total: Any = 0.0
        self._sums: _Sums | None = None
        self._notes: list[tuple[FrameStore, str, Slots, Any]] = []

    def warm_up(self, state: ReconState) -> None:
        """Allocate the sums."""
        self._ensure(state)

    def _ensure(self, state: ReconState) -> _Sums:
        xp, sums = self.backend.xp, self._sums
        if sums is None or sums.gradient.shape != state.object.shape or sums.probe.shape != state.probe.shape:
            self._sums = sums = _Sums(
                xp.zeros(state.object.shape, dtype=xp.complex64),
                xp.zeros(state.object.shape, dtype=xp.float32),
                xp.zeros(state.probe.shape, dtype=xp.complex64),
                xp.zeros(state.probe.shape[-2:], dtype=xp.float32),
            )
        return sums

    def clear(self) -> None:
        """Forget the sums."""
        self._sums = None

    def close(self) -> None:
        """Do nothing: there are no threads."""

    def run(self, state: ReconState, slots: Slots, visit: Visit, found: Directions | None = None) -> Any:
        """Visit all frames in chunks that fit `chunk_bytes`."""
        self._ensure(state)
        self.total = 0.0
        frame_bytes = 8 * int(np.prod(state.probe.shape))
        chunk = max(1, self.chunk_bytes // frame_bytes)
        for start in range(0, len(slots), chunk):
            visit(self, slots[start : start + chunk])
        return self.total

    def _add(self, amount: Any) -> None:
        """Add a scalar to the total, in double precision: there may be many batches."""
        self.total = self.total + self.backend.xp.asarray(amount, dtype=self.backend.xp.float64)

    def _note(self, state: ReconState, name: str, slots: Slots, values: Any) -> None:
        """Keep `values` ``(n, k)`` of `slots` for the frame store's array `name`."""
        self._notes.append((state.frames, name, slots, values))

    def form_of(self, state: ReconState) -> PassForm | None:
        """Return None: what it asks of a device depends on more than is known here."""
        return None

    def take_notes(self) -> list[Any]:
        """Return what visits have noted and was not read, and forget it."""
        notes, self._notes = self._notes, []
        return notes

    def give_notes(self, notes: list[Any]) -> None:
        """Have noted what :meth:`take_notes` returned."""
        self._notes.extend(notes)

    def read_notes(self, state: ReconState) -> None:
        """Bring all of a kind at once; what was noted of other stores is dropped."""
        notes = [note for note in self.take_notes() if note[0] is state.frames]
        for name in sorted({note[1] for note in notes}):
            slots, values = zip(*(note[2:] for note in notes if note[1] == name), strict=True)
            found = self.backend.xp.concat(values, axis=0)
            getattr(state.frames, name)[np.concatenate(slots)] = self.backend.to_host(found)

    def probes(self, state: ReconState, slots: Slots) -> Any:
        """Vary and shift the probe for each frame."""
        xp, probe = self.backend.xp, state.probe
        each = xp.broadcast_to(probe[None, ...], (len(slots), *probe.shape))
        if state.variation is not None:
            first = each[:, :1, ...] + state.variation.of(self.backend, slots)[:, None, ...]
            each = xp.concat([first, each[:, 1:, ...]], axis=1)
        return self._shifted(state, slots, each)

    def _shifted(self, state: ReconState, slots: Slots, each: Any, *, adjoint: bool = False) -> Any:
        if not state.frames.fractional[slots].any():
            return each
        taps = self.backend.to_device(state.frames.taps[slots])
        return reference.shift_probe(self.backend.xp, each, taps, adjoint=adjoint)

    def _windows(self, state: ReconState, slots: Slots, image: Any = None, offset: tuple[int, int] = (0, 0)) -> Any:
        most = np.asarray(state.object.shape[-2:]) - np.asarray(state.probe.shape[-2:])
        corners = np.clip(state.frames.corners[slots] + np.asarray(offset), 0, most)
        return self.backend.gather(state.object if image is None else image, corners, state.probe.shape[-2:])

    def exit_waves(self, state: ReconState, slots: Slots, probes: Any) -> Any:
        """Multiply by the object's windows."""
        return reference.exit_waves(probes, self._windows(state, slots))

    def _to_detector(self, state: ReconState, slots: Slots, waves: Any) -> Any:
        far = self.backend.fft2(waves)
        return far if state.detection.transfer is None else self.backend.ifft2(far * self._space(state, slots))

    def _from_detector(self, state: ReconState, slots: Slots, far: Any) -> Any:
        if state.detection.transfer is not None:
            far = self.backend.fft2(far) * self.backend.xp.conj(self._space(state, slots))
        return self.backend.ifft2(far)

    def _space(self, state: ReconState, slots: Slots) -> Any:
        down, across = shift_back(state.frames.fractions[slots], state.probe.shape[-2:])
        down, across = self.backend.to_device(down), self.backend.to_device(across)
        return state.detection.transfer * (down[:, None, :, None] * across[:, None, None, :])

    def _background(self, state: ReconState, slots: Slots) -> Any:
        if state.detection.background is None:
            return None
        return state.detection.background[None, ...] / self._gain(state, slots) ** 2

    def _gain(self, state: ReconState, slots: Slots) -> Any:
        return self.backend.to_device(state.frames.gain[slots])[:, None, None]

    def measure(self, state: ReconState, slots: Slots, waves: Any, strength: float = 1.0) -> Any:
        """Transform and move towards the data."""
        xp, frames, detection = self.backend.xp, state.frames, state.detection
        scale, back = detection.scales(waves.shape[-1] * waves.shape[-2])
        far = self._to_detector(state, slots, waves)
        amplitude, background = frames.amplitude_of(slots), self._background(state, slots)
        far_new, error, overlap, power = reference.project_modulus(
            xp, far, amplitude, scale=scale, back=back, poisson=detection.poisson, strength=strength,
            weights=frames.weights_of(slots), background=background,
        )  # fmt: skip
        self._add(error)
        if not detection.plain:
            self._note(state, "brightness", slots, xp.stack([overlap, power], axis=1))
        if state.excess is not None:
            model = xp.sum(xp.real(far) ** 2 + xp.imag(far) ** 2, axis=1) * scale**2 + background
            state.excess += reference.excess(
                xp, amplitude, model, frames.weights_of(slots), self._gain(state, slots), poisson=detection.poisson
            )
        return far_new

    def project(self, state: ReconState, slots: Slots, waves: Any, strength: float = 1.0) -> Any:
        """Transform, move towards the data, transform back."""
        return self._from_detector(state, slots, self.measure(state, slots, waves, strength))

    def accumulate(self, state: ReconState, slots: Slots, probes: Any, waves: Any) -> None:
        """Add the chunk's gradients to the sums."""
        xp, frames, sums = self.backend.xp, state.frames, self._ensure(state)
        windows = self._windows(state, slots)
        g, w, q, t = reference.pie_gradients(xp, probes, windows, waves)
        if state.tracks_shifts:
            change = waves - reference.exit_waves(probes, windows)
            asked = reference.shift_sums(xp, probes, self._slopes(state, slots), change)
            self._note(state, "shift_sums", slots, asked)
        self.backend.scatter_add(sums.gradient, frames.corners[slots], g)
        self.backend.scatter_add(sums.illumination, frames.corners[slots], w)
        self._accumulate_probe(state, slots, q, t)

    def _accumulate_probe(self, state: ReconState, slots: Slots, gradients: Any, transmission: Any) -> None:
        xp, sums = self.backend.xp, self._ensure(state)
        own = self._shifted(state, slots, gradients, adjoint=True)
        if state.tracks_variation and state.variation is not None:
            state.variation.note(self.backend, slots, own[:, 0, ...], transmission)
        sums.probe += xp.sum(own, axis=0)
        sums.transmission += xp.sum(transmission, axis=0)

    def _slopes(self, state: ReconState, slots: Slots) -> tuple[Any, Any]:
        down, up, left, right = (
            self._windows(state, slots, offset=step) for step in ((-1, 0), (1, 0), (0, -1), (0, 1))
        )
        return 0.5 * (up - down), 0.5 * (right - left)

    def blend(
        self, state: ReconState, slots: Slots, probes: Any, stored: Any, of_product: float, of_stored: float
    ) -> Any:
        """Combine exit waves and stored waves."""
        kept = self.backend.xp.take(stored, self.backend.to_device(slots), axis=0)
        return reference.blend(self.exit_waves(state, slots, probes), kept, of_product, of_stored)

    def relay(
        self, state: ReconState, slots: Slots, probes: Any, stored: Any, waves: Any, keep: Coefficients,
        give: Coefficients,
    ) -> Any:  # fmt: skip
        """Combine, store and return."""
        old = self.backend.xp.take(stored, self.backend.to_device(slots), axis=0)
        kept, given = reference.relay(waves, old, self.exit_waves(state, slots, probes), keep, give)
        self.backend.put(stored, slots, kept)
        return given

    def _changes(self, state: ReconState, slots: Slots, found: Directions) -> Any:
        each = self.backend.xp.broadcast_to(found.probe[None, ...], (len(slots), *found.probe.shape))
        return self._shifted(state, slots, each)

    def _along_object(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> Any:
        return reference.exit_waves(probes, self._windows(state, slots, found.object))

    def _along_probe(self, state: ReconState, slots: Slots, found: Directions) -> Any:
        return self.exit_waves(state, slots, self._changes(state, slots, found))

    def couple(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> None:
        """Add the product of the two directions' effects."""
        xp = self.backend.xp
        a, b = self._along_object(state, slots, probes, found), self._along_probe(state, slots, found)
        self._add(xp.sum(xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b)))

    def bend(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> None:
        """Add the curvature along both directions."""
        detection, waves = state.detection, self.exit_waves(state, slots, probes)
        change = self._along_object(state, slots, probes, found) + self._along_probe(state, slots, found)
        far, far_change = (self._to_detector(state, slots, w) for w in (waves, change))
        bent = reference.curvature(
            self.backend.xp, far, far_change, state.frames.amplitude_of(slots),
            scale=detection.scales(far.shape[-1] * far.shape[-2])[0], poisson=detection.poisson,
            weights=state.frames.weights_of(slots), background=self._background(state, slots),
        )  # fmt: skip
        self._add(bent)

    def directions(self, state: ReconState, object_regularisation: float, probe_regularisation: float) -> Directions:
        """Precondition the sums."""
        xp, sums = self.backend.xp, self._ensure(state)
        image, slope, curvature = reference.direction(
            xp, sums.gradient[None, ...], sums.illumination, object_regularisation
        )
        probe, probe_slope, probe_curvature = reference.direction(
            xp, sums.probe, sums.transmission, probe_regularisation
        )
        gradients = sums.gradient, sums.probe
        return Directions(image[0, ...], probe, *gradients, slope, curvature, probe_slope, probe_curvature)

    def best_steps(self, found: Directions, coupling: Any | None, share: float, most: float) -> tuple[Any, Any | None]:
        """Solve for both steps where the arrays are."""
        xp, held = self.backend.xp, coupling is None
        object_step, probe_step = (
            xp.where(share * step < most, share * step, most * xp.ones_like(step))
            for step in reference.best_steps(
                xp,
                (found.object_slope, found.probe_slope),
                (found.object_curvature, 0.0 if held else found.probe_curvature),
                0.0 if held else coupling,
            )
        )
        return object_step, None if held else probe_step

    def advance(
        self, state: ReconState, found: Directions, object_step: Any, probe_step: Any | None, momentum: float = 0.0
    ) -> None:
        """Step and forget the sums."""
        xp = self.backend.xp
        for name, step in (("object", object_step), ("probe", probe_step)):
            if step is not None:
                image, velocity = getattr(state, name), getattr(state, f"{name}_velocity")
                factor = xp.asarray(step, dtype=image.dtype)
                moved = reference.advance(image, velocity, getattr(found, name), factor, momentum)
                setattr(state, name, moved[0])
                setattr(state, f"{name}_velocity", moved[1])
        self._sums = None
