"""Single photons in read noise: a threshold for each pixel, and what a pixel above it is worth.

Where a photon gives little more than the read noise, one threshold for all pixels loses either way: a low one lets
noise of a million empty pixels through, a high one loses the photons of dim ones. The best place for it
depends on the light: with n photons expected in a pixel and read noise s (both in photons), 0 and 1 photon are
equally likely at 1/2 + s² ln(1/n). The light is taken from the pixels around, in the same frame, and where they hold
few photons from a wider surrounding, as if it had lent them some of its own (the mean of the posterior, if the
light around varies as a gamma distribution does). What
lies between the threshold and 1.5 counts as one photon over the share of single photons that pass, so
that on the average none is lost. Whatever lies above keeps its value. What noise adds is not taken off again: for a
read noise of 0.31 photon it is 0.0005 photon per pixel in the dark, and 0.026 at most, where half a photon is expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

CELL = 4
"""Raw pixels along each side of a cell, which has one threshold."""
NEAR, WIDE = 1, 10
"""Cells on each side of a cell that tell its light, and that lend to those where there are few photons."""
BORROWED = np.float32(4)
"""Photons that the wide surrounding lends."""
FIRST_THRESHOLD = np.float32(0.8)
"""Threshold with which the light is estimated, in photons."""
LOWEST, HIGHEST = 0.6, 1.1
"""Limits of the threshold in photons. Beyond, a pixel would have to stand for too many that are lost."""
SINGLE = np.float32(1.5)
"""Values below it are one photon."""
DARKEST = 1e-6
"""Photons per raw pixel that an empty surrounding is taken to hold."""
N_WORTHS = 257


@dataclass(frozen=True)
class SinglePhotons:
    """How to count, for a read noise.

    Parameters
    ----------
    noise : float
        Read noise of a corrected pixel, in photons.
    """

    noise: float

    @cached_property
    def first_worth(self) -> np.float32:
        """Photons that a single one stands for at the first threshold."""
        return np.float32(1 / ndtr((1 - FIRST_THRESHOLD) / self.noise))

    @cached_property
    def first_false(self) -> np.float32:
        """Photons per pixel that noise alone gives at the first threshold."""
        return np.float32(ndtr(-FIRST_THRESHOLD / self.noise) * self.first_worth)

    @cached_property
    def worths(self) -> NDArray[np.float32]:
        """Photons that a single one stands for, at equal steps of the threshold from LOWEST to HIGHEST."""
        return (1 / ndtr((1 - np.linspace(LOWEST, HIGHEST, N_WORTHS)) / self.noise)).astype(np.float32)

    def thresholds(self, light: NDArray[Any]) -> NDArray[np.float32]:
        """Return the threshold for expected photons per raw pixel."""
        best = np.float32(0.5) - np.float32(self.noise**2) * np.log(np.maximum(light, np.float32(DARKEST)))
        return np.clip(best, np.float32(LOWEST), np.float32(HIGHEST))

    def worth(self, thresholds: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what a single photon stands for at each threshold."""
        return np.interp(thresholds, np.linspace(LOWEST, HIGHEST, N_WORTHS), self.worths).astype(np.float32)

    def light(self, photons: NDArray[np.float32], pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the expected photons per raw pixel of each cell.

        Parameters
        ----------
        photons : ndarray (n, rows, columns) float32
            Sum of each cell at the first threshold.
        pixels : ndarray (n, rows, columns) float32
            Pixels of each cell that are valid.
        """
        near, n = sum_around(photons, NEAR), sum_around(pixels, NEAR)
        wide = sum_around(photons, WIDE) / np.maximum(sum_around(pixels, WIDE), np.float32(1)) - self.first_false
        seen = np.maximum(near - n * self.first_false, np.float32(0))
        return np.asarray((seen + BORROWED) / (n + BORROWED / np.maximum(wide, np.float32(DARKEST))))

    def count(self, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the photons of ``(n, rows, columns)`` float32; what is not valid tells nothing of the light."""
        first = np.where(values < SINGLE, self.first_worth, values)
        first = np.where(valid & (values >= FIRST_THRESHOLD), first, np.float32(0))
        thresholds = self.thresholds(self.light(_cells(first), _cells(valid.astype(np.float32))))
        worth = _spread(self.worth(thresholds), values.shape)
        counted = np.where(values < SINGLE, worth, values)
        return np.where(values >= _spread(thresholds, values.shape), counted, np.float32(0))


def _cells(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum each cell; there is nothing beyond the edges."""
    n, rows, columns = images.shape
    padded = np.pad(images, ((0, 0), (0, -rows % CELL), (0, -columns % CELL)))
    return padded.reshape(n, padded.shape[1] // CELL, CELL, padded.shape[2] // CELL, CELL).sum(axis=(2, 4))


def sum_around(cells: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Sum the square of cells ``(n, rows, columns)`` up to `reach` from each; there is nothing beyond the edges."""
    sums = cells.astype(np.float64)
    for axis in (1, 2):
        edge = [(0, 0)] * 3
        edge[axis] = (reach + 1, reach)
        along = np.moveaxis(np.cumsum(np.pad(sums, edge), axis=axis), axis, 0)
        sums = np.moveaxis(along[2 * reach + 1 :] - along[: -2 * reach - 1], 0, axis)
    return sums.astype(np.float32)


def _spread(cells: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Give every pixel of a cell its value."""
    return np.repeat(np.repeat(cells, CELL, axis=1), CELL, axis=2)[:, : shape[1], : shape[2]]
