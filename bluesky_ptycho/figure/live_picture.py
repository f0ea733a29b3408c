"""The live picture: one figure that is drawn once and then kept up to date."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from . import display
from .layout import DPI, SIZE_INCHES
from .live_curves import ResidualCurve, ResolutionCurve
from .live_frames import CleanFrame, ProbeModes, RawFrame
from .live_maps import CoverageMap, ObjectMaps, StxmMap
from .live_view import LiveView
from .live_words import Box, Header, Messages, Strip

WIDTH, HEIGHT = 1920, 1080
"""In px; all boxes are ``(left, top, width, height)`` in them."""

AXES: dict[str, Box] = {
    "phase": (62, 118, 500, 500),
    "amplitude": (702, 118, 500, 500),
    "stxm": (1352, 118, 195, 195),
    "coverage": (1352, 423, 195, 195),
    "probe": (62, 722, 264, 264),
    "raw": (374, 722, 250, 250),
    "clean": (702, 722, 264, 264),
    "residual": (1100, 722, 330, 264),
    "resolution": (1530, 722, 340, 264),
}
HEADER: Box = (62, 18, 1808, 56)
STRIP: Box = (1622, 100, 288, 530)
MESSAGES: Box = (62, 1034, 1808, 42)

PARTS: dict[str, Box] = {
    "phase": (0, 82, 632, 590),
    "amplitude": (632, 82, 640, 590),
    "stxm": (1288, 82, 330, 290),
    "coverage": (1288, 385, 330, 285),
    "probe": (40, 685, 300, 310),
    "raw": (345, 685, 330, 310),
    "clean": (685, 685, 340, 310),
    "residual": (1030, 685, 410, 330),
    "resolution": (1460, 685, 440, 330),
}
"""Where each panel lies with all its labels: what a narrow screen shows one below the other."""

STAGE_MAPS = ("phase", "amplitude", "stxm", "coverage")
"""Panels whose axes are those of the stage, in µm."""


class LivePicture:
    """Draws :class:`~bluesky_ptycho.figure.LiveView` after view into one figure, 1920 × 1080 pixels.

    Colours and axes keep their ranges while what they show has not clearly moved, and a zoom is kept.
    Not safe for several threads.

    Parameters
    ----------
    figure : Figure, optional
        What to draw in, of :data:`~bluesky_ptycho.figure.layout.SIZE_INCHES`; a new one with an Agg canvas without it:
        no display is needed then, and pyplot knows nothing of it.

    Attributes
    ----------
    axes : dict of str to Axes
        The panels by name.
    """

    def __init__(self, figure: Figure | None = None) -> None:
        if figure is None:
            figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor="white")
            FigureCanvasAgg(figure)
        self.figure = figure
        self._scan: str | None = None
        self._build()

    def _build(self) -> None:
        figure = self.figure
        figure.clear()
        self.axes = axes = {name: _axes(figure, box) for name, box in AXES.items()}
        for name in STAGE_MAPS:
            axes[name].format_coord = _coordinates  # type: ignore[method-assign]
        self._maps = (
            ObjectMaps(axes["phase"], axes["amplitude"]), StxmMap(axes["stxm"]), CoverageMap(axes["coverage"]),
        )  # fmt: skip
        self._rest = (
            Header(figure, HEADER), Strip(figure, STRIP), Messages(figure, MESSAGES), ProbeModes(axes["probe"]),
            RawFrame(axes["raw"]), CleanFrame(axes["clean"]), ResidualCurve(axes["residual"]),
            ResolutionCurve(axes["resolution"]),
        )  # fmt: skip

    def show(self, view: LiveView) -> None:
        """Bring the figure up to `view`; its canvas is not drawn yet. Another scan starts anew."""
        if view.uid != self._scan:
            if self._scan is not None:
                self._build()
            self._scan = view.uid
        corners = view.planned_corners_m
        if view.snapshot is not None:
            corners = np.concatenate([corners, view.snapshot.positions_m])
        canvas = view.canvas
        box = display.with_margin(canvas.scanned_box(corners), canvas.shape)
        for panel in self._maps:
            panel.show(view, box)
        for part in self._rest:
            part.show(view)

    def stage_maps(self) -> list[dict[str, float]]:
        """Return where the maps were drawn, in px of the picture from its upper left corner, and their limits in µm."""
        maps = []
        for name in STAGE_MAPS:
            axes = self.axes[name]
            place, (x_min, x_max), (y_min, y_max) = axes.get_position(), axes.get_xlim(), axes.get_ylim()
            maps.append(
                {
                    "left": WIDTH * place.x0, "top": HEIGHT * (1 - place.y1),
                    "width": WIDTH * place.width, "height": HEIGHT * place.height,
                    "x_min": x_min, "x_max": x_max, "y_min": y_min, "y_max": y_max,
                }
            )  # fmt: skip
        return maps

    def encoded(self, kind: str = "png", **options: Any) -> bytes:
        """Return the figure, 1920 × 1080 pixels, as "png" or "webp" with options of Pillow."""
        image = io.BytesIO()
        self.figure.savefig(image, format=kind, dpi=DPI, pil_kwargs=options)
        return image.getvalue()


def _coordinates(x: float, y: float) -> str:
    return f"stage y {y:.4f} µm, x {x:.4f} µm"


def _axes(figure: Figure, box: Box) -> Axes:
    left, top, width, height = box
    return figure.add_axes((left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT))
