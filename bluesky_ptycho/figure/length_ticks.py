"""Ticks of lengths whose labels stay short, however small the field and however far from zero it lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter

MOST_LETTERS = 6
"""Labels of more are told in nm from a round place: they would push the axis' name out of the figure."""


class LengthTicks(Formatter):
    """Labels of an axis in µm, or in nm from a place that the axis' name tells.

    Parameters
    ----------
    axis : Axis
        Whose label is set with the ticks.
    name : str
        What is along the axis: "stage y".
    """

    def __init__(self, axis: Axis, name: str) -> None:
        self._label, self._name = axis.label, name
        self._origin_um, self._factor, self._decimals = 0.0, 1.0, 0

    def set_locs(self, locs: Sequence[float]) -> None:  # type: ignore[override]
        """Choose unit and place for ticks at `locs`, in µm, and name the axis accordingly."""
        ticks = np.asarray(locs, dtype=np.float64)
        step = float(np.diff(ticks).min()) if len(ticks) > 1 else 1.0
        self._origin_um, self._factor, self._decimals = 0.0, 1.0, _decimals(step)
        words = f"{self._name}, µm"
        if len(ticks) and max(len(self(tick)) for tick in ticks) > MOST_LETTERS:
            self._factor, self._decimals = 1e3, _decimals(1e3 * step)
            words = f"{self._name}, nm"
            if ticks[0] * ticks[-1] > 0:  # zero lies elsewhere
                self._origin_um = float(ticks[len(ticks) // 2])
                words = f"{words} from {self._origin_um:.{_decimals(step)}f} µm".replace("-", "\N{MINUS SIGN}")
        self._label.set_text(words)

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick."""
        text = f"{self._factor * (x - self._origin_um):.{self._decimals}f}"
        return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("-")


def _decimals(step: float) -> int:
    """Return how many decimals tell multiples of a step apart: of 0.025, three."""
    return next((n for n in range(12) if abs(step * 10**n - round(step * 10**n)) < 1e-3 * step * 10**n), 12)
