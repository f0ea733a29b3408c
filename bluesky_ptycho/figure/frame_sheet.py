"""A contact sheet of frames with what they hold: histogram, sums, and where they were taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import AsinhNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from ..geometry import DISPLAY_ORIGIN
from ..terminal import printable
from ..whole_file import whole_figure
from . import display
from .panels import ACCENT, INK, PALE, SECOND, colour_bar, curve_style, name_panel, show_absent, stage_axes
from .sheet import DPI, new_figure

ROWS, COLUMNS = 3, 4
ON_A_SHEET = ROWS * COLUMNS
SHOWN_PX = 260
"""Pixels along the longer side of a frame: more are averaged."""
LEAST_PHOTONS = 0.5
MASKED, EMPTY = "#00bfd8", "#8b9097"
BINS = 80
SUMMED_BYTES = 2 * 10**8
LEAST_SUMMED = 20
"""Frames are summed up until so much is read, but so many in any case."""


@dataclass(frozen=True)
class FrameRoll:
    """The frames of a scan, wherever they lie.

    Parameters
    ----------
    title : str
    photons : bool
        Whether values are photons with zero frequency in the middle; else those of the camera, rows downwards.
    positions_m : ndarray (n, 2) float64
        ``(y, x)`` of each scan point in m.
    read : callable
        ``read(points)`` gives for each of these numbers (from 0) its frame ``(rows, cols)``, or ``(K, rows, cols)`` of
        K exposures, float, NaN where a pixel is not valid; None for one that cannot be read.
    """

    title: str
    photons: bool
    positions_m: NDArray[np.float64]
    read: Callable[[Sequence[int]], list[NDArray[np.floating[Any]] | None]]

    @property
    def n(self) -> int:
        """Number of scan points."""
        return len(self.positions_m)


@dataclass(frozen=True)
class Sums:
    """What some frames, of all over the scan, hold: their points, and photons or mean values, NaN where unreadable."""

    points: NDArray[np.intp]
    values: NDArray[np.float64]


def spread(n: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` of `n` numbers, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp))


def sum_up(roll: FrameRoll) -> Sums:
    """Return what frames hold, of as many as can be read in a short time; they are read one at a time."""
    (first,) = roll.read([0])
    points = spread(roll.n, LEAST_SUMMED if first is None else max(LEAST_SUMMED, SUMMED_BYTES // first.nbytes))
    return Sums(points, np.array([_held(roll, roll.read([point])[0]) for point in points.tolist()]))


def _held(roll: FrameRoll, frame: NDArray[np.floating[Any]] | None) -> float:
    """Return the photons of a pattern, or the mean value of a camera's frame without what was sent empty."""
    if frame is None:
        return math.nan
    return float(np.nansum(frame)) if roll.photons else float(np.mean(frame, where=_sent(frame)))


