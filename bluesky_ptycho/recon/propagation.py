"""Free space as a filter of spatial frequencies.

Filters are ``(ny, nx) complex64`` with zero frequency at [0, 0] and are divided by the number of pixels, so that an
unnormalised transform, the filter and an unnormalised transform back keep the energy.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry


def spatial_frequencies(shape: tuple[int, int], pixel_m: tuple[float, float]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return q_y ``(ny, 1)`` and q_x ``(1, nx)`` in 1/m, zero at [0, 0]."""
    (ny, nx), (dy, dx) = shape, pixel_m
    return np.fft.fftfreq(ny, dy)[:, None], np.fft.fftfreq(nx, dx)[None, :]


def near_field(geometry: Geometry) -> NDArray[np.complex64]:
    """Return the way from the sample to a near-field detector, of the parallel beam that `geometry` is alike to.

    The filter is ``exp(-i pi wavelength z (q_y**2 + q_x**2))`` with the effective distance z (Goodman, Introduction to
    Fourier Optics, eq. 4-20, without the constant phase).
    """
    qy, qx = spatial_frequencies(geometry.shape, geometry.object_pixel_m)
    phase = -np.pi * geometry.wavelength_m * geometry.effective_distance_m * (qy**2 + qx**2)
    return np.asarray(np.exp(1j * phase) / phase.size, dtype=np.complex64)


def warn_of_undersampling(geometry: Geometry) -> None:
    """Warn where the phase of :func:`near_field` rises by more than pi between neighbouring frequencies.

    What the finest structures of the sample scatter then goes beyond the window, and comes in again on its other side.
    """
    reach = geometry.wavelength_m * geometry.effective_distance_m
    most = min(n * pixel**2 for n, pixel in zip(geometry.shape, geometry.object_pixel_m, strict=True))
    if reach > most:
        warnings.warn(
            f"the near field is undersampled: wavelength * effective distance is {reach:.3g} m²; expected at most "
            f"pixels * object pixel² = {most:.3g} m², so take more pixels, or the far field",
            stacklevel=3,
        )


def angular_spectrum(geometry: Geometry, distance_m: float) -> NDArray[np.complex64]:
    """Return free space over `distance_m` at the sample (Goodman, eq. 3-74, without the constant phase).

    Frequencies above 1 / wavelength, which do not propagate, keep their energy, so that the conjugate is the way back.
    """
    qy, qx = spatial_frequencies(geometry.shape, geometry.object_pixel_m)
    axial = np.sqrt(np.maximum(1 - geometry.wavelength_m**2 * (qy**2 + qx**2), 0)) - 1
    phase = 2 * np.pi * distance_m / geometry.wavelength_m * axial
    return np.asarray(np.exp(1j * phase) / phase.size, dtype=np.complex64)


def shift_back(
    fractions: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Return the factors along y ``(..., ny)`` and x ``(..., nx)`` that shift a wave by minus `fractions` ``(..., 2)``.

    Where the probe is shifted to meet the object between its pixels, the exit wave lies beside its place in the beam.
    A far-field pattern does not tell; a near-field one would be shifted with it.
    """
    return tuple(  # type: ignore[return-value]
        np.exp(2j * np.pi * fractions[..., axis, None] * np.fft.fftfreq(n)).astype(np.complex64)
        for axis, n in enumerate(shape)
    )
