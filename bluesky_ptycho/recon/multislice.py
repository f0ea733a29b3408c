"""Thick objects: slices with free space between them (Maiden, Humphry, Rodenburg, J. Opt. Soc. Am. A 29, 1606 (2012)).

The wave behind a slice goes on to the next one, where it is the probe. What changed exit waves ask of the slices goes
the way back, as the gradient does (Tsai, Usov, Diaz, Menzel, Guizar-Sicairos, Opt. Express 24, 29089 (2016)).
"""

from __future__ import annotations

from typing import Any

from ..backend import Backend
from . import reference
from .array_engine import ArrayEngine
from .engine import Directions, Slots
from .state import ReconState


class MultisliceEngine(ArrayEngine):
    """The array engine for objects ``(slices, rows, cols)``.

    Parameters
    ----------
    backend : Backend
    between : (ny, nx) complex64
        Free space between two slices, as :func:`propagation.angular_spectrum` makes it.
    """

    def __init__(self, backend: Backend, between: Any, chunk_bytes: int = 1 << 22) -> None:
        super().__init__(backend, chunk_bytes)
        self._forth = backend.to_device(between)
        self._back = backend.xp.conj(self._forth)

    def _through(self, space: Any, waves: Any) -> Any:
        return self.backend.ifft2(self.backend.fft2(waves) * space)

    def _layers(self, state: ReconState, slots: Slots, layers: Any = None, offset: tuple[int, int] = (0, 0)) -> Any:
        """Return each slice's windows ``(n, ny, nx)``."""
        images = state.object if layers is None else layers
        return [self._windows(state, slots, images[k, ...], offset) for k in range(images.shape[0])]

    def _incident(self, probes: Any, windows: Any) -> list[Any]:
        """Return the waves ``(n, m, ny, nx)`` in front of each slice."""
        waves = [probes]
        for window in windows[:-1]:
            waves.append(self._through(self._forth, reference.exit_waves(waves[-1], window)))
        return waves

    def exit_waves(self, state: ReconState, slots: Slots, probes: Any) -> Any:
        """Take the probes through all slices."""
        windows = self._layers(state, slots)
        return reference.exit_waves(self._incident(probes, windows)[-1], windows[-1])

    def accumulate(self, state: ReconState, slots: Slots, probes: Any, waves: Any) -> None:
        """Add the chunk's gradients to the sums, from the last slice to the first.

        All slices step at once and may do the same: each one's light counts as often as there are slices, so that
        together they do not overshoot. The slices behind, through which a slice is seen, dim it.
        """
        backend, frames, sums = self.backend, state.frames, self._ensure(state)
        windows = self._layers(state, slots)
        incident = self._incident(probes, windows)
        if state.tracks_shifts:
            self._note_shifts(state, slots, probes, waves - reference.exit_waves(incident[-1], windows[-1]))
        wanted, behind = waves, 1.0
        for k in range(len(windows) - 1, -1, -1):
            g, w, q, t = reference.pie_gradients(backend.xp, incident[k], windows[k], wanted)
            backend.scatter_add(sums.gradient[k, ...], frames.corners[slots], g)
            backend.scatter_add(sums.illumination[k, ...], frames.corners[slots], w * behind * len(windows))
            behind = t * behind
            if k:
                wanted = self._through(self._back, incident[k] + q)
        self._accumulate_probe(state, slots, q, behind)

    def _changes_by(self, state: ReconState, slots: Slots, probes: Any, changes: Any) -> Any:
        """Return how the exit waves change, to first order, with `changes` of the slices' windows."""
        wave, total = probes, 0.0 * probes
        for k, (window, change) in enumerate(zip(self._layers(state, slots), changes, strict=True)):
            if k:
                wave, total = self._through(self._forth, wave), self._through(self._forth, total)
            total = reference.exit_waves(total, window) + reference.exit_waves(wave, change)
            wave = reference.exit_waves(wave, window)
        return total

    def _along_object(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> Any:
        return self._changes_by(state, slots, probes, self._layers(state, slots, found.object))

    def _note_shifts(self, state: ReconState, slots: Slots, probes: Any, change: Any) -> None:
        ways = []
        for step in ((1, 0), (0, 1)):
            before, after = ([s * p for p in step] for s in (-1, 1))
            layers = zip(*(self._layers(state, slots, offset=(o[0], o[1])) for o in (before, after)), strict=True)
            ways.append(self._changes_by(state, slots, probes, [0.5 * (b - a) for a, b in layers]))
        self._note(state, "shift_sums", slots, reference.sums_along(self.backend.xp, ways, change))
