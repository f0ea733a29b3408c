"""Showing the picture of a reconstruction in a window: the one place that needs pyplot."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..frames import Snapshot
from .layout import DPI, SIZE_INCHES, reconstruction_figure

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
