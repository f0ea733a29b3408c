"""The sheet that figures are drawn on: its size, and its canvas without a display."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SIZE_INCHES = (19.2, 10.8)
DPI = 100
"""1920 × 1080 pixels together."""


def new_figure(size_inches: tuple[float, float] = SIZE_INCHES) -> Figure:
    """Return an empty figure with an Agg canvas: no display is needed and pyplot knows nothing of it."""
    figure = Figure(figsize=size_inches, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure
