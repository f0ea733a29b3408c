"""Showing pictures in a window: the one place that needs pyplot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..errors import SettingsError
from ..frames import Comparison, Snapshot
from .comparison import comparison_figure
from .frame_sheet import ON_A_SHEET, FrameRoll, frame_sheet, sum_up
from .layout import reconstruction_figure
from .panels import PALE
from .sheet import DPI, SIZE_INCHES

WINDOWLESS = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


def check_windows() -> None:
    """Raise SettingsError where matplotlib cannot open a window."""
    import matplotlib.pyplot as plt

    backend = plt.get_backend()
    if backend.lower() in WINDOWLESS:
        raise SettingsError(
            f"matplotlib's backend is {backend!r}, which opens no window; expected a display and a GUI toolkit (Qt, Tk)"
        )


def show_reconstruction(snapshot: Snapshot, stxm: NDArray[np.floating[Any]] | None = None, title: str = "") -> None:
    """Show :func:`reconstruction_figure` and wait until its window is closed.

    Raises
    ------
    SettingsError
        If matplotlib has no backend that opens windows here.
    """
    import matplotlib.pyplot as plt

    check_windows()
    reconstruction_figure(snapshot, stxm, title=title, figure=plt.figure(figsize=SIZE_INCHES, dpi=DPI))
    plt.show()


def show_comparison(compared: Comparison, names: tuple[str, str], note: str = "") -> None:
    """Show :func:`~bluesky_ptycho.figure.comparison.comparison_figure` and wait until its window is closed.

    Raises
    ------
    SettingsError
        If matplotlib has no backend that opens windows here.
    """
    import matplotlib.pyplot as plt

    check_windows()
    comparison_figure(compared, names, note, figure=plt.figure(figsize=SIZE_INCHES, dpi=DPI))
    plt.show()


def browse_frames(roll: FrameRoll, points: Sequence[int]) -> None:
    """Show a contact sheet that arrow keys and the page keys leaf through; wait until its window is closed.

    Raises
    ------
    SettingsError
        If matplotlib has no backend that opens windows here.
    """
    import matplotlib.pyplot as plt

    check_windows()
    leaf_through(plt.figure(figsize=SIZE_INCHES, dpi=DPI), roll, points)
    plt.show()


def leaf_through(figure: Figure, roll: FrameRoll, points: Sequence[int]) -> None:
    """Draw a contact sheet into `figure`, and the one before or after it when such a key is pressed there."""
    sums = sum_up(roll)
    first: list[int | None] = [None]

    def draw(shown: Sequence[int]) -> None:
        figure.clear()
        frame_sheet(roll, shown, sums, figure)
        figure.text(0.6, 0.962, "← → leaf through", ha="right", va="center", color=PALE, fontsize=12)
        figure.canvas.draw_idle()

    def pressed(event: Any) -> None:
        step = {"right": 1, "pagedown": 1, "left": -1, "pageup": -1}.get(event.key)
        if step is None:
            return
        begin = first[0]
        # The first key leaves the choice all over the scan for the sheets of consecutive points.
        begin = (0 if step > 0 else roll.n - ON_A_SHEET) if begin is None else begin + step * ON_A_SHEET
        first[0] = begin = min(max(0, begin), max(0, roll.n - ON_A_SHEET))
        draw(range(begin, min(begin + ON_A_SHEET, roll.n)))

    draw(points)
    figure.canvas.mpl_connect("key_press_event", pressed)
