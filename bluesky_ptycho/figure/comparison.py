"""The picture of two reconstructions beside each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..frames import Comparison
from ..geometry import DISPLAY_ORIGIN
from ..terminal import printable
from ..whole_file import whole_figure
from . import display, panels
from .panels import INK, PALE, colour_bar, draw_scale_bar, name_panel
from .sheet import DPI, new_figure


def comparison_figure(
    compared: Comparison, names: tuple[str, str], note: str = "", figure: Figure | None = None
) -> Figure:
    """Draw phase and amplitude of both, their difference, and their Fourier ring correlation, 1920 × 1080 pixels.

    Parameters
    ----------
    compared : Comparison
    names : tuple of str
        What the first and the second are.
    note : str
        What is to be known of the comparison.
    figure : Figure, optional
        What to draw in, of SIZE_INCHES.

    Returns
    -------
    matplotlib.figure.Figure
        `figure`, or a new one with an Agg canvas.
    """
    if figure is None:
        figure = new_figure()
    for place, (mark, name) in enumerate(zip("AB", names, strict=True)):
        words = f"{mark}: {printable(name, 100)}"
        figure.text(0.038, 0.972 - 0.034 * place, words, parse_math=False, fontsize=16, color=INK, va="center")
    grid = figure.add_gridspec(2, 3, left=0.045, right=0.65, top=0.875, bottom=0.075, wspace=0.46, hspace=0.22)
    _draw_images(figure, grid, compared)
    axes = figure.add_axes((0.72, 0.455, 0.26, 0.42))
    name_panel(axes, "Fourier ring correlation of A and B")
    panels.draw_ring_correlation(axes, compared.frc)
    facts = figure.add_axes((0.72, 0.075, 0.26, 0.26))
    facts.set_axis_off()
    for row, (name, value) in enumerate(comparison_facts(compared, note)):
        facts.text(0.0, 0.97 - 0.15 * row, name, transform=facts.transAxes, va="center", color=PALE, fontsize=12)
        facts.text(0.3, 0.97 - 0.15 * row, value, transform=facts.transAxes, va="center", color=INK, fontsize=12)
    return figure


def save_comparison_png(path: Path | str, compared: Comparison, names: tuple[str, str], note: str = "") -> None:
    """Write :func:`comparison_figure` as PNG; the file appears whole or not at all."""
    whole_figure(path, comparison_figure(compared, names, note), DPI)


def comparison_facts(compared: Comparison, note: str = "") -> list[tuple[str, str]]:
    """Return names and values of what the comparison has found."""
    rows, cols = compared.first.shape
    sizes = [display.length_text(n * p) for n, p in zip((cols, rows), compared.canvas.pixel_m[::-1], strict=True)]
    shift = ", ".join(f"{axis} {1e9 * s:z.2f} nm" for axis, s in zip("yx", compared.shift_m, strict=True))
    facts = [
        ("common field", " × ".join(sizes)),
        ("difference", f"{100 * compared.difference:.3g} % of A (root mean square)"),
        ("B moved by", shift),
        ("agree down to", agreement_text(compared)),
    ]
    return [*facts, ("note", note)] if note else facts


def agreement_text(compared: Comparison) -> str:
    """Return in words to which half pitch the two agree by the ½-bit criterion."""
    half_pitch = float(compared.frc["half_bit_m"])
    if not math.isfinite(half_pitch):
        return "nowhere (½ bit)"
    limit = 0.5 / float(np.asarray(compared.frc["frequency_per_m"])[-1])
    sign = "≤ " if half_pitch <= limit * (1 + 1e-6) else ""
    return f"{sign}{display.length_text(half_pitch)} half pitch (½ bit)"


def _draw_images(figure: Figure, grid: Any, compared: Comparison) -> None:
    whole = slice(0, compared.first.shape[0]), slice(0, compared.first.shape[1])
    first = display.without_phase_ramp(compared.first, whole)
    # The same ramp and factor for both, else the difference would not be that of the pictures.
    second = compared.second * np.exp(1j * np.angle(first * compared.first.conj()))
    beginning, _ = display.phase_arc(first)
    phases = [display.phase_from(image, beginning) for image in (first, second)]
    amplitudes = [np.abs(image) for image in (first, second)]
    for row, (what, pair, unit, colours) in enumerate(
        (("phase", phases, "rad", "inferno"), ("amplitude", amplitudes, "", "gray"))
    ):
        low, high = display.limits(pair[0])
        for column, mark in enumerate("AB"):
            axes = figure.add_subplot(grid[row, column])
            _show(axes, pair[column], compared, f"{mark}, {what}", unit, cmap=colours, vmin=low, vmax=high)
        axes = figure.add_subplot(grid[row, 2])
        if row == 0:
            apart = np.angle(second * np.conj(first))
            reach = max(1e-3, float(np.percentile(np.abs(apart), 99.5)))
            _show(axes, apart, compared, "Phase, B − A", unit, cmap="RdBu_r", vmin=-reach, vmax=reach)
        else:
            apart = np.abs(second - first)
            top = max(1e-3, float(np.percentile(apart, 99.5)))
            _show(axes, apart, compared, "|B − A|", unit, cmap="magma", vmin=0, vmax=top)


def _show(axes: Axes, values: NDArray[Any], compared: Comparison, name: str, unit: str, **colours: Any) -> None:
    whole = slice(0, values.shape[0]), slice(0, values.shape[1])
    extent = display.extent_um(compared.canvas, whole)
    image = axes.imshow(values, origin=DISPLAY_ORIGIN, extent=extent, interpolation="nearest", **colours)
    panels.stage_axes(axes)
    draw_scale_bar(axes)
    colour_bar(axes, image, unit)
    name_panel(axes, name)
