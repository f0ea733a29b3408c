"""Subpixel shifts by short real filters.

A shift by the fraction s of a pixel is a phase ramp exp(-2 pi i f s) in Fourier space. An
eight-tap filter along each axis follows that ramp within 0.5 % for |f| <= 0.3 cycles a pixel
and costs a fraction of the Fourier transform pair that the exact ramp would need for every
frame. A probe fills at most |f| = 0.25 when its cone stays within the inner half of the
detector, which the sampling of the measured *intensity* asks for.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

N_TAPS = 8
FIRST_TAP = -3
"""The taps are samples FIRST_TAP .. FIRST_TAP + N_TAPS - 1."""

PASS_BAND = 0.3
"""Cycles per pixel up to which the filter follows the shift."""

NO_SHIFT = 1e-3
"""Fractions nearer than this to a whole pixel are taken as whole."""


@functools.cache
def _fit() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    frequency = np.linspace(-PASS_BAND, PASS_BAND, 241)
    taps = np.arange(N_TAPS) + FIRST_TAP
    waves = np.exp(-2j * np.pi * frequency[:, None] * taps)
    return frequency, taps.astype(float), np.linalg.pinv(np.concatenate([waves.real, waves.imag]))


def shift_taps(fractions: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the filters that shift by `fractions`.

    Parameters
    ----------
    fractions : ndarray (...,) float64
        Shifts in [0, 1) pixel, towards higher indices.

    Returns
    -------
    ndarray (..., N_TAPS) float32
        ``shifted[i] = sum_k taps[k] * a[i - FIRST_TAP - k]``; least-squares fit in the pass band.
    """
    fractions = np.asarray(fractions, dtype=np.float64)
    frequency, _, inverse = _fit()
    ramp = np.exp(-2j * np.pi * frequency * fractions[..., None])
    return np.asarray(np.concatenate([ramp.real, ramp.imag], axis=-1) @ inverse.T, dtype=np.float32)


def split_corners(corners_px: NDArray[np.float64], subpixel: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Split window corners ``(n, 2)`` into whole pixels and fractions in [0, 1).

    Without `subpixel`, and for fractions within `NO_SHIFT` of a whole pixel, the nearest pixel
    is taken and the fraction is 0.
    """
    nearest = np.rint(corners_px)
    whole = np.floor(corners_px)
    plain = np.full(len(corners_px), not subpixel) | (np.abs(corners_px - nearest) < NO_SHIFT).all(axis=1)
    whole[plain] = nearest[plain]
    fractions = np.where(plain[:, None], 0.0, corners_px - whole)
    return whole.astype(np.int64), fractions
