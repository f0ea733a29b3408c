"""The live picture: one figure that is drawn once and then kept up to date."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import display
from .live_curves import ResidualCurve, ResolutionCurve
from .live_frames import CleanFrame, ProbeModes, RawFrame
from .live_maps import CoverageMap, ObjectMaps, StxmMap
from .live_view import LiveView
from .live_words import Box, Header, Messages, Strip
from .sheet import DPI, new_figure

WIDTH, HEIGHT = 1920, 1080
"""In px; all boxes are ``(left, top, width, height)`` in them."""

AXES: dict[str, Box] = {
    "phase": (84, 118, 482, 482),
    "amplitude": (726, 118, 482, 482),
    "stxm": (1364, 118, 188, 188),
    "coverage": (1364, 420, 188, 188),
    "probe": (84, 722, 262, 262),
    "raw": (388, 722, 228, 228),
    "clean": (714, 722, 262, 262),
    "residual": (1110, 722, 330, 262),
    "resolution": (1540, 722, 335, 262),
}
HEADER: Box = (84, 18, 1791, 56)
STRIP: Box = (1626, 102, 285, 570)
MESSAGES: Box = (84, 1034, 1791, 42)

PARTS: dict[str, Box] = {
    "phase": (0, 82, 655, 590),
    "amplitude": (655, 82, 635, 590),
    "stxm": (1290, 82, 330, 290),
    "coverage": (1290, 382, 330, 290),
    "probe": (46, 685, 310, 324),
    "raw": (358, 685, 346, 324),
    "clean": (706, 685, 334, 324),
    "residual": (1040, 685, 424, 349),
    "resolution": (1470, 685, 425, 349),
}
"""Where each panel lies with all its labels: what a narrow screen shows one below the other."""

LABEL_SIZE = 12
STAGE_MAPS = ("phase", "amplitude", "stxm", "coverage")
"""Panels whose axes are those of the stage, in µm."""


class LivePicture:
    """Draws :class:`~bluesky_ptycho.figure.LiveView` after view into one figure, 1920 × 1080 pixels.

    Colours and axes keep their ranges while what they show has not clearly moved, and a zoom is kept.
    Not safe for several threads.

    Parameters
    ----------
    figure : Figure, optional
        What to draw in, of :data:`~bluesky_ptycho.figure.sheet.SIZE_INCHES`; a new one with an Agg canvas without it:
        no display is needed then, and pyplot knows nothing of it.

    Attributes
    ----------
    axes : dict of str to Axes
        The panels by name.
    """

    def __init__(self, figure: Figure | None = None) -> None:
        if figure is None:
            figure = new_figure()
        self.figure = figure
        self._scan: str | None = None
        self._build()
        self._show_panels(False)  # whose scales mean nothing yet

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
        for panel in axes.values():
            _enlarge_labels(panel)
        self._panels = [each for each in figure.axes if each.get_visible()]

    def show(self, view: LiveView) -> None:
        """Bring the figure up to `view`; its canvas is not drawn yet. Another scan starts anew."""
        if view.uid != self._scan:
            if self._scan is not None:
                self._build()
            self._show_panels(True)
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

    def _show_panels(self, visible: bool) -> None:
        for each in self._panels:
            each.set_visible(visible)

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


def _enlarge_labels(axes: Axes) -> None:
    """Make numbers and names of axes readable from the back of a room."""
    for part in (axes, *axes.child_axes):
        part.tick_params(labelsize=LABEL_SIZE)
        for text in (part.xaxis.label, part.yaxis.label, part.title):
            text.set_fontsize(LABEL_SIZE)


def _axes(figure: Figure, box: Box) -> Axes:
    left, top, width, height = box
    return figure.add_axes((left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT))
