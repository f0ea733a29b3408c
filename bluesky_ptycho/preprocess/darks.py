"""Dark statistics: streamed, exact, one model for each exposure time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..scan_plan import ScanPlan
from .layouts import ADC_MASK, DAMAGED_BIT, GAIN_BITS, Layout, find_layout, layout_of
from .spectra import ChannelStatistics

MIN_DARKS_FOR_SIGMA = 5
"""With fewer frames of whole numbers the spread of a pixel's σ is too wide to call it bad."""
EXPOSURE_TOLERANCE = 1e-3
"""Relative difference between exposure times that darks may have."""


@dataclass(frozen=True)
class DarkModel:
    """Mean and noise of the dark frames of one exposure time, in the raw frame's own layout.

    Parameters
    ----------
    mean, sigma : ndarray (H, W) float32
        In ADU (the ADC's value without gain and error bits); NaN where no frame was good.
    n : int
        Frames that went into it.
    exposure_s : float
        Their exposure time in s.
    gain : int or None
        Gain they were taken with; None where frames don't tell.
    power : ndarray (192, bins) float32 or None
        Power spectrum of each channel's fluctuations along its sequence (FCCD), for its tones.
    read_noise : ndarray (192,) float32 or None
        Noise of a sample of each channel in ADU (FCCD), without the drift that `sigma` holds; NaN where unknown.
    time_s : float or None
        When the last of them was taken, s since the epoch.
    """

    mean: NDArray[np.float32]
    sigma: NDArray[np.float32]
    n: int
    exposure_s: float
    gain: int | None = None
    power: NDArray[np.float32] | None = None
    read_noise: NDArray[np.float32] | None = None
    time_s: float | None = None

    def fits(self, shape: tuple[int, int], exposure_s: float) -> bool:
        """Tell whether it serves for frames of `shape` taken with `exposure_s`."""
        return self.mean.shape == tuple(shape) and math.isclose(self.exposure_s, exposure_s, rel_tol=EXPOSURE_TOLERANCE)

    def bad_pixels(self, factor: float) -> NDArray[np.bool_]:
        """Return ``(H, W) bool``: dead pixels, those far noisier than the median, and those never good."""
        bad = ~np.isfinite(self.mean)
        good = self.sigma[np.isfinite(self.sigma)]
        if self.n < MIN_DARKS_FOR_SIGMA or not good.size:
            return bad
        typical = float(np.median(good))
        bad |= self.sigma > factor * typical
        # A live pixel gives n equal values by chance: only call σ = 0 dead where that is rare enough.
        most_frequent = math.erf(0.5 / (typical * math.sqrt(2))) if typical > 0 else 1.0
        if good.size * most_frequent ** (self.n - 1) < 0.1:
            bad |= self.sigma == 0
        return bad


