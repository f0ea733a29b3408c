"""A small known near-field measurement, made on a grid twice as fine as the solver's.

Positions lie on half pixels of the solver. Waves are multiplied and brought to the detector on the fine grid, by the
exact angular spectrum; nothing here comes from the package's own model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.recon.metrics import object_nrmse
from bluesky_ptycho.scan_plan import ScanPlan

SIZE, FINE = 48, 2
ENERGY_EV = 12_000.0
WAVELENGTH_M = 1.239841984e-6 / ENERGY_EV
PIXEL_M = 0.2e-6
REACH_M = 0.005
"""Distance in a parallel beam."""

FOCUS_TO_SAMPLE_M = 0.00525
MAGNIFICATION = 21.0
"""In the diverging beam: its effective distance, z1 (M - 1) / M, is REACH_M too."""

PARALLEL = Geometry(ENERGY_EV, REACH_M, (PIXEL_M, PIXEL_M), (SIZE, SIZE), "near")
DIVERGING = Geometry(
    ENERGY_EV, FOCUS_TO_SAMPLE_M * (MAGNIFICATION - 1), (PIXEL_M * MAGNIFICATION,) * 2, (SIZE, SIZE), "near",
    FOCUS_TO_SAMPLE_M,
)  # fmt: skip


def angular_spectrum(wave, distance_m, pixel_m):
    """Return `wave` a distance further on, without evanescent waves."""
    fy, fx = (np.fft.fftfreq(n, pixel_m) for n in wave.shape)
    axial = np.sqrt(np.maximum(1 / WAVELENGTH_M**2 - fy[:, None] ** 2 - fx**2, 0))
    return np.fft.ifft2(np.fft.fft2(wave) * np.exp(2j * np.pi * distance_m * (axial - 1 / WAVELENGTH_M)))


@dataclass(frozen=True)
class NearProblem:
    """Patterns of a known object and probe; corners in half pixels."""

    corners: np.ndarray
    object: np.ndarray
    probe: np.ndarray
    patterns: np.ndarray

    @property
    def positions_m(self):
        return (self.corners / FINE + SIZE // 2) * PIXEL_M

    def batch(self):
        amplitude = np.sqrt(self.patterns).astype(np.float32)
        return Batch(np.arange(len(amplitude)), self.positions_m, amplitude, np.ones((SIZE, SIZE), bool))

    def solver(self, *, probe=None, geometry=PARALLEL, backend="numpy", positions_m=None, **settings):
        batch = self.batch()
        positions_m = batch.positions_m if positions_m is None else positions_m
        plan = ScanPlan.from_positions(positions_m, energy_ev=ENERGY_EV, distance_m=geometry.distance_m)
        solver = IncrementalSolver(plan, geometry, SolverSettings.from_mapping(settings), backend, probe=probe)
        solver.add(Batch(batch.seq_nums, positions_m, batch.amplitude, batch.mask))
        return solver

    def on_canvas(self, canvas):
        """Return the slices of the canvas on which the known object lies."""
        first = np.rint(canvas.corners_px(self.positions_m[:1])[0] - self.corners[0] / FINE).astype(int)
        rows, cols = self.object.shape
        return np.s_[first[0] : first[0] + rows, first[1] : first[1] + cols]

    def error(self, solver):
        """Error in the scanned box."""
        snapshot = solver.snapshot()
        found = snapshot.object[self.on_canvas(snapshot.canvas)]
        return object_nrmse(found, self.object, np.s_[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2])


def make_near_problem(n_side=7, step=8, seed=0, photons=1e6):
    """Return a problem without noise, the beam a disc with speckle."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n_side) * step] * 2, indexing="ij"), -1).reshape(-1, 2)
    corners = grid + rng.integers(-3, 4, grid.shape)
    corners -= corners.min(axis=0)
    corners[0] = 0
    window, rows = SIZE * FINE, int(corners.max()) + SIZE * FINE
    field = ndimage.gaussian_filter(rng.standard_normal((2, rows, rows)), (0, 4, 4))
    field /= np.abs(field).max()
    sample = (1 - 0.3 * np.abs(field[0])) * np.exp(1.5j * field[1])
    y, x = np.mgrid[:window, :window] - window // 2
    rough = ndimage.gaussian_filter(rng.standard_normal((window, window)), 6)
    probe = np.exp(-((np.hypot(y, x) / 24) ** 4) + 2j * rough / np.abs(rough).max())
    probe *= np.sqrt(photons / (np.abs(probe[::FINE, ::FINE]) ** 2).sum())
    patterns = []
    for a, b in corners:
        wave = angular_spectrum(probe * sample[a : a + window, b : b + window], REACH_M, PIXEL_M / FINE)
        patterns.append(np.abs(wave[::FINE, ::FINE]) ** 2)
    coarse = (a[::FINE, ::FINE].astype(np.complex64) for a in (sample, probe))
    return NearProblem(corners, *coarse, np.stack(patterns))
