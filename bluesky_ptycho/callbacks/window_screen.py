"""The live picture in a window of its own, drawn in the main thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import MouseButton
from matplotlib.widgets import RectangleSelector

from ..errors import PtychoError, SettingsError
from ..figure import LivePicture, LiveView
from ..figure.sheet import DPI, SIZE_INCHES
from .screens import Pace, ScanLine, Screen

logger = logging.getLogger("bluesky_ptycho")

TICK_MS = 200
STALLED_S = 5.0
"""A window that has not been served for so long is told of."""
NOTEBOOK_DPI = 60
"""Makes a figure as wide as a notebook."""
SMALLEST_PX = 5
"""Side of a rectangle that is meant, not slipped."""


class WindowScreen:
    """A Matplotlib window; made in the main thread.

    A Qt window looks for a new view by a timer of its own, which the prompt serves while it waits and the RunEngine
    while it works. Figures of ipympl, which live in the browser, are drawn at once by the thread that shows.

    Parameters
    ----------
    scan_line : callable
        As :meth:`LivePtychoFigure.scan_line`; what it gives for a rectangle that is drawn on a map is printed.
    substitute : callable
        Makes the screen that takes over while nobody serves the window.

    Raises
    ------
    SettingsError
        If Matplotlib's backend is neither Qt's nor ipympl's.
    """

    def __init__(self, scan_line: ScanLine, substitute: Callable[[], Screen]) -> None:
        import matplotlib.pyplot as plt

        backend = mpl.get_backend().lower()
        if not ("qt" in backend or "ipympl" in backend or backend == "widget"):
            raise SettingsError(
                f"matplotlib's backend is {backend!r}; expected Qt's (%matplotlib qt) or ipympl's (%matplotlib "
                "widget), which draw while a RunEngine works"
            )
        self._scan_line, self._substitute = scan_line, substitute
        self._is_qt = "qt" in backend
        dpi = DPI if self._is_qt else NOTEBOOK_DPI
        try:
            with nullcontext() if self._is_qt else plt.ioff():
                self._figure = plt.figure("Live ptychography", SIZE_INCHES, dpi, facecolor="white", clear=True)
                if not self._is_qt:
                    # Shown so, pyplot forgets it; what pyplot knows, the RunEngine draws whenever something changes.
                    plt.show(block=False)
                    # Else pixels are sent where the browser expects a PNG, until it has been answered: where the cell
                    # that scans is run together with this one, at the end of the scan.
                    vars(self._figure.canvas)["syncing_data_url"] = False
        except ImportError as error:
            raise SettingsError(f"no window can be opened here: {error}") from error
        self._picture, self._pace = LivePicture(self._figure), Pace()
        self._latest: LiveView | None = None
        self._pending = threading.Event()
        self._drawing = threading.Lock()
        self._selectors: list[RectangleSelector] = []
        self._other: Screen | None = None
        self._waits_since: float | None = None
        self._is_open = True
        self._figure.canvas.mpl_connect("close_event", self._closed)
        self._figure.canvas.mpl_connect("resize_event", self._resized)
        self._timer: Any = None
        if self._is_qt:
            self._timer = self._figure.canvas.new_timer(interval=TICK_MS)
            self._timer.add_callback(self._tick)
            self._timer.start()
            plt.show(block=False)
        self._select()
        if not self._is_qt:
            self._figure.canvas.draw()  # that it waits for a scan

    def show(self, view: LiveView, *, last: bool) -> None:
        """Leave `view` to the main thread, or to the substitute while that is busy with other things."""
        if not self._is_open:
            return
        self._latest = view
        self._pending.set()
        if self._timer is None:
            if last or self._pace.is_due:
                self._draw()
        elif self._waits_since is None or self._drawing.locked():
            self._waits_since = time.monotonic()
        elif time.monotonic() - self._waits_since > STALLED_S and (self._other is not None or view.state == "live"):
            self._show_elsewhere(view, last=last)  # after the scan it is live.wait() that keeps the main thread

    def _show_elsewhere(self, view: LiveView, *, last: bool) -> None:
        if self._other is None:
            self._other = self._substitute()
            logger.warning(
                "the window of the live figure stands still: nobody serves Qt while the RunEngine works, as may "
                "happen when Qt was chosen after RE was made; say %matplotlib qt before RE = RunEngine(), without a "
                "during_task of its own. Files are written instead"
            )
        self._other.show(view, last=last)

    def _tick(self) -> None:
        self._waits_since = None
        if self._pending.is_set() and self._pace.is_due:
            self._draw()

    def _draw(self) -> None:
        with self._drawing:
            self._pending.clear()
            view, before = self._latest, self._picture.axes
            if view is None:
                return
            with self._pace.drawing():
                self._picture.show(view)
                if self._picture.axes is not before:
                    self._select()
                self._figure.canvas.draw()

    def _select(self) -> None:
        """Let rectangles be drawn on the object."""
        self._selectors = [self._selector(self._picture.axes[name]) for name in ("phase", "amplitude")]

    def _selector(self, axes: Axes) -> RectangleSelector:
        look = {"facecolor": "#ff8c1a", "edgecolor": "#c4470b", "alpha": 0.25, "fill": True}
        return RectangleSelector(
            axes, self._selected, button=[MouseButton.LEFT], useblit=True, interactive=True, minspanx=SMALLEST_PX,
            minspany=SMALLEST_PX, spancoords="pixels", props=look,
        )  # fmt: skip

    def _selected(self, begun: Any, ended: Any) -> None:
        (x_min, x_max), (y_min, y_max) = sorted((begun.xdata, ended.xdata)), sorted((begun.ydata, ended.ydata))
        try:
            line = self._scan_line((y_min, y_max, x_min, x_max))
        except PtychoError as error:
            line = str(error)
        print(line, flush=True)  # noqa: T201

    def _resized(self, event: Any) -> None:
        """Scale the whole picture, text too, with the window."""
        width, height = self._figure.bbox.width, self._figure.bbox.height
        dpi = max(20.0, min(width / SIZE_INCHES[0], height / SIZE_INCHES[1]))
        if abs(dpi - self._figure.dpi) > 0.5:
            # In this order, as a new dpi alone would resize the window.
            self._figure.set_size_inches(width / dpi, height / dpi, forward=False)
            self._figure.set_dpi(dpi)

    def _closed(self, event: Any) -> None:
        self._is_open = False
        if self._timer is not None:
            self._timer.stop()

    def close(self) -> None:
        """Close the window."""
        import matplotlib.pyplot as plt

        plt.close(self._figure)
