"""The wave that a zone plate sends to the sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..scan_plan import Illumination

DEFAULT_ILLUMINATION = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=80e-6, defocus_m=12e-6)
MAX_DEFOCUS_M = 20e-6
"""Beyond it 2 % of the power leaves the solver's window of 240 pixels of 6.5 nm."""

EDGE = 0.08
"""Softness of the pupil's edges, in parts of its radius; a hard edge sends light out of the window."""


def zone_plate_probe(
    shape: tuple[int, int], pixel_m: tuple[float, float], wavelength_m: float, illumination: Illumination
) -> NDArray[np.complex64]:
    """Return the wave at the sample, ``shape`` complex64, of unit power.

    The pupil is an annulus in Fourier space, its phase that of a spherical wave which is
    ``defocus_m`` past the focus: exp(-i pi lambda defocus q^2).

    Parameters
    ----------
    shape : tuple of int
        Rows and columns; the beam axis is at ``[ny // 2, nx // 2]``.
    pixel_m : tuple of float
        Pixel pitch ``(y, x)`` in m.
    wavelength_m : float
        Wavelength in m.
    illumination : Illumination
        The zone plate.

    Raises
    ------
    SettingsError
        If stop or defocus is out of range.
    """
    if not 0 <= illumination.stop_m < illumination.diameter_m:
        raise SettingsError(f"illumination.stop_m is {illumination.stop_m}; expected 0 <= value < diameter_m")
    if abs(illumination.defocus_m) > MAX_DEFOCUS_M:
        raise SettingsError(
            f"illumination.defocus_m is {illumination.defocus_m}; expected |value| <= {MAX_DEFOCUS_M} "
            "(the probe must fit the solver's window)"
        )
    frequency = [np.fft.fftfreq(n, d) for n, d in zip(shape, pixel_m, strict=True)]
    q = np.hypot(frequency[0][:, None], frequency[1][None, :])
    q_outer = 1 / (2 * illumination.outer_zone_m)
    q_stop = q_outer * illumination.stop_m / illumination.diameter_m
    pupil = _edge(q_outer - q, EDGE * q_outer)
    if illumination.stop_m > 0:
        pupil = pupil * _edge(q - q_stop, EDGE * q_outer)
    wave = np.fft.ifft2(pupil * np.exp(-1j * np.pi * wavelength_m * illumination.defocus_m * q**2))
    wave = np.fft.fftshift(wave)
    return np.asarray(wave / np.linalg.norm(wave), dtype=np.complex64)


def _edge(inside: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return a smooth step from 0 to 1 of total width ``2 * width`` (a quarter sine, squared)."""
    return np.sin(np.clip(0.5 + inside / (2 * width), 0, 1) * np.pi / 2) ** 2
