"""Do the darks still fit? The overscan of a measured frame tells: no light falls on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .darks import DarkModel
from .layouts import ADC_MASK, DAMAGED_BIT, GAIN_BITS, N_SLOTS, OVERSCAN_SLOTS, Layout, assemble, split_channels

SIGMA_OF_MAD = 1.4826
EVERY_ROW = 4
"""One row of so many is looked at: 120 for each channel tell its level and noise well enough."""


@dataclass(frozen=True)
class DarkDrift:
    """How far the camera has gone from its darks.

    Parameters
    ----------
    level : float
        Change of a channel's level, in σ of the dark frames' overscan; median over the channels.
    noise : float
        Readout noise over that of the darks; median over the channels. NaN where the darks do not tell.
    """

    level: float
    noise: float


def measure_drift(frame: NDArray[np.uint16], dark: DarkModel, layout: Layout) -> DarkDrift:
    """Compare the overscan of a raw frame ``(H, W)`` of an FCCD layout with that of its darks.

    A frame's own slow drift moves a channel by about one σ of the darks, which they show too. The noise is that of
    the difference of a row's two overscan samples, which is free of drift. Medians leave out charge of bright pixels.
    """
    raw, mean, sigma = (assemble(a) if layout.wire else a for a in (frame, dark.mean, dark.sigma))
    gain = GAIN_BITS[1 if dark.gain is None else dark.gain]
    words = _overscan(raw, layout)
    adc = words & ADC_MASK
    lost = ((words & (DAMAGED_BIT | GAIN_BITS[1])) != gain) | (adc == ADC_MASK)
    change = np.where(lost, np.nan, adc.astype(np.float32) - _overscan(mean, layout))
    usable = np.isfinite(change).any(axis=(1, 3))
    change = change.transpose(0, 2, 1, 3)[usable]  # channel, row, slot
    spread = np.nanmedian(_overscan(sigma, layout).transpose(0, 2, 1, 3)[usable], axis=(1, 2))
    level = np.abs(np.nanmedian(change, axis=(1, 2)))
    difference = np.abs(change[..., 0] - change[..., 1])
    known = np.isfinite(difference).any(axis=1)
    noise = SIGMA_OF_MAD / math.sqrt(2) * np.nanmedian(difference[known], axis=1)
    before = None if dark.power is None else _readout_noise(dark.power, dark.n)[usable.reshape(-1)][known]
    return DarkDrift(_median_ratio(level, spread), math.nan if before is None else _median_ratio(noise, before))


def _overscan(assembled: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return overscan samples ``(2, rows / 4, 96, 2)``: half, row and slot in order of readout."""
    columns = np.arange(assembled.shape[-1])
    ends = columns[np.isin(columns % N_SLOTS, OVERSCAN_SLOTS)]
    narrow = assembled[layout.image_rows()[::EVERY_ROW, None], ends]
    return split_channels(narrow, len(OVERSCAN_SLOTS))


def _readout_noise(power: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Return σ of each channel's white noise from its power spectrum, of which tones and drift fill few bins."""
    samples = 2 * (power.shape[1] - 1)
    window = 3.0 / 8.0 * samples  # sum of the squares of the Hann window
    freedom = 2 * max(n - 1, 1)
    median_over_mean = (1 - 2 / (9 * freedom)) ** 3  # of a chi-squared distribution (Wilson and Hilferty)
    return np.sqrt(np.median(power, axis=1).astype(np.float64) / (window * median_over_mean))


def _median_ratio(values: NDArray[Any], units: NDArray[Any]) -> float:
    good = np.isfinite(values) & (units > 0)
    return float(np.median(values[good] / units[good])) if good.any() else math.nan
