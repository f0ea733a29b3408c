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
    whole : ndarray (192,) int64 or None
        Frames without a damaged sample of each channel (FCCD), which its power is of.
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
    whole: NDArray[np.int64] | None = None
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
    float64 holds them exactly: order and chunking change nothing, and nothing cancels. Frames of different gains
    are kept apart; the model is that of the gain which most were taken with.

    Parameters
    ----------
    layout : str
        Name of the frames' layout; damaged pixels of FCCD frames are left out one by one.
    """

    def __init__(self, layout: str) -> None:
        self._layout: Layout = find_layout(layout)
        self._shape: tuple[int, ...] | None = None
        self._sums: dict[int | None, _Sums] = {}

    @classmethod
    def for_plan(cls, plan: ScanPlan) -> Self:
        """Return an accumulator for the frames of a plan's detector."""
        return cls(layout_of(plan).name)

    @property
    def n(self) -> int:
        """Frames added so far."""
        return sum(sums.n for sums in self._sums.values())

    def add(self, frames: NDArray[Any]) -> None:
        """Add frames ``(n, H, W)``; they are not changed.

        Raises
        ------
        MetadataError
            If they are not three-dimensional or differ in shape from those before.
        """
        if frames.ndim != 3:
            raise MetadataError(f"dark frames have shape {frames.shape}; expected (n, rows, columns)")
        self._check(frames.shape[1:])
        for frame in frames:
            self._take(frame, 1)

    def remove(self, frames: NDArray[Any]) -> None:
        """Take frames ``(n, H, W)`` off that were added before, as if they had never been there."""
        assert frames.shape[1:] == self._shape and self.n >= len(frames)
        for frame in frames:
            self._take(frame, -1)

    def merge(self, other: DarkAccumulator) -> None:
        """Add all that `other` has gathered.

        Raises
        ------
        MetadataError
            If its frames differ in shape.
        """
        if other._shape is None:
            return
        self._check(other._shape)
        for gain, sums in other._sums.items():
            self._of(gain).merge(sums)

    def model(self, exposure_s: float) -> DarkModel:
        """Return the model of all frames so far that were taken with the most frequent gain.

        Raises
        ------
        MetadataError
            If there is no frame.
        """
        if not self.n:
            raise MetadataError(f"darks of {exposure_s} s: there is no frame")
        # Frames that never came, which tell no gain, count only if there are no others.
        gain = max(self._sums, key=lambda gain: (gain is not None and self._sums[gain].n > 0, self._sums[gain].n))
        return self._sums[gain].model(exposure_s, gain)

    def _check(self, shape: tuple[int, ...]) -> None:
        if self._shape is None:
            self._shape = shape
        elif shape != self._shape:
            raise MetadataError(f"dark frames have shape {shape}; expected {self._shape} as those before")

    def _of(self, gain: int | None) -> _Sums:
        assert self._shape is not None
        if gain not in self._sums:
            self._sums[gain] = _Sums(self._shape, self._layout)
        return self._sums[gain]

    def _take(self, frame: NDArray[Any], sign: int) -> None:
        if not self._layout.fccd:
            values = frame.astype(np.float64)
            good = np.isfinite(values)
            return self._of(None).take(np.where(good, values, 0.0), good, sign)
        gain = _gain_of(frame) if frame.any() else None  # it never came; at gain ×8 its bits would be right
        good = np.zeros(frame.shape, dtype=bool)
        if gain is not None:
            good = (frame & (DAMAGED_BIT | GAIN_BITS[1])) == GAIN_BITS[gain]
        return self._of(gain).take(np.where(good, frame & ADC_MASK, 0).astype(np.float64), good, sign)


class _Sums:
    """What is gathered of the frames of one gain."""

    def __init__(self, shape: tuple[int, ...], layout: Layout) -> None:
        self.n = 0
        self._sums = np.zeros((2, *shape))  # values, squares
        self._counts = np.zeros(shape, dtype=np.uint32)
        whole_frames = layout.fccd and shape == layout.frame_shape
        self._channels = ChannelStatistics(layout) if whole_frames else None

    def take(self, values: NDArray[np.float64], good: NDArray[np.bool_], sign: int) -> None:
        """Add a frame's values, which are 0 where they are not `good`, or take them off again (`sign` -1)."""
        self._sums[0] += sign * values
        self._sums[1] += sign * values * values
        self._counts += np.where(good, sign, 0).astype(self._counts.dtype)
        self.n += sign
        if self._channels is not None:
            self._channels.add(values, good, sign)

    def merge(self, other: _Sums) -> None:
        """Add all that `other` has gathered."""
        self._sums += other._sums
        self._counts += other._counts
        self.n += other.n
        if self._channels is not None and other._channels is not None:
            self._channels.merge(other._channels)

    def model(self, exposure_s: float, gain: int | None) -> DarkModel:
        """Return the model of these frames."""
        counts = np.where(self._counts > 0, self._counts, np.nan)
        mean = self._sums[0] / counts
        spread = np.maximum(self._sums[1] - counts * mean * mean, 0.0)
        sigma = np.sqrt(spread / np.where(counts > 1, counts - 1, np.nan)) if self.n > 1 else np.zeros_like(mean)
        channels = self._channels
        return DarkModel(
            mean.astype(np.float32),
            sigma.astype(np.float32),
            self.n,
            float(exposure_s),
            gain,
            power=None if channels is None else channels.power(),
            whole=None if channels is None else channels.counts.copy(),
            read_noise=None if channels is None else channels.read_noise(),
        )


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
            return f"darks were taken with gain {dark.gain}; expected {gain}, as preprocess.gain says"
    return None
