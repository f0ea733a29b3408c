"""The probe before it is free: guessed from what is known, again with every new frame, then released."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..geometry import Geometry
from ..scan_plan import ScanPlan
from .probe import scale_power
from .probe_guess import add_modes, first_probe, motion_modes
from .settings import SolverSettings
from .state import ReconState

KEPT = -1
"""In the place of the number of frames that the probe was guessed from: it has been free, and no guess replaces it."""


class ProbeStart:
    """Holds the probe to its first guess for a few passes.

    Parameters
    ----------
    plan, geometry, settings
        As the solver has them.
    given : ndarray (modes, ny, nx) or (ny, nx) complex, optional
        Taken in the place of a guess.

    Attributes
    ----------
    first : (modes, ny, nx) complex64
        The newest guess; zeros before there is one.

    Raises
    ------
    MetadataError
        If `given` does not fit the geometry.
    """

    def __init__(
        self, plan: ScanPlan, geometry: Geometry, settings: SolverSettings, given: NDArray[Any] | None
    ) -> None:
        self.given = _checked_probe(given, geometry)
        self.modes = self.modes_for(settings)
        self.first = np.zeros((self.modes, *geometry.shape), np.complex64)
        self._plan, self._geometry, self._settings = plan, geometry, settings
        self._passes = 0
        self._guessed_from = 0

    def _own_modes(self, settings: SolverSettings) -> int:
        own = 1 if self.given is None else len(self.given)
        return own if settings.motion_m is None else max(own, 2)

    @property
    def guessed(self) -> bool:
        """Whether there was a frame to guess from."""
        return self._guessed_from != 0

    def prepare(self, state: ReconState, slots: NDArray[np.int64]) -> bool:
        """Set the probe of `state` where frames are new to the guess; tell whether the probe is free."""
        if self._passes >= self._settings.probe_start and self.guessed:
            return True
        if self._guessed_from not in (KEPT, len(slots)):
            photons = float(state.frames.photons[slots].mean())
            self.first = scale_power(self._guess(state, slots), photons)
            state.probe = state.backend.to_device(np.array(self.first))
            self._guessed_from = len(slots)
            state.rest()
            state.memory.clear()  # what was learnt under the older guess
        self._passes += 1
        return False

    def modes_for(self, settings: SolverSettings) -> int:
        """Return how many modes `settings` ask for."""
        return settings.modes or self._own_modes(settings)

    def change(self, settings: SolverSettings) -> None:
        """Go on with `settings`; a probe that is free already is not guessed again, only held where they say so."""
        if self.guessed and self._passes >= self._settings.probe_start:
            self._guessed_from = KEPT
        self._settings, self.modes = settings, self.modes_for(settings)
        self.first = add_modes(self.first, self.modes)

    def to_array(self) -> NDArray[np.int64]:
        """Return how many passes the probe was held, and how many frames it was guessed from or KEPT, ``(2,)``."""
        return np.array([self._passes, self._guessed_from])

    def take_up(self, first: NDArray[np.complex64], counts: NDArray[np.int64]) -> None:
        """Go on with the guess `first` and what :meth:`to_array` gave."""
        self.first = np.array(first, np.complex64)
        self._passes, self._guessed_from = (int(count) for count in counts)

    def _guess(self, state: ReconState, slots: NDArray[np.int64]) -> NDArray[np.complex64]:
        guess = self.given
        if guess is None:
            guess = first_probe(self._plan.illumination, self._geometry, state.frames, slots)[None]
        motion = self._settings.motion_m
        if motion is not None and len(guess) < self.modes:
            way_px = np.asarray(motion) / np.asarray(state.canvas.pixel_m)
            guess = motion_modes(guess[0], (float(way_px[0]), float(way_px[1])), self.modes)
        return add_modes(guess, self.modes)


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