class DarkAccumulator:
    """Gather dark frames in any number of chunks, in any order, on any number of accumulators.

    The sums of 13- or 16-bit values and of their squares stay below 2**53 for two million frames, so
    float64 holds them exactly: order and chunking change nothing, and nothing cancels.

    Parameters
    ----------
    layout : str
        Name of the frames' layout; damaged pixels of FCCD frames are left out one by one.
    """

    def __init__(self, layout: str) -> None:
        self._layout: Layout = find_layout(layout)
        self._sums: NDArray[np.float64] | None = None  # (2, H, W): values, squares
        self._counts = np.zeros((0, 0), dtype=np.uint32)
        self._n = 0
        self._gain: int | None = None
        self._channels: ChannelStatistics | None = None

    @classmethod
    def for_plan(cls, plan: ScanPlan) -> Self:
        """Return an accumulator for the frames of a plan's detector."""
        return cls(layout_of(plan).name)

    @property
    def n(self) -> int:
        """Frames added so far."""
        return self._n

    def add(self, frames: NDArray[Any]) -> None:
        """Add frames ``(n, H, W)``; they are not changed.

        Raises
        ------
        MetadataError
            If they are not three-dimensional or differ in shape from those before.
        """
        if frames.ndim != 3:
            raise MetadataError(f"dark frames have shape {frames.shape}; expected (n, rows, columns)")
        shape = frames.shape[1:]
        if self._sums is None:
            self._sums = np.zeros((2, *shape))
            if self._layout.fccd and shape == self._layout.frame_shape:
                self._channels = ChannelStatistics(self._layout)
            self._counts = np.zeros(shape, dtype=np.uint32)
        elif shape != self._counts.shape:
            raise MetadataError(f"dark frames have shape {shape}; expected {self._counts.shape} as those before")
        for frame in frames:
            self._take(frame, 1)

    def remove(self, frames: NDArray[Any]) -> None:
        """Take frames ``(n, H, W)`` off that were added before, as if they had never been there."""
        assert self._sums is not None and frames.shape[1:] == self._counts.shape and self._n >= len(frames)
        for frame in frames:
            self._take(frame, -1)

    def _take(self, frame: NDArray[Any], sign: int) -> None:
        assert self._sums is not None
        values, good = self._read(frame)
        self._sums[0] += sign * values
        self._sums[1] += sign * values * values
        self._counts += np.where(good, sign, 0).astype(self._counts.dtype)
        self._n += sign
        if self._channels is not None:
            self._channels.add(values, good, sign)

    def merge(self, other: DarkAccumulator) -> None:
        """Add all that `other` has gathered.

        Raises
        ------
        MetadataError
            If its frames differ in shape or gain.
        """
        if other._sums is None:
            return
        if self._sums is None:
            self._sums, self._counts = np.zeros_like(other._sums), np.zeros_like(other._counts)
            if other._channels is not None:
                self._channels = ChannelStatistics(self._layout)
        if other._counts.shape != self._counts.shape:
            raise MetadataError(f"dark frames have shape {other._counts.shape}; expected {self._counts.shape}")
        if None not in (self._gain, other._gain) and self._gain != other._gain:
            raise MetadataError(f"dark frames were taken with gain {other._gain}; expected {self._gain}")
        self._gain = other._gain if self._gain is None else self._gain
        self._sums += other._sums
        self._counts += other._counts
        self._n += other._n
        if self._channels is not None and other._channels is not None:
            self._channels.merge(other._channels)

    def model(self, exposure_s: float) -> DarkModel:
        """Return the model of all frames so far.

        Raises
        ------
        MetadataError
            If there is no frame.
        """
        if self._sums is None or not self._n:
            raise MetadataError(f"darks of {exposure_s} s: there is no frame")
        counts = np.where(self._counts > 0, self._counts, np.nan)
        mean = self._sums[0] / counts
        spread = np.maximum(self._sums[1] - counts * mean * mean, 0.0)
        sigma = np.sqrt(spread / np.where(counts > 1, counts - 1, np.nan)) if self._n > 1 else np.zeros_like(mean)
        power = None if self._channels is None else self._channels.power()
        read_noise = None if self._channels is None else self._channels.read_noise()
        return DarkModel(
            mean.astype(np.float32), sigma.astype(np.float32), self._n, float(exposure_s), self._gain, power, read_noise
        )

    def _read(self, frame: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return values (0 where damaged) and which are good."""
        if self._layout.fccd:
            if not frame.any():  # it never came; at gain ×8 its bits would be right
                return np.zeros(frame.shape), np.zeros(frame.shape, dtype=bool)
            if self._gain is None:
                self._gain = _gain_of(frame)
            good = (frame & (DAMAGED_BIT | GAIN_BITS[1])) == GAIN_BITS[self._gain]
            return np.where(good, frame & ADC_MASK, 0).astype(np.float64), good
        values = frame.astype(np.float64)
        good = np.isfinite(values)
        return np.where(good, values, 0.0), good


def _gain_of(frame: NDArray[Any]) -> int:
    """Return the gain that most pixels of an FCCD frame were read with; rows that are sent empty (0) say nothing."""
    bits = np.bincount(frame[frame != 0] >> 14, minlength=4)
    return max(GAIN_BITS, key=lambda gain: int(bits[GAIN_BITS[gain] >> 14]))


def misfit(
    darks: Sequence[DarkModel] | None, shape: tuple[int, int], exposures_s: Sequence[float], gain: int
) -> str | None:
    """Return why `darks` cannot serve for frames of `shape`, these exposures and this gain; None if they can."""
    if darks is None:
        return "there are no darks"
    if len(darks) != len(exposures_s):
        return f"there are darks of {len(darks)} exposures; expected {len(exposures_s)}"
    for dark, exposure in zip(darks, exposures_s, strict=True):
        if not dark.fits(shape, exposure):
            return (
                f"darks have shape {dark.mean.shape} and exposure {dark.exposure_s:g} s; "
                f"expected {tuple(shape)} and {exposure:g} s"
            )
        if dark.gain not in (None, gain):
            return f"darks were taken with gain {dark.gain}; expected {gain}, as PreprocessSettings.gain says"
    return None
