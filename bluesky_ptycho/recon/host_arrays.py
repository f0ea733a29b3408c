"""Probes as the CPU kernels take them: complex numbers as pairs of floats, and zeros around for the shift filter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .subpixel import FIRST_TAP, N_TAPS


def pairs(a: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return complex `a` as float32 with real and imaginary parts side by side in the last axis."""
    return a.view(np.float32)


def padded_like(shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Return zeros with the rows and columns that the shift filter reaches for around `shape`."""
    return np.zeros((shape[0], shape[1] + N_TAPS - 1, shape[2] + N_TAPS - 1), np.complex64)


def fill(around: NDArray[np.complex64], probe: NDArray[np.complex64]) -> None:
    """Put `probe` into the middle of what `padded_like` made."""
    ny, nx = probe.shape[-2:]
    last = N_TAPS - 1 + FIRST_TAP
    around[:, last : last + ny, last : last + nx] = probe


def padded(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return `probe` with the zeros around it that the shift filter reaches for."""
    around = padded_like(probe.shape)
    fill(around, probe)
    return around
