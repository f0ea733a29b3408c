"""Maps on the stage that grow with a scan: object phase and amplitude, transmission, coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ..geometry import DISPLAY_ORIGIN
from . import display
from .display import Box
from .live_view import LiveView
from .panels import INK, colour_bar, draw_scale_bar, name_panel, set_colour_limits, stage_axes
from .steady import SteadyLimits, SteadyPhase

POINTS, PLANNED = "#ff8c1a", "#c4cad1"


class StageMap:
    """One image in stage coordinates, in µm, with outlines of what is planned and what has been scanned."""

    def __init__(self, axes: Axes, name: str, unit: str | None, **look: Any) -> None:
        self.axes = axes
        name_panel(axes, name)
        stage_axes(axes)
        self.image = axes.imshow(np.full((2, 2), np.nan), origin=DISPLAY_ORIGIN, interpolation="nearest", **look)
        self._colours = None if unit is None else colour_bar(axes, self.image, unit)
        self._planned = _add_outline(axes, ls=(0, (5, 4)), lw=1.0)
        self._scanned = _add_outline(axes, lw=1.2)
        self._extent: tuple[float, ...] = ()
        self._bar: list[Any] = []

    def show(self, view: LiveView, box: Box, values: NDArray[Any] | None, limits: tuple[float, float]) -> None:
        """Show `values` on the canvas of `view`; NaN and None stay empty. A zoom is kept while the scan is the same."""
        extent = display.extent_um(view.canvas, box)
        shown = np.full((1, 1), np.nan) if values is None else values[box]
        self.image.set_data(shown)
        self.image.set_extent(extent)
        set_colour_limits(self.image, *limits)
        if self._colours is not None:
            self._colours.set_visible(values is not None)
        if extent != self._extent:
            self._extent = extent
            self.axes.set_xlim(extent[:2])
            self.axes.set_ylim(extent[2:])
            for part in self._bar:
                part.remove()
            self._bar = draw_scale_bar(self.axes)
        (bottom, left), (top, right) = 1e6 * view.planned_corners_m
        self._planned.set_xy([(left, bottom), (right, bottom), (right, top), (left, top)])
        used = np.zeros((0, 2)) if view.snapshot is None else view.snapshot.positions_m
        self._scanned.set_xy(1e6 * display.hull(used)[:, ::-1])


class ObjectMaps:
    """Phase and amplitude of the object, where light has been."""

    def __init__(self, phase: Axes, amplitude: Axes) -> None:
        self.phase = StageMap(phase, "Object phase", "rad", cmap="twilight_shifted")
        self.amplitude = StageMap(amplitude, "Object amplitude", "", cmap="gray")
        self._reach, self._limits = SteadyPhase(), SteadyLimits()
        for edge, side, words in ((0.0, "left", "╌╌ planned"), (1.0, "right", "── scanned")):
            phase.text(edge, -0.078, words, transform=phase.transAxes, ha=side, va="center", color=INK, fontsize=11)

    def show(self, view: LiveView, box: Box) -> None:
        """Show the snapshot of `view`."""
        snapshot = view.snapshot
        if snapshot is None or not len(snapshot.positions_m):
            self.phase.show(view, box, None, (-math.pi, math.pi))
            self.amplitude.show(view, box, None, (0.0, 1.0))
            return
        inner = display.scanned_box(snapshot)
        image = display.without_phase_ramp(snapshot.object, inner)
        lit = display.lit_pixels(snapshot.coverage)
        phase = np.where(lit, np.angle(image), np.nan)
        amplitude = np.where(lit, np.abs(image), np.nan)
        low, high = display.limits(phase[inner])
        half = self._reach.follow(max(-low, high))
        self.phase.show(view, box, phase, (-half, half))
        self.amplitude.show(view, box, amplitude, self._limits.follow(*display.limits(amplitude[inner])))


class StxmMap:
    """The transmission map."""

    def __init__(self, axes: Axes) -> None:
        self._map = StageMap(axes, "STXM (relative)", "", cmap="gray")
        self._limits = SteadyLimits()

    def show(self, view: LiveView, box: Box) -> None:
        """Show the map of `view`; its canvas must be the snapshot's."""
        known = view.stxm is not None and np.isfinite(view.stxm).any()
        values = view.stxm if known else None
        limits = self._limits.follow(*display.limits(values)) if values is not None else (0.0, 1.0)
        self._map.show(view, box, values, limits)


class CoverageMap:
    """Where the light went, with the points that were used and those that are planned."""

    def __init__(self, axes: Axes) -> None:
        self._map = StageMap(axes, "Coverage and points", None, cmap="gray", vmin=0, vmax=1)
        (self._planned,) = axes.plot([], [], ".", color=PLANNED, mew=0, zorder=3)
        (self._used,) = axes.plot([], [], ".", color=POINTS, mew=0, zorder=3.5)

    def show(self, view: LiveView, box: Box) -> None:
        """Show light and points of `view`."""
        snapshot, coverage = view.snapshot, None
        if snapshot is not None and (top := display.usual_light(snapshot.coverage)) > 0:
            coverage = snapshot.coverage / (2.5 * top)  # grey enough for the points to stand out
        self._map.show(view, box, coverage, (0.0, 1.0))
        planned = np.zeros((0, 2)) if view.plan.positions_m is None else view.plan.positions_m
        used = np.zeros((0, 2)) if snapshot is None else snapshot.positions_m
        size = float(np.clip(60 / math.sqrt(max(1, view.planned)), 1.2, 6.0))
        for dots, positions in ((self._planned, planned), (self._used, used)):
            dots.set_data(1e6 * positions[:, 1], 1e6 * positions[:, 0])
            dots.set_markersize(size)


def _add_outline(axes: Axes, **look: Any) -> Polygon:
    patch = Polygon(np.zeros((1, 2)), closed=True, fill=False, ec=INK, zorder=4, **look)
    patch.set_path_effects([withStroke(linewidth=2.4, foreground="#ffffffb0")])
    axes.add_patch(patch)
    return patch
