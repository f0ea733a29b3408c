"""Trajectories: pure functions from a field of view to scan points.

Every trajectory is a function ``(width, height, step, rng) -> (n, 2) float64`` of offsets
``(y, x)`` from the centre of the field, in the order of measurement and in the unit of its
arguments. All give the same number of points, :func:`count`, so that trajectories compare at
equal dose. Adding one means one function under ``@trajectories.register(name)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..registry import Registry

Offsets = NDArray[np.float64]
Trajectory = Callable[[float, float, float, np.random.Generator], Offsets]

trajectories: Registry[Trajectory] = Registry("trajectory")

GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))
MAX_POINTS = 1_000_000
MAX_CANDIDATES = 8 * MAX_POINTS
"""Points of a spiral of which those in the field are taken: half a gigabyte and seconds."""
JITTER_DEFAULT = {"spiral": 0.0}
GRID_JITTER = 0.25
"""Steps; a regular grid leaves its own period in the object (COSMIC scans with ± step / 4)."""


def offsets(
    trajectory: str, width: float, height: float, step: float, *, jitter: float | None = None, seed: int = 0
) -> Offsets:
    """Return the points of a scan relative to its centre.

    Parameters
    ----------
    trajectory : str
        A name in :data:`trajectories`.
    width, height : float
        Field of view along x and y. Each point stands for a cell of about ``step * step``, so
        the outermost points of a grid lie half a step inside the field.
    step : float
        Largest distance of neighbours on a grid; the mean over the field on a spiral.
    jitter : float, optional
        Random uniform displacement of ± ``jitter * step`` on each axis, 0 to 0.5; unless given, 0 for the
        spiral and 0.25 on grids. Points stay within the field.
    seed : int
        Of the random numbers; equal seeds give equal points.

    Returns
    -------
    ndarray, (n, 2) float64
        Offsets ``(y, x)`` with n = ``count(width, height, step)``.

    Raises
    ------
    SettingsError
        If a number is out of range or there would be more than ``MAX_POINTS`` points.
    NotFoundError
        If the trajectory is not known.
    """
    function = trajectories[trajectory]
    rows, cols = grid_shape(width, height, step)
    if jitter is None:
        jitter = JITTER_DEFAULT.get(trajectory, GRID_JITTER)
    if not 0.0 <= jitter <= 0.5:
        raise SettingsError(f"jitter is {jitter}; expected a fraction of the step from 0 to 0.5")
    rng = np.random.default_rng(seed)
    points = function(width, height, step, rng)
    shift = jitter * min(step, height / rows, width / cols)
    half = np.array([height, width]) / 2.0
    return np.clip(points + rng.uniform(-shift, shift, points.shape), -half, half)


def grid_shape(width: float, height: float, step: float) -> tuple[int, int]:
    """Return the rows and columns of cells no larger than `step` that fill the field.

    Raises
    ------
    SettingsError
        If a length is not positive and finite, or there would be more than ``MAX_POINTS`` cells.
    """
    for name, value in (("width", width), ("height", height), ("step", step)):
        if not (math.isfinite(value) and value > 0.0):
            raise SettingsError(f"{name} is {value}; expected a positive length")
    # 20 steps of 0.1 are 2.0000000000000004: a last digit must not add a row.
    rows, cols = (max(1, math.ceil(length / step - 1e-6)) for length in (height, width))
    if rows * cols > MAX_POINTS:
        raise SettingsError(f"step {step} makes {rows * cols} points; expected at most {MAX_POINTS}")
    return rows, cols


def count(width: float, height: float, step: float) -> int:
    """Return how many points every trajectory has."""
    rows, cols = grid_shape(width, height, step)
    return rows * cols


@trajectories.register("spiral")
def spiral(width: float, height: float, step: float, rng: np.random.Generator) -> Offsets:
    """Fermat spiral: point i at radius c √i and i golden angles, ordered outward, cut to the field.

    The density is the same everywhere (Huang et al., Opt. Express 22, 12634 (2014)). c is chosen
    such that exactly ``count`` points lie in the field.

    Raises
    ------
    SettingsError
        If the field is so long and narrow that nearly all turns would miss it.
    """
    n = count(width, height, step)
    # The circle around the field holds π/4 (w² + h²) / (w h) times as many points; a narrow
    # field takes few of many turns, so leave room for the spiral's unevenness.
    diagonal = math.pi / 4.0 * (width**2 + height**2) / (width * height)
    candidates = math.ceil(1.3 * n * diagonal) + 50
    if candidates > MAX_CANDIDATES:
        raise SettingsError(
            f"width {width} and height {height} are too unequal for a spiral of {n} points; expected trajectory "
            "'snake' or another grid, or lengths in the unit of the stage"
        )
    i = np.arange(candidates, dtype=np.float64)
    unit = np.sqrt(i)[:, np.newaxis] * np.stack([np.sin(i * GOLDEN_ANGLE), np.cos(i * GOLDEN_ANGLE)], axis=1)
    with np.errstate(divide="ignore"):
        largest = np.min(np.array([height, width]) / 2.0 / np.abs(unit), axis=1)  # c at which a point leaves the field
    chosen = np.sort(np.argsort(-largest, kind="stable")[:n])
    c = min(largest[chosen].min(), math.hypot(width, height))
    return np.asarray(c * unit[chosen])


def _grid(width: float, height: float, step: float) -> tuple[Offsets, NDArray[np.int64], NDArray[np.int64]]:
    """Return the cell centres, row after row, and the row and column of each."""
    rows, cols = grid_shape(width, height, step)
    row, col = (a.ravel() for a in np.mgrid[:rows, :cols])
    y = ((row + 0.5) / rows - 0.5) * height
    x = ((col + 0.5) / cols - 0.5) * width
    return np.stack([y, x], axis=1), row, col


@trajectories.register("raster")
def raster(width: float, height: float, step: float, rng: np.random.Generator) -> Offsets:
    """Row after row from low y, each from low x."""
    return _grid(width, height, step)[0]


@trajectories.register("snake")
def snake(width: float, height: float, step: float, rng: np.random.Generator) -> Offsets:
    """Row after row from low y, every other one backwards."""
    points, row, col = _grid(width, height, step)
    return points[np.lexsort((np.where(row % 2, -col, col), row))]


@trajectories.register("interlaced")
def interlaced(width: float, height: float, step: float, rng: np.random.Generator) -> Offsets:
    """Four passes over every other row and column: the whole field is seen early, then ever finer."""
    points, row, col = _grid(width, height, step)
    passes = np.array([[0, 2], [3, 1]])[row % 2, col % 2]
    backwards = (row // 2) % 2 == 1
    return points[np.lexsort((np.where(backwards, -col, col), row, passes))]


@trajectories.register("random")
def random(width: float, height: float, step: float, rng: np.random.Generator) -> Offsets:
    """Visit the points of the grid in random order: best while data arrive, longest way for the motors."""
    return rng.permutation(_grid(width, height, step)[0])
