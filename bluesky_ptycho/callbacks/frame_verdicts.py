"""Which points of a run are rejected, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..preprocess import dim_frames
from .document_keys import Point
from .position_checks import PositionChecks

KINDS = ("corrupt", "saturated", "dark", "shape", "unreadable", "position")
"""What a reason begins with: damaged pixels, too much light, none, the wrong shape, no frame in the file, no place."""


LEAST_REACH_M = 20e-6
"""So far beyond the plan a position may lie however small the plan is."""


def wrong_in_themselves(
    points: Sequence[Point], rejected: Mapping[int, str], extent_m: tuple[float, float, float, float]
) -> dict[int, str]:
    """Return row → reason for what is wrong with a frame, as `rejected` tells, or with its place.

    A place further beyond the planned `extent_m` (y_min, y_max, x_min, x_max) than that is wide is an encoder's
    mistake, for which no object could be large enough.
    """
    reasons = dict(rejected)
    y_min, y_max, x_min, x_max = extent_m
    reach = max(y_max - y_min, x_max - x_min, LEAST_REACH_M)
    low, high = np.array([y_min, x_min]) - reach, np.array([y_max, x_max]) + reach
    for i, point in enumerate(points):
        place = point.position_m
        if place is None or not np.isfinite(place).all():
            reasons.setdefault(i, f"position: it is {place}")
        elif (np.asarray(place) < low).any() or (np.asarray(place) > high).any():
            where = ", ".join(f"{v * 1e6:.6g}" for v in place)
            reasons.setdefault(i, f"position: (y, x) is ({where}) µm, more than {reach * 1e6:.3g} µm beyond the plan")
    return reasons


def count_kinds(rejected: Mapping[int, str]) -> dict[str, int]:
    """Return how many points were rejected for each kind of reason, those that occur."""
    counts = Counter(reason.partition(":")[0] for reason in rejected.values())
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


class FrameVerdicts:
    """Verdicts on the points of one run; those that compare a point with others are revised with every one that comes.

    So they are the same in the end whatever came first: a scan that starts with the beam half gone loses those
    frames once it has seen better ones, and what was dim beside the open field returns where all is as dim.

    Parameters
    ----------
    min_relative_flux : float
        As :func:`~bluesky_ptycho.preprocess.dim_frames` takes it.
    positions : PositionChecks, optional
        Finds the points that cannot be where they say.

    Attributes
    ----------
    rejected : dict of int to str
        Scan point → reason.
    kinds : mapping of str to int
        Their number by kind. Replaced, never changed: any thread may read it.
    """

    def __init__(self, min_relative_flux: float, positions: PositionChecks | None = None) -> None:
        self._limit = min_relative_flux
        self._positions = positions
        self._flux: dict[int, float] = {}
        self._points: dict[int, Point] = {}
        self._beside_others: dict[int, str] = {}
        self.rejected: dict[int, str] = {}
        self.kinds: Mapping[str, int] = {}

    def judge(
        self, points: Sequence[Point], reasons: Mapping[int, str], flux: NDArray[np.float64]
    ) -> tuple[set[int], list[Point]]:
        """Take verdicts on `points`: row → reason, and the flux of the others; a point may come again.

        Returns
        -------
        set of int, list of Point
            All points that are rejected now and were not, and those that no longer are.
        """
        before = set(self.rejected)
        for i, point in enumerate(points):
            seq_num = point.seq_num
            for known in (self.rejected, self._flux, self._points):
                known.pop(seq_num, None)  # type: ignore[attr-defined]
            self._beside_others.pop(seq_num, None)
            if i in reasons:
                self.rejected[seq_num] = reasons[i]
            else:
                self._flux[seq_num], self._points[seq_num] = float(flux[i]), point
        returned = self._revise() - {p.seq_num for p in points}
        self.kinds = count_kinds(self.rejected)
        return set(self.rejected) - before, [self._points[seq_num] for seq_num in sorted(returned)]

    def is_current(self, point: Point) -> bool:
        """Tell whether no later event has replaced a point that was judged."""
        return self._points.get(point.seq_num) is point

    def _revise(self) -> set[int]:
        """Compare the points anew; return those that were rejected by comparison and are not any more."""
        stray = {} if self._positions is None else self._positions.strays(list(self._points.values()))
        found = stray | self._dim()
        returned = set(self._beside_others) - set(found)
        for seq_num in returned:
            del self.rejected[seq_num]
        self._beside_others = found
        self.rejected |= found
        return returned

    def _dim(self) -> dict[int, str]:
        if not self._limit:
            return {}
        flux = np.fromiter(self._flux.values(), dtype=np.float64, count=len(self._flux))
        dim, usual = dim_frames(flux, self._limit)
        seq_nums = np.fromiter(self._flux, dtype=np.int64, count=len(self._flux))[dim].tolist()
        return {n: f"dark: {self._flux[n]:.3g} photons where {usual:.3g} are usual" for n in seq_nums}
