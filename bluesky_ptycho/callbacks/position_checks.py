"""Where the stage says that it was against where the plan wanted it.

An encoder that jumps or sticks tells a place where the frame was not taken. That shows beside the plan only, and only
if the plan holds for the other points: axes that are swapped, flipped or of another unit disagree everywhere, which
is told and costs no frame. All is a function of the set of points, so that no order of arrival changes a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..scan_plan import ScanPlan
from .document_keys import Point

LOST_TRIGGERS = 16
"""Planned points that a flight may pass over without a frame: the events after them count from one fewer."""
NEIGHBOURS = 4
"""Points on either side that must agree on how many were passed over."""
STEPS = 2.0
"""Steps of the scan that a position may be off its planned one."""
SHARE_OF_FIELD = 0.05
"""Share of the field that it may be off however fine the steps are."""
HALF_A_STEP = 0.5
"""An axis that reads the very same number was to move by so much of a step: it is stuck."""
CHANGES = {
    "the axes look swapped": ((0.0, 1.0), (1.0, 0.0)),
    "y looks flipped": ((-1.0, 0.0), (0.0, 1.0)),
    "x looks flipped": ((1.0, 0.0), (0.0, -1.0)),
    "both axes look flipped": ((-1.0, 0.0), (0.0, -1.0)),
    "the axes look swapped and flipped": ((0.0, -1.0), (-1.0, 0.0)),
    "the unit looks a thousand times too large": ((1e-3, 0.0), (0.0, 1e-3)),
    "the unit looks a thousand times too small": ((1e3, 0.0), (0.0, 1e3)),
}
"""What may be wrong with positions (y, x) → matrix that mends it."""


class PositionChecks:
    """Judge the positions of one run.

    Parameters
    ----------
    plan : ScanPlan
        One without planned positions finds no fault with any.

    Attributes
    ----------
    doubt : str or None
        The first disagreement in words: field, value, what the plan says, and what may be wrong.
    """

    def __init__(self, plan: ScanPlan) -> None:
        self._plan = plan
        planned = plan.positions_m
        self._planned = np.zeros((0, 2)) if planned is None else np.asarray(planned, dtype=np.float64)
        self._step_m, self._tolerance_m = _scales(self._planned)
        self.doubt: str | None = None

    def strays(self, points: Sequence[Point]) -> dict[int, str]:
        """Return seq_num → reason for those `points` that cannot be where they say."""
        points = sorted((p for p in points if p.seq_num <= len(self._planned)), key=lambda p: p.seq_num)
        if not points:
            return {}
        measured = np.array([p.position_m for p in points], dtype=np.float64)
        index = np.array([p.seq_num for p in points]) - 1
        as_planned = index
        is_off, index = self._off(measured, as_planned)
        if is_off.any() and self.doubt is None:
            self.doubt = self._describe(int(np.argmax(is_off)), points, measured, as_planned)
        if 2 * is_off.sum() > len(points):
            return {}  # it is the plan, or the axes, that are wrong
        reasons = {
            points[i].seq_num: f"position: {self._text(measured[i])}; the scan plan says {self._text(self._planned[n])}"
            for i, n in zip(np.flatnonzero(is_off), index[is_off], strict=True)
        }
        for i in np.flatnonzero(self._stuck(measured, index)):
            reasons.setdefault(points[i].seq_num, f"position: an axis is stuck at {self._text(measured[i])}")
        return reasons

    def _off(
        self, measured: NDArray[np.float64], index: NDArray[np.intp]
    ) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Tell which positions are off; index of the planned position of each, after those that were passed over."""
        if self._close(measured, index).all():
            return np.zeros(len(index), dtype=np.bool_), index
        shifted = np.minimum(index + np.arange(LOST_TRIGGERS + 1)[:, None], len(self._planned) - 1)
        distance = np.abs(measured - self._planned[shifted]).max(axis=-1)
        # Clipped, so that a few that jumped do not outweigh their neighbours.
        misfit = np.minimum(distance, 2 * self._tolerance_m)
        lost = np.argmin(ndimage.uniform_filter1d(misfit, 2 * NEIGHBOURS + 1, axis=1, mode="nearest"), axis=0)
        here = np.arange(len(index))
        # Where triggers were just lost, the neighbours on one side alone know how many.
        either = np.stack([lost[np.clip(here + d, 0, len(here) - 1)] for d in (0, -NEIGHBOURS, NEIGHBOURS)])
        chosen = either[np.argmin(distance[either, here], axis=0), here]
        return distance[chosen, here] > self._tolerance_m, shifted[chosen, here]

    def _close(self, measured: NDArray[np.float64], index: NDArray[np.intp]) -> NDArray[np.bool_]:
        return np.abs(measured - self._planned[index]).max(axis=-1) <= self._tolerance_m

    def _stuck(self, measured: NDArray[np.float64], index: NDArray[np.intp]) -> NDArray[np.bool_]:
        was_to_move = np.abs(np.diff(self._planned[index], axis=0)) >= HALF_A_STEP * self._step_m
        same = np.diff(measured, axis=0) == 0
        return np.concatenate([[False], (same & was_to_move).any(axis=1)])

    def _describe(
        self, first: int, points: Sequence[Point], measured: NDArray[np.float64], index: NDArray[np.intp]
    ) -> str:
        planned = self._text(self._planned[index[first]])
        said = f"point {points[first].seq_num}: {self._text(measured[first])}; the scan plan says {planned}"
        for what, matrix in CHANGES.items():
            if self._close(measured @ np.array(matrix).T, index).all():
                return f"{said}: {what}"
        return said

    def _text(self, position_m: NDArray[np.float64]) -> str:
        """Return a position by the keys and in the units of the axes."""
        axes = [self._plan.axes[name] for name in ("y", "x")]
        values = (f"{a.key} is {v / a.metres:.6g} {a.units}" for a, v in zip(axes, position_m, strict=True))
        return ", ".join(values)


def usual_step_m(planned: NDArray[np.float64]) -> float:
    """Return the usual way from one planned position ``(n, 2)`` to the next in m; infinite for a single one."""
    return float(np.median(np.linalg.norm(np.diff(planned, axis=0), axis=1))) if len(planned) > 1 else np.inf


def _scales(planned: NDArray[np.float64]) -> tuple[float, float]:
    """Return the usual step and how far a position may be off, in m."""
    step = usual_step_m(planned)
    return step, max(STEPS * step, SHARE_OF_FIELD * float(np.ptp(planned, axis=0).max())) if len(planned) else np.inf
