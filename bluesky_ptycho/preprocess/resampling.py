"""Weights with which raw pixels make solver pixels, along one axis.

All resampling here is separable and linear: ``patterns = weights_y @ image @ weights_x.T``. The weights of a
raw pixel sum to 1 over the solver pixels (those beyond the pattern included), so photons are conserved
whatever the kernel and the factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

REACH_SIGMA = 4.0
"""Where the Gaussian kernel is cut off, in σ."""
MIN_SHARE = 0.01
"""A raw pixel with less than this share of the largest weight may be invalid without harm."""


@dataclass(frozen=True)
class AxisResampling:
    """How one axis is resampled.

    Parameters
    ----------
    length : int
        Raw pixels.
    n : int
        Solver pixels.
    start : float
        Where the first solver pixel begins, in edge coordinates of the raw axis.
    factor : float
        Raw pixels per solver pixel.
    kernel : {"box", "gaussian", "fourier"}
        Shares of the overlap; a Gaussian about the solver pixel's centre; the Fourier series of the
        window without what the solver's pixels cannot carry.
    sigma : float
        Of the Gaussian, in solver pixels.
    """

    length: int
    n: int
    start: float
    factor: float
    kernel: str = "box"
    sigma: float = 0.5

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """``(n, length) float32``."""
        make = {"box": self._box, "gaussian": self._gaussian, "fourier": self._fourier}[self.kernel]
        return make().astype(np.float32)

    @cached_property
    def support(self) -> NDArray[np.bool_]:
        """``(n, length) bool``: raw pixels that must be valid for a solver pixel to be."""
        if self.kernel == "fourier":  # it rings through the whole window; what counts lies beneath the pixel
            return self._box() > 0
        weights = self.weights
        return weights > MIN_SHARE * weights.max() if self.kernel == "gaussian" else weights > 0

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """``(n,) bool``: solver pixels that lie on the raw axis as a whole."""
        first = self.start + np.arange(self.n) * self.factor
        return (first > -1e-6) & (first + self.factor < self.length + 1e-6)

    def _box(self) -> NDArray[np.float64]:
        edges = self.start + np.arange(self.n + 1) * self.factor
        edges = np.where(np.abs(edges - np.rint(edges)) < 1e-9, np.rint(edges), edges)
        pixel = np.arange(self.length)
        overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
        return np.maximum(overlap, 0.0)

    def _gaussian(self) -> NDArray[np.float64]:
        sigma = self.sigma * self.factor
        beyond = int(np.ceil(REACH_SIGMA * self.sigma)) + 1  # neighbours outside the pattern get their share
        index = np.arange(-beyond, self.n + beyond)
        centres = self.start + (index + 0.5) * self.factor
        distance = (np.arange(self.length) + 0.5 - centres[:, None]) / sigma
        kernel = np.where(np.abs(distance) <= REACH_SIGMA, np.exp(-0.5 * distance**2), 0.0)
        total = kernel.sum(axis=0)
        shares = np.divide(kernel, total, out=np.zeros_like(kernel), where=total > 0)
        return shares[beyond : beyond + self.n]

    def _fourier(self) -> NDArray[np.float64]:
        period = self.n * self.factor
        pixel = np.arange(self.length) + 0.5
        centres = self.start + (np.arange(self.n) + 0.5) * self.factor
        phase = 2 * np.pi * (centres[:, None] - pixel) / period
        highest = (self.n - 1) // 2  # the Nyquist term of an even number has no partner
        # 1 + 2 Σ cos(k φ) for k to the highest is the Dirichlet kernel.
        half = np.sin(phase / 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            series = np.where(np.abs(half) < 1e-12, 2 * highest + 1, np.sin((highest + 0.5) * phase) / half)
        within = (pixel > self.start) & (pixel < self.start + period)
        return np.where(within, series / self.n, 0.0)

    def bands(self) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]]:
        """Return the weights by raw pixel and by solver pixel, without the zeros around them.

        Returns
        -------
        first_to : ndarray (length,) intp
            First solver pixel that each raw pixel gives to.
        give : ndarray (length, reach) float32
            Weights from there on; 0 behind the last.
        first_from : ndarray (n,) intp
            First raw pixel that each solver pixel takes from.
        take : ndarray (n, width) float32
        """
        first_to, give = _band(self.weights.T)
        first_from, take = _band(self.weights)
        return first_to, give, first_from, take


def _band(matrix: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return for each row where its entries begin, and as many columns of them as the widest row needs."""
    used = matrix != 0
    any_used = used.any(axis=1)
    first = np.where(any_used, used.argmax(axis=1), 0)
    last = np.where(any_used, matrix.shape[1] - used[:, ::-1].argmax(axis=1), 0)
    width = max(1, int((last - first).max()))
    first = np.minimum(first, matrix.shape[1] - width)
    return first, np.ascontiguousarray(np.take_along_axis(matrix, first[:, None] + np.arange(width), axis=1))
