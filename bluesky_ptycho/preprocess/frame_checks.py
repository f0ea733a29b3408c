"""Which frames must not reach the solver."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray

from .recipe import Recipe

N_REMEMBERED = 256
"""Frames over which the usual number of photons is taken."""
N_BEFORE_JUDGING = 5
"""Frames needed before one is called dark by comparison."""


class FrameChecks:
    """Judge frames by their damage, their saturation and the photons of the frames so far.

    Parameters
    ----------
    recipe : Recipe
        Gives limits and the number of raw pixels.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._settings = recipe.settings
        self._n_pixels = recipe.grid.size[0] * recipe.grid.size[1]
        self._totals: deque[float] = deque(maxlen=N_REMEMBERED)
        self._lock = threading.Lock()

    def __call__(
        self, totals: NDArray[np.float64], n_damaged: NDArray[np.int64], n_saturated: NDArray[np.int64]
    ) -> dict[int, str]:
        """Return row → reason for the frames to reject.

        Parameters
        ----------
        totals : ndarray (n,) float64
            Photons of each frame.
        n_damaged, n_saturated : ndarray (n,) int64
            Its raw pixels that were lost.
        """
        settings = self._settings
        limits = (
            (n_damaged, settings.max_damaged_fraction, "corrupt", "damaged"),
            (n_saturated, settings.max_saturated_fraction, "saturated", "saturated"),
        )
        reasons: dict[int, str] = {}
        for lost, limit, verdict, what in limits:
            for i in np.flatnonzero(lost > limit * self._n_pixels):
                share = 100 * lost[i] / self._n_pixels
                reasons.setdefault(int(i), f"{verdict}: {share:.1f} % of the pixels are {what}")
        with self._lock:
            known = [*self._totals, *(float(t) for i, t in enumerate(totals) if i not in reasons)]
            if len(known) >= N_BEFORE_JUDGING:
                usual = float(np.median(known))
                for i in np.flatnonzero(totals < settings.min_relative_flux * usual):
                    reasons.setdefault(int(i), f"dark: {totals[i]:.3g} photons where {usual:.3g} are usual")
            # Dark frames are not remembered: however long the beam is away, what is usual stays.
            self._totals.extend(float(t) for i, t in enumerate(totals) if i not in reasons)
        return reasons
