"""The picture of what each step of the preprocessing made of a scan point."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..explanation import Explanation, StepView, number_text
from ..geometry import DISPLAY_ORIGIN
from ..whole_file import whole_figure
from .display import averaged, blocks, side_by_side
from .panels import INK, PALE
from .sheet import DPI, new_figure

PANEL_INCHES = (4.3, 4.35)
COLUMNS = 5
SHOWN_PX = 420
"""Pixels along the longer side of a panel: more are averaged, lest the renderer leave single ones out."""
FEW = 400
"""Fewer masked pixels than these are drawn larger than they are."""
DAMAGED, SATURATED, OUTSIDE = (0.0, 0.75, 0.85), (1.0, 0.25, 0.75), "#c9ced4"
LEAST_PHOTONS = 0.1
"""Lower end of the logarithmic scale."""


def explanation_figure(explanation: Explanation, title: str = "") -> Figure:
    """Draw one panel for each step, in order, with its statistics and its masked pixels.

    Parameters
    ----------
    explanation : Explanation
        What ``Pipeline.explain`` gives.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        With an Agg canvas; no display is needed and pyplot knows nothing of it.
    """
    n = len(explanation.steps)
    columns = min(COLUMNS, n)
    rows = math.ceil(n / columns)
    width, height = columns * PANEL_INCHES[0], rows * PANEL_INCHES[1] + 1.1
    figure = new_figure((width, height))
    figure.text(0.35 / width, 1 - 0.32 / height, title or "Preprocessing", fontsize=19, color=INK, va="center")
    exposures = " | ".join(f"{t:g} s" for t in explanation.exposures_s)
    facts = f"preset {explanation.preset}, exposures {exposures}: {explanation.verdict}"
    figure.text(0.35 / width, 1 - 0.68 / height, facts, fontsize=12, color=PALE, va="center")
    figure.legend(
        handles=[Patch(color=DAMAGED, label="damaged"), Patch(color=SATURATED, label="saturated")],
        loc="upper right", ncols=2, frameon=False, fontsize=12,
    )  # fmt: skip
    grid = figure.add_gridspec(
        rows, columns, left=0.35 / width, right=1 - 0.7 / width, bottom=0.15 / height, top=1 - 1.65 / height,
        wspace=0.3, hspace=0.28,
    )  # fmt: skip
    for i, step in enumerate(explanation.steps):
        _draw_step(figure.add_subplot(grid[divmod(i, columns)]), step, i + 1)
    return figure


def save_explanation_png(path: Path | str, explanation: Explanation, *, title: str = "") -> None:
    """Write :func:`explanation_figure` as PNG; the file appears whole or not at all."""
    whole_figure(path, explanation_figure(explanation, title), DPI)


def _draw_step(axes: Axes, step: StepView, number: int) -> None:
    values, damaged, saturated = (side_by_side(part) for part in (step.values, step.damaged, step.saturated))
    origin = DISPLAY_ORIGIN if step.oriented else "upper"
    valid = side_by_side(step.valid)
    factor = max(1, math.ceil(max(values.shape) / SHOWN_PX))
    shown = averaged(values, valid, factor)
    if step.unit == "photon":
        shown = np.where(shown < LEAST_PHOTONS, LEAST_PHOTONS / 2, shown)  # black, not absent as the logarithm has it
    axes.set_facecolor(OUTSIDE)
    image = axes.imshow(shown, origin=origin, interpolation="nearest", **_colours(step, values[valid]))
    overlay = np.zeros((*shown.shape, 4))
    for mask, colour in ((damaged, DAMAGED), (saturated, SATURATED)):
        overlay[_visible(mask, factor)] = (*colour, 1.0)
    axes.imshow(overlay, origin=origin, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor("NW")
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.02, 0.0, 0.035, 1.0)))
    if isinstance(image.norm, AsinhNorm):
        bar.set_ticks(_ticks(image.norm))
        bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8, colors=PALE)
    bar.outline.set_visible(False)  # type: ignore[operator]
    name = f"{number}  {step.name}" if step.changed else f"{number}  {step.name} (nothing to do)"
    axes.set_title(name, loc="left", fontsize=13, color=INK if step.changed else PALE, pad=35)
    axes.text(0, 1.012, _statistics(step), transform=axes.transAxes, fontsize=9, color=PALE, va="bottom")


def _statistics(step: StepView) -> str:
    shape = " × ".join(map(str, step.values.shape))
    low, middle, high = map(number_text, step.spread)
    photons = ""
    if not math.isnan(step.photons_out):
        before = "" if math.isnan(step.photons_in) else f"{number_text(step.photons_in)} → "
        photons = f"photons {before}{number_text(step.photons_out)}, "
    return (
        f"{shape}, {step.unit}: {low} to {high}, median {middle}\n"
        f"{photons}damaged {step.n_damaged}, saturated {step.n_saturated}"
    )


def _colours(step: StepView, valid: NDArray[Any]) -> dict[str, Any]:
    """Return colour map and scale: raw words linear, ADU about 0 (once the dark is off), photons logarithmic."""
    values = np.asarray(valid, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return {"cmap": "gray", "norm": Normalize(0, 1)}
    if step.unit == "photon":
        return {"cmap": _black_below("inferno"), "norm": LogNorm(LEAST_PHOTONS, max(float(values.max()), 1.0))}
    if step.unit == "raw" and values.any():
        values = values[values != 0]  # rows that are sent empty
    low, middle, high = (float(v) for v in np.percentile(values, (0.5, 50, 99.5)))
    noise = 1.4826 * float(np.median(np.abs(values - middle)))
    if step.unit == "raw" or abs(middle) > 20 * max(noise, 1.0):
        return {"cmap": "gray", "norm": Normalize(low, max(high, low + 1))}
    # Linear over the noise, logarithmic beyond it: what a step leaves of drift and tones shows beside the light.
    top = max(float(np.abs(values).max()), 1.0)
    return {"cmap": "RdBu_r", "norm": AsinhNorm(linear_width=max(noise, 0.1), vmin=-top, vmax=top)}


def _ticks(norm: AsinhNorm) -> list[float]:
    """Return 0 and the powers of ten beyond the linear part, of both signs."""
    first = math.ceil(math.log10(2 * norm.linear_width))
    powers = [10.0**k for k in range(first, math.floor(math.log10(float(norm.vmax or 1.0))) + 1)]
    return [*(-p for p in reversed(powers)), 0.0, *powers]


def _black_below(name: str) -> Any:
    return colormaps[name].with_extremes(under="black")


def _visible(mask: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return where a masked pixel is to be seen; few ones get larger."""
    shown = np.asarray(blocks(mask, factor).any(axis=(1, 3)))
    if 0 < shown.sum() < FEW:
        grown = shown.copy()
        for axis in (0, 1):
            grown |= np.roll(grown, 1, axis) | np.roll(grown, -1, axis)
        return grown
    return shown
