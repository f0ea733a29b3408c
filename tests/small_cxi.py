"""A small simulated measurement as a CXI file, written with h5py alone (not with the package's writer)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from benchmarks.workloads import siemens_star, zone_plate_probe

N = 64
PIXEL_M = 10e-9
DISTANCE_M = 0.1
ENERGY_J = 800 * 1.602176634e-19
WAVELENGTH_M = 1.549802e-9
DETECTOR_PIXEL_M = WAVELENGTH_M * DISTANCE_M / (N * PIXEL_M)


@dataclass(frozen=True)
class Measured:
    path: Path
    known: np.ndarray
    corners: np.ndarray
    probe: np.ndarray
    photons: np.ndarray


def write_small_cxi(path: Path, *, photons: float = 1e5, grid: int = 7, step: int = 6, guess: bool = True) -> Measured:
    """Simulate `grid` squared frames of a star and write them; corner (r, c) means translation (c, r, 0) * pixel."""
    rng = np.random.default_rng(5)
    rows, cols = (g.ravel() for g in np.mgrid[:grid, :grid] * step)
    corners = np.stack([rows, cols], axis=1) + rng.integers(0, 3, (grid * grid, 2))
    size = int(corners.max()) + N
    star = siemens_star(size, spokes=14)
    known = (1 - 0.3 * star) * np.exp(-0.8j * np.roll(star, 5, axis=0))
    probe = zone_plate_probe(N, 5e-6) * np.sqrt(photons)
    windows = np.stack([known[r : r + N, c : c + N] for r, c in corners])
    waves = np.fft.fftshift(np.fft.fft2(probe * windows, norm="ortho"), axes=(1, 2))
    frames = rng.poisson(np.abs(waves) ** 2).astype(np.int32)
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        file["entry_1/instrument_1/source_1/energy"] = ENERGY_J
        if guess:
            file["entry_1/instrument_1/source_1/probe_guess"] = probe.astype(np.complex64)
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"] = frames
        detector["distance"] = DISTANCE_M
        detector["x_pixel_size"] = detector["y_pixel_size"] = DETECTOR_PIXEL_M
        detector["mask"] = np.zeros((N, N), np.uint32)
        translation = np.stack([corners[:, 1], corners[:, 0], np.zeros(len(corners))], axis=1) * PIXEL_M
        file["entry_1/sample_1/geometry_1/translation"] = translation
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        file["entry_1/data_1/translation"] = h5py.SoftLink("/entry_1/sample_1/geometry_1/translation")
    return Measured(path, known, corners, probe, frames)
