"""A small known problem for the solver, made without the package's own forward model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.recon.metrics import object_nrmse
from bluesky_ptycho.scan_plan import ScanPlan

SIZE = 32
ENERGY_EV = 800.0
DISTANCE_M = 0.1
GEOMETRY = Geometry(ENERGY_EV, DISTANCE_M, (240e-6, 240e-6), (SIZE, SIZE))
PIXEL_M = GEOMETRY.object_pixel_m[0]


@dataclass(frozen=True)
class Problem:
    """Patterns of a known object and probe at whole-pixel positions."""

    corners: np.ndarray
    object: np.ndarray
    probe: np.ndarray
    patterns: np.ndarray

    @property
    def positions_m(self):
        return (self.corners + SIZE // 2) * PIXEL_M

    @property
    def plan(self):
        return ScanPlan.from_positions(self.positions_m, energy_ev=ENERGY_EV, distance_m=DISTANCE_M)

    def batch(self, which=slice(None)):
        n = len(self.corners)
        which = np.arange(n)[which]
        amplitude = np.sqrt(self.patterns[which]).astype(np.float32)
        return Batch(which + 1, self.positions_m[which], amplitude, np.ones((SIZE, SIZE), bool))

    def solver(self, *, probe=None, backend="numpy", **settings):
        given = self.probe if probe is None else probe
        return IncrementalSolver(self.plan, GEOMETRY, SolverSettings.from_mapping(settings), backend, probe=given)

    def on_canvas(self, solver):
        """Return the known object cut out of, and its slices on, the solver's canvas."""
        shift = np.rint(solver.canvas.corners_px(self.positions_m)[0]).astype(int) - self.corners[0]
        rows, cols = self.object.shape
        return np.s_[shift[0] : shift[0] + rows, shift[1] : shift[1] + cols]

    def error(self, solver):
        """Error in the scanned box; complex factor, phase ramp and subpixel shift are not determined."""
        found = solver.snapshot().object[self.on_canvas(solver)]
        return object_nrmse(found, self.object, np.s_[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2])


def make_problem(photons=None, n_side=7, step=4, seed=0, jitter=1, probe=None):
    """Return a problem; without `photons` the patterns have no noise (1e6 photons a frame)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n_side) * step] * 2, indexing="ij"), -1).reshape(-1, 2)
    corners = grid + rng.integers(-jitter, jitter + 1, grid.shape)
    corners -= corners.min(axis=0)
    rows = int(corners.max()) + SIZE
    field = ndimage.gaussian_filter(rng.standard_normal((2, rows, rows)), (0, 1.5, 1.5))
    field /= np.abs(field).max()
    sample = (1 - 0.4 * np.abs(field[0])) * np.exp(1.5j * field[1])
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    r = np.hypot(y, x)
    probe = np.exp(-((r / 6.0) ** 2)) * np.exp(0.06j * r**2) if probe is None else np.array(probe, complex)
    probe *= np.sqrt((photons or 1e6) / (np.abs(probe) ** 2).sum())
    windows = np.stack([sample[a : a + SIZE, b : b + SIZE] for a, b in corners])
    waves = np.fft.fftshift(np.fft.fft2(probe * windows, norm="ortho"), axes=(1, 2))
    patterns = np.abs(waves) ** 2
    patterns = rng.poisson(patterns) if photons else patterns
    return Problem(corners, sample.astype(np.complex64), probe.astype(np.complex64), patterns)
