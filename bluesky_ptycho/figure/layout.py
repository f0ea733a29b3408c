"""Where the panels of the picture of a reconstruction go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..frames import Snapshot
from ..terminal import printable
from ..whole_file import whole_figure
from . import display, panels
from .sheet import DPI, new_figure


def reconstruction_figure(
    snapshot: Snapshot,
    stxm: NDArray[np.floating[Any]] | None = None,
    truth: NDArray[np.complexfloating[Any, Any]] | None = None,
    title: str = "",
    figure: Figure | None = None,
) -> Figure:
    """Draw a reconstruction, 1920 × 1080 pixels.

    x is to the right, y up, lengths are those of the stage. The constant phase and the phase ramp,
    which ptychography leaves open, are removed for display.

    Parameters
    ----------
    snapshot : Snapshot
    stxm : ndarray (rows, cols) float, optional
        Transmission map on the object's grid; NaN where unknown.
    truth : ndarray (rows, cols) complex, optional
        The known object of a simulation on the object's grid.
    title : str
    figure : Figure, optional
        What to draw in, of SIZE_INCHES.

    Returns
    -------
    matplotlib.figure.Figure
        `figure`, or a new one with an Agg canvas: no display is needed and pyplot knows nothing of it.
    """
    if figure is None:
        figure = new_figure()
    canvas, box, inner = snapshot.canvas, display.shown_box(snapshot), display.scanned_box(snapshot)
    large = figure.add_gridspec(1, 2, left=0.038, right=0.628, top=0.9, bottom=0.385, wspace=0.29)
    small = figure.add_gridspec(2, 2, left=0.712, right=0.97, top=0.9, bottom=0.385, wspace=0.6, hspace=0.36)
    below = figure.add_gridspec(1, 3, left=0.038, right=0.966, top=0.285, bottom=0.065, wspace=0.17)
    words = printable(title) or "Ptychographic reconstruction"
    figure.text(0.038, 0.962, words, parse_math=False, fontsize=19, color=panels.INK, va="center")

    image = display.without_phase_ramp(snapshot.object, inner)
    panels.draw_amplitude(figure.add_subplot(large[0]), image, canvas, box, inner, "Object amplitude")
    panels.draw_phase(figure.add_subplot(large[1]), image, canvas, box, inner, "Object phase")
    panels.draw_stxm(figure.add_subplot(small[0, 0]), stxm, canvas, box)
    panels.draw_probe(figure.add_subplot(small[0, 1]), snapshot)
    if truth is not None:
        known = display.without_phase_ramp(truth, inner)
        panels.draw_amplitude(figure.add_subplot(small[1, 0]), known, canvas, box, inner, "Known amplitude")
        panels.draw_phase(figure.add_subplot(small[1, 1]), known, canvas, box, inner, "Known phase")
    else:
        panels.draw_coverage(figure.add_subplot(small[1, 0]), snapshot, box)
        panels.draw_pupil(figure.add_subplot(small[1, 1]), snapshot)
    panels.draw_residuals(figure.add_subplot(below[0]), snapshot)
    panels.draw_frc(figure.add_subplot(below[1]), snapshot)
    panels.draw_facts(figure.add_subplot(below[2]), snapshot)
    return figure


def save_reconstruction_png(
    path: Path | str,
    snapshot: Snapshot,
    *,
    stxm: NDArray[np.floating[Any]] | None = None,
    truth: NDArray[np.complexfloating[Any, Any]] | None = None,
    title: str = "",
) -> None:
    """Write :func:`reconstruction_figure` as PNG; the file appears whole or not at all."""
    whole_figure(path, reconstruction_figure(snapshot, stxm, truth, title), DPI)
