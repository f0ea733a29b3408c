"""Watch during a scan whether its darks still fit."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..preprocess import DarkDrift, PreprocessSettings, find_layout, measure_drift
from ..scan_plan import ScanPlan
from .dark_store import Darks
from .document_keys import Point

FIRST_POINTS = 3
EVERY = 32
"""The first points are looked at and then one of so many: a look costs as much as cleaning a frame."""
N_JUDGED = 5
"""Looks whose median counts: a frame by itself may have drifted far and come back."""


class DarkWatch:
    """Compare the overscan of some frames with that of the darks.

    Parameters
    ----------
    plan : ScanPlan
        Of an FCCD layout.
    darks : tuple of DarkModel
        Those that the run is corrected with.
    settings : PreprocessSettings
        Limits.
    """

    def __init__(self, plan: ScanPlan, darks: Darks, settings: PreprocessSettings) -> None:
        assert plan.detector is not None
        self._layout = find_layout(plan.detector.layout)
        self._dark, self._settings = darks[0], settings
        self._looks: deque[DarkDrift] = deque(maxlen=N_JUDGED)
        self._told = False
        self.drift = DarkDrift(math.nan, math.nan)

    def look(self, points: Sequence[Point], frames: NDArray[Any]) -> str | None:
        """Look at those of the frames ``(n, K, H, W)`` whose turn it is; return what to say, once.

        Which are looked at depends on the sequence number alone, so that a replay sees the same.
        """
        for point, frame in zip(points, frames, strict=True):
            if point.seq_num <= FIRST_POINTS or point.seq_num % EVERY == 0:
                self._looks.append(measure_drift(frame[0], self._dark, self._layout))
        values = np.array([(look.level, look.noise) for look in self._looks if math.isfinite(look.level)])
        if not len(values):
            return None
        level, noise = np.median(values, axis=0)
        self.drift = DarkDrift(float(level), float(noise))
        enough = len(values) >= FIRST_POINTS
        if self._told or not enough:
            return None
        if level > self._settings.max_dark_drift:
            what = f"levels have changed by {level:.1f} σ since; expected at most {self._settings.max_dark_drift:g}"
        elif noise > self._settings.max_dark_noise:
            what = f"noise is {noise:.1f} times that of theirs; expected at most {self._settings.max_dark_noise:g}"
        else:
            return None
        self._told = True
        return f"the darks no longer fit the camera, whose {what}: the next scan should take new ones"
