"""Raw FCCD frames whose photons are known, for the preprocessing's benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bluesky_ptycho.preprocess import DarkAccumulator, DarkModel
from bluesky_ptycho.scan_plan import DetectorInfo, ScanPlan
from bluesky_ptycho.sim.fccd_noise import FccdElectronics, FccdNoise

ENERGY_EV = 800.0
N_DARKS = 25
SQUARE, PITCH = 80, 192
"""Sides of lit squares and of the grid they stand on, in raw pixels: every channel keeps pixels without light."""


@dataclass(frozen=True)
class Scene:
    """Frames of one camera.

    Parameters
    ----------
    plan : ScanPlan
    frames : ndarray (n, K, 1040, 1152) uint16
    photons : ndarray (n, 960, 960) float32
        What fell on the pixels during the longest exposure, rows and columns along +q_y and +q_x.
    darks : tuple of DarkModel
    """

    plan: ScanPlan
    frames: np.ndarray
    photons: np.ndarray
    darks: tuple[DarkModel, ...]


def diffraction(total: float = 1e6) -> np.ndarray:
    """Return the expected photons ``(960, 960)`` of a pattern: the zone plate's annulus, and scattering around it."""
    y, x = np.mgrid[:960, :960] - 481.5
    q = np.hypot(y, x)
    pattern = np.where((q > 60) & (q < 208), 1 + 0.5 * x / 208, 0.0) + 0.02 * np.exp(-q / 150)
    return pattern * (total / pattern.sum())


def squares(levels: Sequence[float]) -> np.ndarray:
    """Return squares ``(960, 960)`` of the `levels` in photons a pixel, in turn, on a ground without light."""
    pattern = np.zeros((960, 960))
    for i, (row, column) in enumerate(np.ndindex(960 // PITCH, 960 // PITCH)):
        first = (PITCH - SQUARE) // 2
        y, x = first + row * PITCH, first + column * PITCH
        pattern[y : y + SQUARE, x : x + SQUARE] = levels[i % len(levels)]
    return pattern


def inside(pattern: np.ndarray, level: float, binning: int = 1, margin: int = 4) -> np.ndarray:
    """Return the pixels, after binning, that see `level` and no other level within `margin` raw pixels."""
    same = ndimage.minimum_filter(pattern == level, 2 * margin + 1, mode="nearest")
    n = len(pattern) // binning
    return np.asarray(same.reshape(n, binning, n, binning).all(axis=(1, 3)))


def simulate(
    expected: np.ndarray, n: int, *, exposures_s: Sequence[float] = (0.1,), seed: int = 1, **noise: float
) -> Scene:
    """Take `n` scan points and :data:`N_DARKS` darks for each exposure; `noise` as of `FccdNoise`."""
    electronics = FccdElectronics(FccdNoise(**noise), ENERGY_EV, seed)
    rng = np.random.default_rng(seed)
    longest = max(exposures_s)
    frames = np.empty((n, len(exposures_s), *electronics.shape), dtype=np.uint16)
    photons = np.empty((n, 960, 960), dtype=np.float32)
    for i in range(n):
        for k, exposure in enumerate(exposures_s):
            counts = rng.poisson(expected * (exposure / longest)).astype(np.float32)
            electronics.raw(counts, rng, frames[i, k])
            if exposure == longest:
                photons[i] = counts
    darks, empty = [], np.zeros((960, 960), dtype=np.float32)
    raw = np.empty((1, *electronics.shape), dtype=np.uint16)
    for exposure in exposures_s:
        accumulator = DarkAccumulator("fccd-assembled")
        for _ in range(N_DARKS):
            electronics.raw(empty, rng, raw[0])
            accumulator.add(raw)
        darks.append(accumulator.model(exposure))
    shape = (electronics.shape[0], electronics.shape[1])
    detector = DetectorInfo(
        "fccd", "image", "index", shape, (30e-6, 30e-6), "fccd-assembled", electronics.noise.adu_per_ev
    )
    plan = ScanPlan(
        n, (0.0, 1e-6, 0.0, 1e-6), ENERGY_EV, 0.121, detector=detector, exposures_s=tuple(exposures_s), n_darks=N_DARKS
    )
    return Scene(plan, frames, photons, tuple(darks))
