"""What a live picture shows at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames import Snapshot
from ..geometry import Canvas, Geometry
from ..scan_plan import ScanPlan


@dataclass(frozen=True)
class LiveView:
    """A scan and its reconstruction at one moment, in arrays and words.

    Parameters
    ----------
    uid : str
        Of the scan.
    title, state : str
        "scan 12 gold"; "live", "finishing", "done", or how the scan ended.
    plan, geometry : ScanPlan, Geometry
        What is measured; geometry of the solver's patterns.
    taken, planned : int
        Scan points.
    facts : tuple of (str, str)
        Names and values of the strip.
    messages : tuple of str
        Oldest first.
    snapshot : Snapshot or None
    stxm : ndarray (rows, cols) float32 or None
        Transmission map on the snapshot's canvas.
    newest_point : int or None
        Scan point of the newest frame.
    newest_raw : ndarray (K, H, W) or None
        Its raw frames, one for each exposure.
    newest_clean : ndarray (ny, nx) float32 or None
        Its photons, NaN where the mask leaves a pixel out.
    resolutions : ndarray (k, 2) float64
        Scan points used, and half pitch in m by FRC then; NaN where it was not resolved.
    """

    uid: str
    title: str
    state: str
    plan: ScanPlan
    geometry: Geometry
    taken: int
    planned: int
    facts: tuple[tuple[str, str], ...] = ()
    messages: tuple[str, ...] = ()
    snapshot: Snapshot | None = None
    stxm: NDArray[np.float32] | None = None
    newest_point: int | None = None
    newest_raw: NDArray[Any] | None = None
    newest_clean: NDArray[np.float32] | None = None
    resolutions: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def canvas(self) -> Canvas:
        """Grid of the maps: the snapshot's, before the first that of the plan."""
        return Canvas.for_extent(self.plan.extent_m, self.geometry) if self.snapshot is None else self.snapshot.canvas

    @property
    def planned_corners_m(self) -> NDArray[np.float64]:
        """Outermost planned positions ``(y, x)``, ``(2, 2)``."""
        y_min, y_max, x_min, x_max = self.plan.extent_m
        return np.array([[y_min, x_min], [y_max, x_max]])


def duration_text(seconds: float) -> str:
    """Return a time as a person reads it: "48 s", "3:07 min", "1:02 h"; a dash if it is not known."""
    if not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
