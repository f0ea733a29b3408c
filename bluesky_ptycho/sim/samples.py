"""Samples: transmission as a function of stage coordinates, on any grid.

All are gold of a thickness b(y, x): transmission exp((i phi - a) b) with phi = -k delta and
a = k beta (waves run as exp(ikz)). A pixel holds the mean thickness of its area, so edges are
antialiased and the same grid gives the same values whichever part of it is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..compiled import kernel
from ..errors import NotFoundError, SettingsError
from ..geometry import ENERGY_TIMES_WAVELENGTH_EV_M
from ..spelling import spelled

CLASSICAL_ELECTRON_RADIUS_M = 2.8179403e-15
GOLD_ATOMS_PER_M3 = 5.90e28
GOLD_F1_F2 = (44.0, 19.0)
"""Atomic scattering factors of gold near 800 eV (Henke, Gullikson, Davis 1993), rounded."""

Grid = NDArray[np.float64]
OVERSAMPLING = 4


class Sample(Protocol):
    """Anything that light goes through."""

    def transmission(self, y_m: Grid, x_m: Grid, energy_ev: float) -> NDArray[np.complex64]:
        """Return the transmission ``(len(y_m), len(x_m))`` of the pixels of a regular grid."""


class GoldSample:
    """A sample that is gold of some thickness."""

    def thickness_m(self, y_m: Grid, x_m: Grid) -> NDArray[np.float32]:
        """Return the mean thickness in m, ``(len(y_m), len(x_m))``, of the pixels of a regular grid."""
        raise NotImplementedError

    def transmission(self, y_m: Grid, x_m: Grid, energy_ev: float) -> NDArray[np.complex64]:
        """Return the transmission ``(len(y_m), len(x_m))`` of the pixels of a regular grid."""
        return gold_transmission(self.thickness_m(y_m, x_m), energy_ev)


def gold_transmission(thickness_m: NDArray[np.float32], energy_ev: float) -> NDArray[np.complex64]:
    """Return the transmission of gold of `thickness_m` at a photon energy."""
    wavelength = ENERGY_TIMES_WAVELENGTH_EV_M / energy_ev
    f1, f2 = GOLD_F1_F2
    # n = 1 - r_e lambda^2 N (f1 - i f2) / 2 pi, and k = 2 pi / lambda
    per_metre = CLASSICAL_ELECTRON_RADIUS_M * wavelength * GOLD_ATOMS_PER_M3
    exponent = np.complex64(-(1j * f1 + f2) * per_metre) * thickness_m
    return np.asarray(np.exp(exponent), dtype=np.complex64)


@dataclass(frozen=True)
class GoldBalls(GoldSample):
    """Clusters of gold balls, strewn over the whole plane.

    Parameters
    ----------
    seed : int
        Equal seeds give equal samples.
    radius_m : tuple of float
        Radii are uniform between these.
    cell_m : float
        One square of this size holds about `clusters` clusters.
    clusters, balls : float
        Mean number of clusters in a cell and of balls in a cluster.
    """

    seed: int = 0
    radius_m: tuple[float, float] = (22e-9, 45e-9)
    cell_m: float = 0.8e-6
    clusters: float = 2.5
    balls: float = 16.0

    def thickness_m(self, y_m: Grid, x_m: Grid) -> NDArray[np.float32]:
        """Return the mean thickness in m of the pixels of a regular grid."""
        reach = 1.0e-6  # clusters may lean out of their cell
        rows = range(*_cells(y_m, self.cell_m, reach))
        columns = range(*_cells(x_m, self.cell_m, reach))
        balls = np.concatenate([_cell_balls(self, row, column) for row in rows for column in columns])
        thickness = np.zeros((len(y_m), len(x_m)), dtype=np.float32)
        _add_balls(balls, y_m[0], x_m[0], _pitch(y_m), _pitch(x_m), OVERSAMPLING, thickness)
        return thickness


def _cells(coordinates: Grid, size: float, reach: float) -> tuple[int, int]:
    low, high = coordinates.min() - reach, coordinates.max() + reach
    return int(np.floor(low / size)), int(np.floor(high / size)) + 1


def _pitch(coordinates: Grid) -> float:
    return float(coordinates[1] - coordinates[0]) if len(coordinates) > 1 else 1e-9


@lru_cache(maxsize=4096)
def _cell_balls(sample: GoldBalls, row: int, column: int) -> NDArray[np.float64]:
    """Return the balls ``(n, 3)`` (y, x, radius in m) of the clusters that start in a cell."""
    rng = np.random.default_rng([sample.seed, row + 2**31, column + 2**31])
    found: list[tuple[float, float, float]] = []
    for _ in range(rng.poisson(sample.clusters)):
        y, x = (np.array([row, column]) + rng.random(2)) * sample.cell_m
        cluster = [(y, x, rng.uniform(*sample.radius_m))]
        for _ in range(rng.poisson(sample.balls)):
            # The next ball touches one that is there; seen from above they overlap by some part.
            parent = cluster[rng.integers(len(cluster))]
            radius = rng.uniform(*sample.radius_m)
            angle = rng.uniform(0, 2 * np.pi)
            distance = (parent[2] + radius) * np.sqrt(rng.uniform(0.45, 1.0))
            cluster.append((parent[0] + distance * np.sin(angle), parent[1] + distance * np.cos(angle), radius))
        found += cluster
    return np.array(found, dtype=np.float64).reshape(-1, 3)


@kernel()
def _add_balls(balls, y0, x0, dy, dx, n_sub, out):  # type: ignore[no-untyped-def]
    """Add the mean thickness of balls ``(n, 3)`` to the pixels of a regular grid."""
    rows, columns = out.shape
    for index in range(len(balls)):
        cy, cx, radius = balls[index]
        first_row = max(0, int(np.floor((cy - radius - y0) / dy)))
        last_row = min(rows, int(np.ceil((cy + radius - y0) / dy)) + 1)
        first_column = max(0, int(np.floor((cx - radius - x0) / dx)))
        last_column = min(columns, int(np.ceil((cx + radius - x0) / dx)) + 1)
        for i in range(first_row, last_row):
            for j in range(first_column, last_column):
                total = 0.0
                for k in range(n_sub * n_sub):
                    y = y0 + dy * (i + (k // n_sub + 0.5) / n_sub - 0.5) - cy
                    x = x0 + dx * (j + (k % n_sub + 0.5) / n_sub - 0.5) - cx
                    inside = radius * radius - y * y - x * x
                    if inside > 0:
                        total += 2.0 * np.sqrt(inside)
                out[i, j] += total / (n_sub * n_sub)


@dataclass(frozen=True)
class SiemensStar(GoldSample):
    """A Siemens star around the stage's zero.

    Parameters
    ----------
    n_spokes : int
        Number of spokes.
    radius_m : tuple of float
        Inner and outer radius.
    gap_radius_m : float
        Radius of a ring-shaped gap, by which the orders of scale are told.
    gold_m : float
        Thickness of the spokes.
    """

    n_spokes: int = 36
    radius_m: tuple[float, float] = (0.12e-6, 6e-6)
    gap_radius_m: float = 0.7e-6
    gold_m: float = 120e-9

    def thickness_m(self, y_m: Grid, x_m: Grid) -> NDArray[np.float32]:
        """Return the mean thickness in m of the pixels of a regular grid."""
        pitch = np.sqrt(_pitch(y_m) * _pitch(x_m))
        y, x = y_m[:, None], x_m[None, :]
        radius = np.hypot(y, x)
        # Position within the period of a spoke, -1 ... 1 with the edges at +-0.5
        phase = np.arctan2(y, x) * self.n_spokes / (2 * np.pi)
        offset = np.abs(2 * (phase - np.floor(phase)) - 1)
        to_edge = (offset - 0.5) * radius * np.pi / self.n_spokes
        inner, outer = self.radius_m
        covered = _coverage(to_edge, pitch) * _coverage(radius - inner, pitch) * _coverage(outer - radius, pitch)
        covered *= _coverage(np.abs(radius - self.gap_radius_m) - 0.03e-6, pitch)
        return np.asarray(self.gold_m * covered, dtype=np.float32)


def _coverage(inside_m: NDArray[np.float64], pitch_m: float) -> NDArray[np.float64]:
    """Return the covered share of pixels whose centres lie `inside_m` within a straight edge."""
    return np.clip(0.5 + inside_m / pitch_m, 0.0, 1.0)


class ImageSample(GoldSample):
    """Any picture as a sample: white is `gold_m` of gold, black is empty.

    The picture lies centred on the stage's zero, with its left to -x and its top to +y, and is
    mirrored beyond its borders.

    Parameters
    ----------
    path : path
        Image file.
    width_m : float
        Width of the picture on the sample.
    gold_m : float
        Thickness where the picture is white.

    Raises
    ------
    NotFoundError
        If there is no such file.
    SettingsError
        If the file is not an image.
    """

    def __init__(self, path: str | Path, width_m: float = 6e-6, gold_m: float = 150e-9) -> None:
        from PIL import Image

        if not Path(path).is_file():
            raise NotFoundError(
                f"{spelled('sample')} is {str(path)!r}, which is no file; expected goldballs, siemens or an image file"
            )
        try:
            with Image.open(path) as image:
                grey = np.asarray(image.convert("F"), dtype=np.float32)
        except OSError as error:
            raise SettingsError(
                f"{spelled('sample')} is {str(path)!r}, which cannot be read as an image: {error}"
            ) from error
        span = float(np.ptp(grey))
        self._grey = (grey[::-1] - grey.min()) / (span if span > 0 else 1.0)
        self.pitch_m = width_m / grey.shape[1]
        self.gold_m = gold_m

    def thickness_m(self, y_m: Grid, x_m: Grid) -> NDArray[np.float32]:
        """Return the mean thickness in m of the pixels of a regular grid."""
        from scipy import ndimage

        pitches = np.array([_pitch(y_m), _pitch(x_m)]) / self.pitch_m
        # A Gaussian of this width has the variance of the grid's pixel less that of the picture's.
        grey = ndimage.gaussian_filter(self._grey, np.sqrt(np.maximum(pitches**2 - 1, 0) / 12), mode="reflect")
        rows = y_m / self.pitch_m + (grey.shape[0] - 1) / 2
        columns = x_m / self.pitch_m + (grey.shape[1] - 1) / 2
        grid = np.meshgrid(rows, columns, indexing="ij")
        values = ndimage.map_coordinates(grey, grid, order=1, mode="reflect")
        return np.asarray(self.gold_m * values, dtype=np.float32)


def make_sample(name: str | Path, seed: int = 0) -> GoldSample:
    """Return the sample called "goldballs" or "siemens", or an image file's."""
    if name == "goldballs":
        return GoldBalls(seed)
    if name == "siemens":
        return SiemensStar()
    return ImageSample(name)
