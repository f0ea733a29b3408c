"""A small known measurement of a thick sample: two slices, their patterns made without the package's own model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.scan_plan import ScanPlan

SIZE = 48
GEOMETRY = Geometry(800.0, 0.1, (160e-6, 160e-6), (SIZE, SIZE))
PIXEL_M, WAVELENGTH_M = GEOMETRY.object_pixel_m[0], GEOMETRY.wavelength_m
DEPTH_OF_FIELD_M = 5.2 * PIXEL_M**2 / WAVELENGTH_M
"""Thickness from which one slice does not do (Tsai et al. 2016, eq. 1)."""

DISTANCE_M = 4 * DEPTH_OF_FIELD_M


def fresnel(wave, distance_m):
    """Return `wave` a distance further on: convolution with Fresnel's kernel in a window of twice the size."""
    n = 2 * len(wave)
    f2 = np.add.outer(np.fft.fftfreq(n, PIXEL_M) ** 2, np.fft.fftfreq(n, PIXEL_M) ** 2)
    padded = np.pad(wave, n // 4)
    out = np.fft.ifft2(np.fft.fft2(padded) * np.exp(-1j * np.pi * WAVELENGTH_M * distance_m * f2))
    return out[n // 4 : -n // 4, n // 4 : -n // 4]


@dataclass(frozen=True)
class ThickProblem:
    """Patterns of known slices and probe at whole pixels."""

    corners: np.ndarray
    slices: np.ndarray
    probe: np.ndarray
    patterns: np.ndarray

    @property
    def positions_m(self):
        return (self.corners + SIZE // 2) * PIXEL_M

    def solver(self, *, slices=2, backend="numpy", probe=None, **settings):
        plan = ScanPlan.from_positions(self.positions_m, energy_ev=800.0, distance_m=0.1)
        if slices > 1:
            settings |= {"slices": slices, "slice_distance_m": DISTANCE_M}
        settings = SolverSettings.from_mapping({"subpixel": False} | settings)
        solver = IncrementalSolver(plan, GEOMETRY, settings, backend, probe=self.probe if probe is None else probe)
        amplitude = np.sqrt(self.patterns).astype(np.float32)
        solver.add(Batch(np.arange(len(amplitude)), self.positions_m, amplitude, np.ones((SIZE, SIZE), bool)))
        return solver

    def on_canvas(self, canvas):
        """Return the slices of the canvas on which the known object lies."""
        first = np.rint(canvas.corners_px(self.positions_m[:1])[0] - self.corners[0]).astype(int)
        rows, cols = self.slices.shape[1:]
        return np.s_[first[0] : first[0] + rows, first[1] : first[1] + cols]


def make_thick_problem(n_side=8, step=4, seed=0, photons=1e6):
    """Return a problem without noise: grains of unlike shapes in the two slices."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n_side) * step] * 2, indexing="ij"), -1).reshape(-1, 2)
    corners = grid + rng.integers(-1, 2, grid.shape)
    corners -= corners.min(axis=0)
    corners[0] = 0
    rows = int(corners.max()) + SIZE
    field = np.stack([ndimage.gaussian_filter(rng.standard_normal((rows, rows)), 1.2) for _ in range(2)])
    field = np.clip(field / field.std(axis=(1, 2), keepdims=True), -2, 2)
    slices = np.exp((-0.05 + 0.25j) * field) * 0.95
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    r = np.hypot(y, x)
    probe = np.exp(-((r / 8.0) ** 2) + 0.05j * r**2)
    probe *= np.sqrt(photons / (np.abs(probe) ** 2).sum())
    patterns = []
    for a, b in corners:
        first, second = slices[:, a : a + SIZE, b : b + SIZE]
        wave = fresnel(probe * first, DISTANCE_M) * second
        patterns.append(np.abs(np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))) ** 2)
    return ThickProblem(corners, slices.astype(np.complex64), probe.astype(np.complex64), np.stack(patterns))
