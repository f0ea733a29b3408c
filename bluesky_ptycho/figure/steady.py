"""Limits of colours and axes that stay where they are until what they show has clearly moved."""

from __future__ import annotations

import math

TOLERANCE = 0.12
"""Part of the range by which an end may miss before it moves."""
STEP = 0.5
"""Part of the way that an end which moves goes at once."""
RUNGS = (math.pi / 16, math.pi / 8, math.pi / 4, math.pi / 2, math.pi)
"""Half widths of a phase scale about 0, in radian; the last goes all the way round."""


class SteadyLimits:
    """A range that follows percentiles without jumping."""

    def __init__(self) -> None:
        self._held: tuple[float, float] | None = None

    def follow(self, low: float, high: float) -> tuple[float, float]:
        """Return the range to show where ``low .. high`` would fit best; the first is taken as it is."""
        if self._held is None:
            self._held = low, high
        span = max(self._held[1] - self._held[0], high - low)
        moved = [
            held if abs(wanted - held) <= TOLERANCE * span else held + STEP * (wanted - held)
            for held, wanted in zip(self._held, (low, high), strict=True)
        ]
        self._held = moved[0], moved[1]
        return self._held


class SteadyPhase:
    """Half width of a phase scale: one of :data:`RUNGS`, which grows at once and shrinks only with room to spare."""

    def __init__(self) -> None:
        self._rung = 0

    def follow(self, reach: float) -> float:
        """Return the half width in radian for phases that reach from ``-reach`` to ``reach``."""
        while self._rung < len(RUNGS) - 1 and reach > RUNGS[self._rung]:
            self._rung += 1
        while self._rung and reach < 0.7 * RUNGS[self._rung - 1]:
            self._rung -= 1
        return RUNGS[self._rung]
