"""The newest frame, raw and clean, and the modes of the probe."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..geometry import DISPLAY_ORIGIN
from . import display
from .live_view import LiveView
from .panels import PALE, colour_bar, draw_scale_bar, name_panel, set_colour_limits
from .steady import SteadyLimits

SHOWN_PX = 300
"""Pixels along the longer side of a frame: more are averaged."""
MASKED = "#00bfd8"
LEAST_PHOTONS = 0.5
MOST_MODES = 9


class RawFrame:
    """The newest raw frame as the detector gave it, its exposures side by side."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        _bare(axes, "Raw frame")
        self._image = axes.imshow(
            np.full((2, 2), np.nan), cmap=colormaps["gray"].with_extremes(bad="black"), interpolation="nearest"
        )
        self._colours = colour_bar(axes, self._image, "raw")
        self._colours.yaxis.set_major_locator(MaxNLocator(4))  # exposures side by side make the bar short
        self._limits = SteadyLimits()
        self._absent = _absence(axes, "")

    def show(self, view: LiveView) -> None:
        """Show the frame of `view`."""
        name_panel(self._axes, "Raw frame" if view.newest_point is None else f"Raw frame, point {view.newest_point}")
        for part in (self._colours, self._image):
            part.set_visible(view.newest_raw is not None)
        _say_absent(self._absent, view, view.newest_raw)
        if view.newest_raw is None:
            return
        values = display.side_by_side(view.newest_raw)
        sent = np.broadcast_to((values != 0).any(axis=1, keepdims=True), values.shape)  # an fCCD has empty rows
        shown = display.averaged(values, sent, math.ceil(max(values.shape) / SHOWN_PX))
        rows, cols = shown.shape
        self._image.set_data(shown)
        self._image.set_extent((0, cols, rows, 0))
        set_colour_limits(self._image, *self._limits.follow(*display.limits(shown[shown != 0])))


class CleanFrame:
    """The photons of the newest frame on a logarithmic scale, with its mask."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        _bare(axes, "Clean frame, log")
        colours = colormaps["inferno"].with_extremes(under="black", bad=MASKED)
        norm = LogNorm(LEAST_PHOTONS, 100.0)
        blank = np.full((2, 2), LEAST_PHOTONS)
        self._image = axes.imshow(blank, cmap=colours, norm=norm, origin=DISPLAY_ORIGIN, interpolation="nearest")
        self._colours = colour_bar(axes, self._image, "photons")
        self._legend = axes.text(0.0, -0.03, "", color=MASKED, fontsize=11, transform=axes.transAxes, va="top")
        self._limits = SteadyLimits()
        self._absent = _absence(axes, "")

    def show(self, view: LiveView) -> None:
        """Show the frame of `view`."""
        for part in (self._colours, self._image):
            part.set_visible(view.newest_clean is not None)
        _say_absent(self._absent, view, view.newest_clean)
        if view.newest_clean is None:
            return
        clean = view.newest_clean
        valid = np.isfinite(clean)
        self._legend.set_text("" if valid.all() else f"masked: {np.count_nonzero(~valid):,} of {clean.size:,} pixels")
        factor = math.ceil(max(clean.shape) / SHOWN_PX)
        shown = np.maximum(display.averaged(clean, valid, factor), LEAST_PHOTONS / 2)
        rows, cols = shown.shape
        self._image.set_data(shown)
        self._image.set_extent((0, cols, 0, rows))
        top = math.log10(max(10 * LEAST_PHOTONS, float(np.nanmax(shown)) if valid.any() else 0.0))
        set_colour_limits(self._image, LEAST_PHOTONS, 10 ** self._limits.follow(0.0, top)[1])


class ProbeModes:
    """The modes of the probe side by side, hue = phase and brightness = √amplitude, with their shares of the power."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        _bare(axes, "Probe")

    def show(self, view: LiveView) -> None:
        """Show the probe of `view`."""
        axes = self._axes
        axes.clear()
        _bare(axes, "Probe")
        snapshot = view.snapshot
        if snapshot is None or not np.isfinite(snapshot.probe).all() or not np.abs(snapshot.probe).max() > 0:
            _absence(axes, "no probe yet")
            return
        probe = snapshot.probe[:MOST_MODES]
        power = np.sum(np.abs(snapshot.probe.astype(np.complex128)) ** 2, axis=(1, 2))
        box = display.power_box(np.sum(np.abs(probe) ** 2, axis=0))
        tiles = [display.complex_to_rgb(mode[box]) for mode in probe]
        columns = math.ceil(math.sqrt(len(tiles)))
        rows, cols = tiles[0].shape[:2]
        dy, dx = (1e6 * p for p in snapshot.canvas.pixel_m)
        mosaic = np.ones((math.ceil(len(tiles) / columns) * rows, columns * cols, 3))
        for i, tile in enumerate(tiles):
            row, column = len(mosaic) // rows - 1 - i // columns, i % columns  # the strongest stands at the upper left
            mosaic[row * rows : (row + 1) * rows, column * cols : (column + 1) * cols] = tile
            if len(tiles) > 1:
                left, top = column * cols * dx, (row + 1) * rows * dy
                axes.text(
                    left + 0.05 * cols * dx, top - 0.05 * rows * dy, f"{100 * power[i] / power.sum():.3g} %",
                    color="white", fontsize=11, va="top", zorder=5,
                )  # fmt: skip
        axes.imshow(mosaic, origin=DISPLAY_ORIGIN, extent=(0, mosaic.shape[1] * dx, 0, mosaic.shape[0] * dy))
        _separate(axes, columns, len(mosaic) // rows, cols * dx, rows * dy)
        draw_scale_bar(axes, part=0.3 / columns)
        if len(tiles) > 1:
            name_panel(axes, f"Probe, {len(power)} modes")


def _separate(axes: Axes, columns: int, rows: int, width: float, height: float) -> None:
    for i in range(1, columns):
        axes.axvline(i * width, color="white", lw=1.5)
    for i in range(1, rows):
        axes.axhline(i * height, color="white", lw=1.5)


def _absence(axes: Axes, text: str) -> Text:
    return axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=PALE, fontsize=13)


def _say_absent(text: Text, view: LiveView, frame: NDArray[Any] | None) -> None:
    """Say why there is no frame: a session gives one with each snapshot, a catalog none, even while it measures."""
    text.set_text("no frame yet" if view.snapshot is None else "not shown of a scan\nread from a catalog")
    text.set_visible(frame is None)


def _bare(axes: Axes, name: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor("NW")
    name_panel(axes, name)
