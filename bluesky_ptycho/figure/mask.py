"""The picture of a mask on the mean frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..terminal import printable
from ..whole_file import whole_figure
from . import display
from .panels import INK, PALE
from .sheet import DPI, new_figure

WIDTH_INCHES = 9.0
LEFT, RIGHT, BOTTOM, TOP = 0.75, 1.15, 0.6, 0.5
"""Inches around the image; the colour bar and its numbers stand in the right ones."""
BAR, BAR_GAP = 0.2, 0.12
BAD = (0.0, 0.75, 0.85)


def mask_figure(mean: NDArray[np.floating[Any]], good: NDArray[np.bool_], title: str = "", unit: str = "ADU") -> Figure:
    """Draw a mean frame ``(rows, columns)`` in `unit`, rows downwards, as masks count them, and bad pixels coloured.

    Returns
    -------
    matplotlib.figure.Figure
        With an Agg canvas; no display is needed and pyplot knows nothing of it.
    """
    rows, columns = mean.shape
    image_width = WIDTH_INCHES - LEFT - RIGHT
    image_height = image_width * rows / columns
    height = BOTTOM + image_height + TOP
    figure = new_figure((WIDTH_INCHES, height))

    def place(left: float, width: float) -> tuple[float, float, float, float]:
        return left / WIDTH_INCHES, BOTTOM / height, width / WIDTH_INCHES, image_height / height

    axes = figure.add_axes(place(LEFT, image_width))
    norm = display.camera_norm(mean[good & np.isfinite(mean)])
    image = axes.imshow(mean, cmap="gray", norm=norm, extent=(0, columns, rows, 0), interpolation="nearest")
    painted = np.zeros((rows, columns, 4))
    painted[~good] = (*BAD, 0.75)
    axes.imshow(painted, extent=(0, columns, rows, 0), interpolation="nearest")
    axes.set_xlabel("column", color=PALE)
    axes.set_ylabel("row", color=PALE)
    axes.set_title(printable(title), parse_math=False, fontsize=12, color=INK, loc="left")
    share = 100 * np.count_nonzero(~good) / good.size
    axes.legend(handles=[Patch(color=BAD, label=f"bad, {share:.3g} %")], loc="upper right", fontsize=10)
    bar_axes = figure.add_axes(place(LEFT + image_width + BAR_GAP, BAR))
    bar = figure.colorbar(image, cax=bar_axes, ticks=display.round_ticks(norm), format="{x:.4g}")
    bar.ax.minorticks_off()
    bar.set_label(f"mean, {unit}", color=PALE)
    return figure


def save_mask_png(
    path: Path | str, mean: NDArray[np.floating[Any]], good: NDArray[np.bool_], title: str = "", unit: str = "ADU"
) -> None:
    """Write :func:`mask_figure` as PNG.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    whole_figure(path, mask_figure(mean, good, title, unit), DPI)
