"""A workload as the solver takes it: scan plan, geometry, batches, and the error of what it returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import ENERGY_TIMES_WAVELENGTH_EV_M, Geometry
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.scan_plan import ScanPlan

from .metric import evaluate
from .workloads import RECIPES, Workload, make_workload

DISTANCE_M = 0.1
"""Any will do: the detector's pixel follows from the object's."""

BLOCK = 64
"""Frames handed over at once, so that their amplitudes are not held twice."""


def far_field(window: int, object_pixel_m: float, wavelength_m: float) -> Geometry:
    """Return the geometry of square frames whose object pixel is the one given."""
    pixel = wavelength_m * DISTANCE_M / (window * object_pixel_m)
    energy = ENERGY_TIMES_WAVELENGTH_EV_M / wavelength_m
    return Geometry(energy, DISTANCE_M, (pixel, pixel), (window, window))


@dataclass(frozen=True)
class SolverWork:
    """Frames with their positions ``(n, 2) float64`` in pixels (the window's first pixel), and the truth."""

    work: Workload
    positions: np.ndarray

    @classmethod
    def named(cls, name: str, *, subpixel: bool = False) -> Self:
        """Make a workload of :data:`benchmarks.workloads.RECIPES`, with `subpixel` at positions between the pixels."""
        work = make_workload(name)
        positions = work.pos.astype(float)
        if not subpixel:
            return cls(work, positions)
        rng = np.random.default_rng(1)
        positions += rng.uniform(-0.5, 0.5, positions.shape)
        photons = np.empty(work.I.shape, np.uint16)
        for frame, corner, exact in zip(photons, work.pos, positions, strict=True):
            frame[:] = rng.poisson(_pattern(work, corner, exact - corner))
        return cls(replace(work, I=photons), positions)

    @property
    def n(self) -> int:
        """Number of frames."""
        return len(self.positions)

    @property
    def window(self) -> int:
        """Side of a frame in pixels."""
        return self.work.I.shape[-1]

    @property
    def geometry(self) -> Geometry:
        """Geometry of the frames."""
        return far_field(self.window, self.work.dx, self.work.wl)

    @property
    def positions_m(self) -> np.ndarray:
        """Stage positions ``(n, 2) float64`` of the beam axis in m."""
        return (self.positions + self.window // 2) * self.work.dx

    def solver(self, settings: SolverSettings, modes: int = 1) -> IncrementalSolver:
        """Return a solver on the host without frames, which starts from the workload's first probe."""
        geometry = self.geometry
        plan = ScanPlan.from_positions(self.positions_m, energy_ev=geometry.energy_ev, distance_m=DISTANCE_M)
        return IncrementalSolver(plan, geometry, settings.replace(modes=modes), "numpy", probe=self.work.probe0)

    def batch(self, rows: np.ndarray) -> Batch:
        """Return the frames of these rows."""
        amplitude = np.sqrt(self.work.I[rows].astype(np.float32))
        mask = np.ones((self.window, self.window), bool)
        return Batch(np.asarray(rows, np.int64), self.positions_m[rows], amplitude, mask)

    def batches(self) -> Iterator[Batch]:
        """Yield all frames, block by block."""
        for first in range(0, self.n, BLOCK):
            yield self.batch(np.arange(first, min(first + BLOCK, self.n)))

    def in_order(self, order: np.ndarray) -> Self:
        """Return the same work with the frames measured in another order."""
        work = replace(self.work, I=self.work.I[order], pos=self.work.pos[order])
        return replace(self, work=work, positions=self.positions[order])

    def error(self, solver: IncrementalSolver, arrived: int | None = None) -> float:
        """Return the error of the solver's present object, where the first `arrived` frames lie; NaN if not finite."""
        snapshot = solver.snapshot()
        origin = self.positions[0] - snapshot.canvas.corners_px(self.positions_m[:1])[0]
        # A canvas begins at a position, so between the truth's pixels: the fraction is a shift that `evaluate` removes.
        whole = tuple(int(o) for o in np.rint(origin))
        return self.error_of(snapshot.object, (whole[0], whole[1]), arrived)

    def error_of(self, image: np.ndarray, origin: tuple[int, int], arrived: int | None = None) -> float:
        """Return the error of an object whose pixel ``[0, 0]`` is the truth's pixel `origin`."""
        return float(evaluate(image, self.work.obj, self.work.pos[:arrived], self.window, origin=origin)["err"])


def _pattern(work: Workload, corner: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the photons of the probe moved by `shift` pixels, as the workload's own simulation makes them."""
    n = work.I.shape[-1]
    frequency = np.fft.fftfreq(n)
    ramp = np.exp(-2j * np.pi * (frequency[:, None] * shift[0] + frequency * shift[1]))
    probe = np.fft.ifft2(np.fft.fft2(work.probe) * ramp)
    row, col = corner
    wave = np.fft.fftshift(np.fft.fft2(probe * work.obj[row : row + n, col : col + n], norm="ortho"))
    return abs(wave) ** 2


def describe(work: SolverWork, name: str) -> dict[str, Any]:
    """Return what a reader of the figures must know of the workload."""
    recipe = RECIPES[name]
    return {
        "name": name,
        "frames": work.n,
        "window": work.window,
        "object": list(work.work.obj.shape),
        "photons_per_frame": recipe.photons,
    }
