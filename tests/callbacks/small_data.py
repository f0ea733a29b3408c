"""A small known object and its patterns, made here so that no simulator of the package is trusted."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

WAVELENGTH_M = 1.239841984332e-6 / 800.0

PIXEL_M = WAVELENGTH_M * 0.121 / (64 * 120e-6)
"""Object pixel at 800 eV, 0.121 m, 64 pixels of 120 µm."""


def small_object(rows, seed=0, blur_px=2.5):
    """Return a random complex object of ``(rows, rows)`` pixels, smooth over `blur_px`."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((2, rows, rows)), (0, blur_px, blur_px))
    field /= np.abs(field).max()
    return (1 - 0.4 * np.abs(field[0])) * np.exp(1j * field[1])


def small_probe(size=64, defocus_m=10e-6):
    """Return the focus of a zone plate of 60 nm outermost zones, 240 µm wide, with a 60 µm stop."""
    q = np.fft.fftshift(np.fft.fftfreq(size, PIXEL_M * 64 / size))
    q = np.hypot(q[:, None], q[None])
    outer, dq = 1 / (2 * 60e-9), 1 / (size * PIXEL_M)
    pupil = 1 / (1 + np.exp((q - outer) / (0.4 * dq))) * (q > 0.25 * outer)
    pupil = pupil * np.exp(-1j * np.pi * WAVELENGTH_M * defocus_m * q**2)
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil)))
    return probe / np.sqrt((np.abs(probe) ** 2).sum())


def small_scan(n_side=8, step=3, photons=2e5, seed=0, size=64, blur_px=2.5):
    """Return (positions_m, patterns uint16, object, probe); positions lie on the pixel grid."""
    rng = np.random.default_rng(seed)
    steps = np.arange(n_side) * step
    corners = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    corners = corners + rng.integers(-1, 2, corners.shape)
    corners -= corners.min(axis=0)
    rows = int(corners.max()) + size
    sample = small_object(rows, blur_px=blur_px)
    probe = small_probe(size) * np.sqrt(photons)
    windows = np.stack([sample[r : r + size, c : c + size] for r, c in corners])
    waves = np.fft.fftshift(np.fft.fft2(probe * windows, norm="ortho"), axes=(1, 2))
    patterns = rng.poisson(np.abs(waves) ** 2).astype(np.uint16)
    return (corners + size // 2) * PIXEL_M, patterns, sample, probe
