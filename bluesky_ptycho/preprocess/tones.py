"""Periodic pick-up of the ADC channels: found in the darks, once.

A channel's samples in the order of readout are a signal sampled at a fixed rate, and a tone is a line in its
spectrum. Lines are few and the same from frame to frame, only their phases differ. So the darks tell the
frequencies, finer than a bin of the transform, and a frame is only projected on those
(:mod:`bluesky_ptycho.preprocess.background`) instead of being transformed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_DARKS_FOR_TONES = 5
"""With fewer darks chance makes lines of its own."""
LOWEST_BIN = 12
"""Slower than this many periods a frame is drift."""
MARGIN = 1.5
"""How much more than its expected leakage is taken out of the spectrum with a line."""


def find_tones(
    power: NDArray[np.float32], n_frames: NDArray[np.int64], threshold: float, limit: int
) -> list[NDArray[np.float64]]:
    """Return each channel's tones, strongest first: ``(n, 2)`` frequency in periods per sequence, amplitude in ADU.

    Parameters
    ----------
    power : ndarray (channels, bins) float32
        Mean power of the dark fluctuations of each channel over the bins of the real transform.
    n_frames : ndarray (channels,) int64
        Darks that each channel's power is the mean of.
    threshold : float
        Power of a line over the median of its channel.
    limit : int
        Most lines of a channel.
    """
    none = np.empty((0, 2))
    if not limit:
        return [none] * len(power)
    floor = np.median(power[:, LOWEST_BIN:], axis=1)
    strong = (power[:, LOWEST_BIN:].max(axis=1) > threshold * floor) & (n_frames >= MIN_DARKS_FOR_TONES)
    return [
        _lines_of(spectrum.astype(np.float64), level, threshold, limit) if level > 0 and found else none
        for spectrum, level, found in zip(power, floor, strong, strict=True)
    ]


def _lines_of(spectrum: NDArray[np.float64], floor: float, threshold: float, limit: int) -> NDArray[np.float64]:
    """Find the strongest line, take it out of the spectrum with its leakage, and go on."""
    spectrum, bins = spectrum.copy(), np.arange(len(spectrum))
    spectrum[:LOWEST_BIN] = 0
    found: list[tuple[float, float]] = []
    while len(found) < limit:
        k = int(spectrum.argmax())
        if spectrum[k] <= threshold * floor:
            break
        frequency = _between_bins(spectrum, k, floor)
        height = (spectrum[k] - floor) / hann_line(k - frequency)
        # Under a Hann window a cosine of amplitude 1 leaves (n / 4)**2, n samples.
        found.append((frequency, 4 * float(np.sqrt(height)) / (2 * (len(spectrum) - 1))))
        spectrum -= MARGIN * height * hann_line(bins - frequency)
        spectrum[max(k - 2, 0) : k + 3] = 0
    return np.array(found)


def hann_line(distance: Any) -> Any:
    """Return the power that a line leaves in a bin at `distance` under a Hann window, 1 at its own place."""
    distance = np.asarray(distance, dtype=np.float64)
    beside = np.where(np.abs(np.abs(distance) - 1) < 1e-9, 0.25, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = (np.sinc(distance) / (1 - distance**2)) ** 2
    return np.where(beside > 0, beside, power)


def _between_bins(spectrum: NDArray[np.float64], k: int, floor: float) -> float:
    """Return the frequency of the line at bin `k` from the amplitudes of the bins beside it."""
    if not 0 < k < len(spectrum) - 1:
        return float(k)
    before, here, after = np.sqrt(np.maximum(spectrum[k - 1 : k + 2] - floor, 0))
    side, sign = (after, 1) if after > before else (before, -1)
    # Under a Hann window the amplitudes at distances d and 1 - d are as (1 + d) to (2 - d).
    ratio = side / here
    return float(k + sign * max(0.0, (2 * ratio - 1) / (1 + ratio)))
