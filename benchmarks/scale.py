"""Seconds of an iteration and bytes of a frame as scans grow towards COSMIC's 170 000 patterns of a 4k × 4k object.

``python -m benchmarks.scale --json FILE`` lays frames out on a jittered square grid, always at the same density,
simulates their patterns piece by piece with photon noise as it hands them to the solver, and writes

- ``runs``: for each number of frames that the memory allows

  - ``seconds_per_iteration`` (the fastest of ``--repeats`` passes after two to warm up) and its median,
    ``ms_per_frame``, and ``residual`` of the last pass;
  - ``bytes_per_frame``: growth of the resident memory from before the solver was made to after the passes, over the
    frames; ``bytes_per_frame_planned``: what :func:`bluesky_ptycho.recon.memory.reconstruction_bytes` says beforehand,
    with a snapshot and the half sets of the Fourier ring correlation, which are not made here;

- ``skipped``: numbers of frames that would take more memory than the machine has free, with the bytes planned;
- ``exponent``: slope of log seconds against log frames over the runs (1 is linear);
- ``full``: what 170 000 frames take by the linear law from the largest run, and the bytes planned for them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import scipy.fft

from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import Canvas
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.recon.memory import reconstruction_bytes
from bluesky_ptycho.scan_plan import ScanPlan
from bluesky_ptycho.terminal import ProgressLine

from .conditions import conditions, run_command, write
from .solver import numbers, resident_bytes
from .solver_work import DISTANCE_M, far_field
from .workloads import OBJECT_PIXEL_M, SEED, WAVELENGTH_M, Recipe, known_object, scan_positions, zone_plate_probe

FULL = 170_000
STEP_PX = 9
"""So that 170 000 frames cover 4k × 4k pixels."""
PIECE = 200
"""Frames simulated at once."""
WARM_UP = 2
"""Passes before those that are timed; the probe is released in the second."""
DEFOCUS_M = {128: 11.5e-6, 256: 16e-6}
PHOTONS = {128: 2.5e5, 256: 1.0e6}
RESERVE = 1.25
"""Free memory must exceed what is planned by this factor: the simulation's object and the system need some."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument(
        "--frames", type=numbers, default=[1600, 6400, 25600], metavar="N,M", help="(default: 1600,6400,25600)"
    )
    parser.add_argument("--window", type=int, choices=sorted(DEFOCUS_M), default=128, help="(default: %(default)s)")
    parser.add_argument("--algorithm", default=SolverSettings().algorithm, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="passes timed (default: %(default)s)")
    options = parser.parse_args(arguments)
    write(measure(options), options.json)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    before = conditions()
    sides = [round(np.sqrt(n)) for n in sorted(options.frames)]
    planned = {side: Scan(side, options.window).planned_bytes for side in sides}
    fits = [side for side in sides if planned[side] * RESERVE < psutil.virtual_memory().available]
    runs = {}
    Scan(3, options.window).run(options.algorithm, 1)  # what is compiled and imported is no run's memory
    for side in fits:
        runs[side] = Scan(side, options.window).run(options.algorithm, options.repeats)
    full = Scan(round(np.sqrt(FULL)), options.window)
    return {
        "window": options.window,
        "algorithm": options.algorithm,
        "runs": list(runs.values()),
        "skipped": [{"frames": side**2, "bytes_planned": planned[side]} for side in sides if side not in fits],
        "exponent": exponent([r["frames"] for r in runs.values()], [r["seconds_per_iteration"] for r in runs.values()]),
        "full": {
            "frames": FULL,
            "object": list(full.canvas.shape),
            "bytes_planned": full.planned_bytes,
            "seconds_per_iteration": FULL * 1e-3 * runs[fits[-1]]["ms_per_frame"] if fits else None,
        },
        "conditions": before | {"load_average_1min_after": os.getloadavg()[0]},
    }


def exponent(frames: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Return the slope of log `seconds` against log `frames`, None for fewer than two runs."""
    if len(frames) < 2:
        return None
    return float(np.polyfit(np.log(frames), np.log(seconds), 1)[0])


class Scan:
    """A square scan of `side` × `side` frames of `window` × `window` pixels."""

    def __init__(self, side: int, window: int) -> None:
        self._recipe = Recipe(window, side, STEP_PX, DEFOCUS_M[window], PHOTONS[window])
        self._positions = scan_positions(self._recipe, np.random.default_rng(SEED))
        self._geometry = far_field(window, OBJECT_PIXEL_M, WAVELENGTH_M)
        centres = (self._positions + window // 2) * OBJECT_PIXEL_M
        self._plan = ScanPlan.from_positions(centres, energy_ev=self._geometry.energy_ev, distance_m=DISTANCE_M)

    @property
    def n(self) -> int:
        """Number of frames."""
        return len(self._positions)

    @property
    def canvas(self) -> Canvas:
        """Grid of the object."""
        return Canvas.for_extent(self._plan.extent_m, self._geometry)

    @property
    def planned_bytes(self) -> int:
        """What the solver says beforehand that it takes."""
        return reconstruction_bytes(self.n, self.canvas.shape, self._geometry.shape)

    def run(self, algorithm: str, repeats: int) -> dict[str, Any]:
        """Simulate and reconstruct; return the figures."""
        window = self._recipe.window
        image = known_object(int(self._positions.max()) + window + self._recipe.border)
        probe = zone_plate_probe(window, self._recipe.defocus_m) * np.float32(np.sqrt(self._recipe.photons))
        settings = SolverSettings(algorithm=algorithm, probe_start=1)
        label = f"{self.n} frames"
        before = resident_bytes()
        with IncrementalSolver(self._plan, self._geometry, settings, "numpy", probe=probe) as solver:
            solver.warm_up()
            with ProgressLine(self.n, f"{label}, simulating", "frame") as line:
                self._feed(solver, image, probe, line.show)
            passes = []
            with ProgressLine(WARM_UP + repeats, label, "pass") as line:
                for i in range(WARM_UP + repeats):
                    began = time.perf_counter()
                    residual = solver.step()
                    passes.append(time.perf_counter() - began)
                    line.show(i + 1)
            grown = resident_bytes() - before
        timed = passes[WARM_UP:]
        return {
            "frames": self.n,
            "object": list(self.canvas.shape),
            "seconds_per_iteration": min(timed),
            "seconds_per_iteration_median": statistics.median(timed),
            "ms_per_frame": 1e3 * min(timed) / self.n,
            "residual": residual,
            "bytes_per_frame": grown / self.n,
            "bytes_per_frame_planned": self.planned_bytes / self.n,
        }

    def _feed(
        self, solver: IncrementalSolver, image: np.ndarray, probe: np.ndarray, told: Callable[[int], None]
    ) -> None:
        rng = np.random.default_rng(SEED)
        window = self._recipe.window
        assert self._plan.positions_m is not None
        for first in range(0, self.n, PIECE):
            rows = np.arange(first, min(first + PIECE, self.n))
            corners = self._positions[rows]
            waves = np.stack([probe * image[r : r + window, c : c + window] for r, c in corners])
            waves = np.fft.fftshift(scipy.fft.fft2(waves, norm="ortho", overwrite_x=True), axes=(1, 2))
            photons = rng.poisson(waves.real**2 + waves.imag**2)
            amplitude = np.sqrt(photons.astype(np.float32))
            solver.add(Batch(rows, self._plan.positions_m[rows], amplitude, np.ones((window, window), bool)))
            told(int(rows[-1]) + 1)


if __name__ == "__main__":
    run_command(main)
