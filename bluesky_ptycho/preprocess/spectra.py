"""What the darks tell of the ADC channels: power spectra of their fluctuations, and read noise."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from .layouts import N_CHANNELS, N_SLOTS, OVERSCAN_SLOTS, Layout, assemble, split_channels


def channel_sequences(frame: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return a frame ``(H, W)`` of `layout` as ``(192, rows * 12)``, the upper half's channels first."""
    assembled = assemble(frame) if layout.wire else frame
    sequences = split_channels(assembled[layout.image_rows()])
    return np.moveaxis(sequences, 2, 1).reshape(N_CHANNELS, -1)


class ChannelStatistics:
    """Sums of the transforms of all channels, under a Hann window, of their power, and of the read noise's.

    A channel with a damaged sample in a frame does without that frame.

    Parameters
    ----------
    layout : Layout
        Of an FCCD.

    Attributes
    ----------
    counts : ndarray (192,) int64
        Frames that each channel was whole in.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        n = layout.n_image_rows * N_SLOTS
        # A Hann window keeps the drift, which does not end where it began, out of the higher bins.
        self._window = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
        bins = n // 2 + 1
        self._sum = np.zeros((N_CHANNELS, bins), dtype=np.complex128)
        self._power = np.zeros((N_CHANNELS, bins))
        self._differences = np.zeros((2, N_CHANNELS, layout.n_image_rows))  # sums, squares
        self.counts = np.zeros(N_CHANNELS, dtype=np.int64)

    def add(self, values: NDArray[np.float64], good: NDArray[np.bool_], sign: int = 1) -> None:
        """Add a dark frame ``(H, W)`` in the layout's own order, or take it off again (`sign` -1)."""
        whole = channel_sequences(good, self._layout).all(axis=1)
        sequences = channel_sequences(values, self._layout)[whole]
        spectrum = scipy.fft.rfft(sequences * self._window)
        # Drift is the same in both overscan slots of a row: their difference is read noise alone.
        first, last = (sequences[:, slot::N_SLOTS] for slot in OVERSCAN_SLOTS)
        self._differences[0, whole] += sign * (first - last)
        self._differences[1, whole] += sign * (first - last) ** 2
        self._sum[whole] += sign * spectrum
        self._power[whole] += sign * (spectrum.real**2 + spectrum.imag**2)
        self.counts[whole] += sign

    def merge(self, other: Self) -> None:
        """Add all that `other` has gathered."""
        self._sum += other._sum
        self._power += other._power
        self._differences += other._differences
        self.counts += other.counts

    def power(self) -> NDArray[np.float32]:
        """Return the mean power about the mean frame, ``(192, bins) float32``; 0 with fewer than two frames."""
        n = self.counts[:, None]
        about_mean = self._power - np.abs(self._sum) ** 2 / np.maximum(n, 1)
        return np.where(n > 1, np.maximum(about_mean, 0) / np.maximum(n - 1, 1), 0).astype(np.float32)

    def read_noise(self) -> NDArray[np.float32]:
        """Return each channel's rms noise in ADU, ``(192,)``; NaN for those that are not whole in two frames."""
        n, (total, squares) = self.counts[:, None], self._differences
        variance = np.mean((squares - total**2 / np.maximum(n, 1)) / np.maximum(n - 1, 1), axis=1) / 2
        return np.where(self.counts > 1, np.sqrt(np.maximum(variance, 0)), np.nan).astype(np.float32)