def _sent(frame: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return which pixels of a camera's frame are none that it sends empty, as 0; where most are 0, that counts."""
    sent = frame != 0
    return sent if np.count_nonzero(sent) > sent.size / 2 else np.ones_like(sent)


def frame_sheet(roll: FrameRoll, points: Sequence[int], sums: Sums, figure: Figure | None = None) -> Figure:
    """Draw the frames of at most :data:`ON_A_SHEET` scan points, 1920 × 1080 pixels.

    Parameters
    ----------
    roll : FrameRoll
    points : sequence of int
        From 0.
    sums : Sums
        Of the whole scan, for comparison.
    figure : Figure, optional
        What to draw in, of SIZE_INCHES.

    Returns
    -------
    matplotlib.figure.Figure
        `figure`, or a new one with an Agg canvas: no display is needed and pyplot knows nothing of it.
    """
    if figure is None:
        figure = new_figure()
    frames = dict(zip(points, roll.read(points), strict=True))
    read = {point: frame for point, frame in frames.items() if frame is not None}
    figure.text(0.03, 0.962, printable(roll.title, 90), parse_math=False, fontsize=19, color=INK, va="center")
    tiles = figure.add_gridspec(ROWS, COLUMNS, left=0.03, right=0.635, top=0.9, bottom=0.04, wspace=0.06, hspace=0.12)
    _draw_tiles(figure, tiles, roll, frames)
    right = figure.add_gridspec(3, 1, left=0.735, right=0.935, top=0.9, bottom=0.07, hspace=0.42)
    _draw_histogram(figure.add_subplot(right[0]), roll, list(read.values()))
    _draw_sums(figure.add_subplot(right[1]), roll, sums, points)
    _draw_positions(figure.add_subplot(right[2]), roll, sums, points)
    return figure


def save_frame_sheet(path: Path | str, roll: FrameRoll, points: Sequence[int]) -> None:
    """Write :func:`frame_sheet` as PNG; the file appears whole or not at all."""
    whole_figure(path, frame_sheet(roll, points, sum_up(roll)), DPI)


def _draw_tiles(
    figure: Figure, tiles: GridSpec, roll: FrameRoll, frames: dict[int, NDArray[np.floating[Any]] | None]
) -> None:
    shown = {point: _shown(roll, frame) for point, frame in frames.items() if frame is not None}
    norm = _norm(roll, list(shown.values()))
    origin = DISPLAY_ORIGIN if roll.photons else "upper"
    map_name, bad = ("inferno", MASKED) if roll.photons else ("gray", EMPTY)
    colours = colormaps[map_name].with_extremes(bad=bad)
    image = None
    for place, point in enumerate(frames):
        axes = figure.add_subplot(tiles[place // COLUMNS, place % COLUMNS])
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"point {point + 1}", loc="left", fontsize=11, color=PALE, pad=3)
        if point not in shown:
            show_absent(axes, "cannot be read")
            continue
        values = np.maximum(shown[point], LEAST_PHOTONS) if roll.photons else shown[point]
        image = axes.imshow(values, cmap=colours, norm=norm, origin=origin, interpolation="nearest")
    if image is not None:
        beside = figure.add_axes((0.645, 0.04, 0.008, 0.85))
        plain: dict[str, Any] = {}
        if isinstance(norm, AsinhNorm):
            plain = {"ticks": display.round_ticks(norm), "format": _numbers(roll)}
        bar = figure.colorbar(image, cax=beside, **plain)
        bar.ax.tick_params(labelsize=10, colors=PALE)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.set_title("photons" if roll.photons else "raw", fontsize=10, color=PALE, pad=6)


def _shown(roll: FrameRoll, frame: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return a frame, its exposures side by side, with no more pixels than are worth drawing."""
    whole = display.side_by_side(frame)
    valid = np.isfinite(whole) if roll.photons else _sent(whole)
    return display.averaged(whole, valid, math.ceil(max(whole.shape) / SHOWN_PX))


def _norm(roll: FrameRoll, shown: list[NDArray[np.float64]]) -> Normalize:
    values = np.concatenate([frame[np.isfinite(frame)] for frame in shown]) if shown else np.zeros(0)
    if roll.photons:
        return LogNorm(LEAST_PHOTONS, max(20 * LEAST_PHOTONS, float(values.max(initial=0.0))))
    return display.camera_norm(values)


def _numbers(roll: FrameRoll) -> Formatter:
    return EngFormatter(sep="") if roll.photons else FuncFormatter(lambda value, _: f"{value:.6g}")


def _draw_histogram(axes: Any, roll: FrameRoll, frames: list[NDArray[np.floating[Any]]]) -> None:
    name_panel(axes, "Pixels of these frames by their value")
    values = np.concatenate([frame[np.isfinite(frame)].ravel() for frame in frames]) if frames else np.zeros(0)
    few = values < LEAST_PHOTONS if roll.photons else values == 0
    share, values = f"{100 * np.count_nonzero(few) / max(1, few.size):.3g} % of the pixels", values[~few]
    if not values.size:
        show_absent(axes, "no pixel is valid")
        return
    if roll.photons:
        counts, edges = np.histogram(values, np.geomspace(LEAST_PHOTONS, max(10.0, float(values.max())), BINS))
        axes.set_xscale("log")
        axes.set_xlabel(f"photons ({share} have fewer than {LEAST_PHOTONS:g})", color=PALE)
    else:
        counts, edges = np.histogram(values, BINS)
        axes.set_xlabel(f"value as the camera gave it ({share} are 0)", color=PALE)
    axes.stairs(counts, edges, fill=True, color=ACCENT, alpha=0.75)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_ylabel("pixels", color=PALE)
    curve_style(axes)


def _draw_sums(axes: Any, roll: FrameRoll, sums: Sums, points: Sequence[int]) -> None:
    part = "" if len(sums.points) == roll.n else f", of {len(sums.points)} of {roll.n}"
    name_panel(axes, f"{'Photons' if roll.photons else 'Mean value'} in a frame{part}")
    axes.plot(sums.points + 1, sums.values, ".-", color=ACCENT, lw=1, ms=4)
    for point in points:
        axes.axvline(point + 1, color=SECOND, lw=0.8, alpha=0.5)
    axes.set_xlim(0.5, roll.n + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.yaxis.set_major_formatter(_numbers(roll))
    axes.set_xlabel("scan point", color=PALE)
    curve_style(axes)


def _draw_positions(axes: Any, roll: FrameRoll, sums: Sums, points: Sequence[int]) -> None:
    name_panel(axes, "Positions; rings: these frames")
    where = 1e6 * roll.positions_m
    y, x = where.T
    size = float(np.clip(4000 / roll.n, 4, 60))
    axes.scatter(x, y, s=size, color="#d5d9de", zorder=0)
    dots = axes.scatter(*where[sums.points].T[::-1], c=sums.values, s=size, cmap="viridis", zorder=1)
    axes.scatter(*where[list(points)].T[::-1], s=4 * size, facecolors="none", edgecolors=SECOND, lw=1.2, zorder=2)
    stage_axes(axes)
    axes.set_facecolor("white")
    axes.set_aspect("equal", "datalim")
    bar = colour_bar(axes, dots, "")
    bar.yaxis.set_major_formatter(_numbers(roll))
