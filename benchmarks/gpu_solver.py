"""Speed of the solver's algorithms on a CUDA card, beside its Fourier transforms and its memory.

``python -m benchmarks.gpu_solver --json FILE`` needs the array stack alone (CuPy, NumPy, SciPy, numba), and writes

- ``card``: its name; ``copied_gb_per_s``: bytes read and written by a copy within its memory, per second;
- ``sizes``: for each side of a frame in pixels

  - ``frames``, ``amplitude_bytes_per_frame``, and ``memory_passes_ms``: what one reading or writing of a frame's
    complex64 wave takes at that rate;
  - ``fft_ms``: forward and inverse transform of a frame by cuFFT, batched, in place, with the plan kept;
  - ``algorithms``: for each ``ms_per_frame`` of the fastest of ``--repeats`` passes after four to warm up, its median
    and ``ratio_to_fft``, with frames at whole pixels, and under ``subpixel`` the same between them. Beside each, what
    the solver has chosen by: ``plain_ms`` and ``recorded_ms``, a frame of a pass whose orders are given one by one and
    of one that is a CUDA graph (None where that was not tried), and ``object_sums_ms``, for numbers of frames in a
    chunk, what it takes to add the object's gradients by atomics and by tiles.

Frames are simulated: a zone plate's probe over a smooth random object, photon noise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage

from bluesky_ptycho.backend import Backend, cupy_usable, get_backend
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import ENERGY_TIMES_WAVELENGTH_EV_M, Geometry
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.scan_plan import ScanPlan

from .conditions import conditions, installed, run_command, write
from .workloads import OBJECT_PIXEL_M, SEED, WAVELENGTH_M, zone_plate_probe

ALGORITHMS = ("epie", "rpie", "mpie", "dm", "raar", "admm", "lsqml", "ml")
STEP_PX = 12
DISTANCE_M = 0.1
DEFOCUS_M = 12e-6
PHOTONS = 5e5
WARM_UP = 4
FFT_BYTES = 1 << 28
"""Waves of one timing of the transforms: as many as the solver's chunks hold."""
COPY_BYTES = 1 << 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the figures.

    Raises
    ------
    SystemExit
        With a line that says so, where there is no card.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--sizes", type=_numbers, default=[128, 256], metavar="N,M", help="(default: 128,256)")
    parser.add_argument("--side", type=int, default=40, help="frames along a side of the scan (default: %(default)s)")
    parser.add_argument("--modes", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--algorithms", type=lambda text: text.split(","), default=ALGORITHMS, metavar="A,B")
    parser.add_argument("--repeats", type=int, default=7, help="passes timed (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not cupy_usable():
        sys.exit("benchmarks.gpu_solver needs a CUDA card that CuPy finds; there is none here, so nothing was measured")
    backend = get_backend("cupy")
    properties = backend.xp.cuda.runtime.getDeviceProperties(0)
    write({"card": properties["name"].decode(), **measure(backend, options)}, options.json)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def measure(backend: Backend, options: argparse.Namespace, copied: int = COPY_BYTES) -> dict[str, Any]:
    """Return all figures but the card's name."""
    rate = bytes_per_s(backend, copied, options.repeats)
    sizes = {}
    for window in options.sizes:
        fft_ms = transforms_ms(backend, window, options.modes, options.repeats)
        scans = {subpixel: Scan(window, options.side, subpixel=subpixel) for subpixel in (False, True)}
        found = {}
        for name in options.algorithms:
            whole, between = (
                speed(scan, backend, name, options.modes, options.repeats, fft_ms) for scan in scans.values()
            )
            found[name] = whole | {"subpixel": between}
        sizes[str(window)] = {
            "frames": options.side**2,
            "modes": options.modes,
            "amplitude_bytes_per_frame": 2 * window**2,
            "memory_passes_ms": 1e3 * 8 * options.modes * window**2 / rate,
            "fft_ms": fft_ms,
            "algorithms": found,
        }
    return {
        "copied_gb_per_s": 1e-9 * rate,
        "sizes": sizes,
        "conditions": conditions() | installed("cupy-cuda12x", "cupy-cuda13x"),
    }


def bytes_per_s(backend: Backend, size: int, repeats: int) -> float:
    """Return the bytes read and written in a second by copies of `size` bytes within the device's memory."""
    source = backend.xp.zeros(size // 8, dtype=backend.xp.complex64)
    target = backend.xp.zeros_like(source)

    def copy() -> None:
        target[...] = source

    return 2 * size / best_s(backend, copy, repeats)


def transforms_ms(backend: Backend, window: int, modes: int, repeats: int) -> float:
    """Return the ms that the transform of a frame's waves and the one back take in a chunk of frames."""
    n = max(1, FFT_BYTES // (8 * modes * window**2))
    waves = backend.xp.zeros((n, modes, window, window), dtype=backend.xp.complex64)

    def pair() -> None:
        backend.ifft2(backend.fft2(waves, overwrite=True), overwrite=True)

    return 1e3 * best_s(backend, pair, repeats) / n


def best_s(backend: Backend, do: Callable[[], Any], repeats: int) -> float:
    """Return the seconds of the fastest of several runs after a first one."""
    do()
    return min(seconds_of(backend, do) for _ in range(repeats))


def seconds_of(backend: Backend, do: Callable[[], Any]) -> float:
    """Return how long the device takes for what is done."""
    backend.synchronize()
    began = time.perf_counter()
    do()
    backend.synchronize()
    return time.perf_counter() - began


class Scan:
    """Simulated frames on a jittered grid of `side` by `side` positions."""

    def __init__(self, window: int, side: int, *, subpixel: bool) -> None:
        rng = np.random.default_rng(SEED)
        steps = STEP_PX * np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
        corners = steps + rng.integers(0, STEP_PX // 3, steps.shape)
        extent = int(corners.max()) + window
        field = scipy.ndimage.gaussian_filter(rng.standard_normal((2, extent, extent)), (0, 2, 2))
        field /= np.abs(field).max()
        sample = ((1 - 0.3 * np.abs(field[0])) * np.exp(1j * field[1])).astype(np.complex64)
        self.probe = zone_plate_probe(window, DEFOCUS_M) * np.float32(np.sqrt(PHOTONS))
        windows = np.stack([sample[r : r + window, c : c + window] for r, c in corners])
        far = scipy.fft.fftshift(scipy.fft.fft2(self.probe * windows, norm="ortho"), axes=(1, 2))
        self.amplitude = np.sqrt(rng.poisson(np.abs(far) ** 2)).astype(np.float32)
        # Where the frames lie between the pixels matters for the work, not for the time of a pass.
        fractions = rng.uniform(0.1, 0.9, corners.shape) if subpixel else 0.0
        self.positions_m = (corners + fractions + window // 2) * OBJECT_PIXEL_M
        pixel = WAVELENGTH_M * DISTANCE_M / (window * OBJECT_PIXEL_M)
        energy = ENERGY_TIMES_WAVELENGTH_EV_M / WAVELENGTH_M
        self.geometry = Geometry(energy, DISTANCE_M, (pixel, pixel), (window, window))
        self.plan = ScanPlan.from_positions(self.positions_m, energy_ev=energy, distance_m=DISTANCE_M)

    def solver(self, backend: Backend, settings: SolverSettings) -> IncrementalSolver:
        """Return a solver that holds all frames."""
        solver = IncrementalSolver(self.plan, self.geometry, settings, backend, probe=self.probe)
        mask = np.ones(self.geometry.shape, bool)
        solver.add(Batch(np.arange(len(self.amplitude)), self.positions_m, self.amplitude, mask))
        return solver


def speed(scan: Scan, backend: Backend, algorithm: str, modes: int, repeats: int, fft_ms: float) -> dict[str, Any]:
    """Return the figures of one algorithm."""
    with scan.solver(backend, SolverSettings(algorithm=algorithm, modes=modes, probe_start=1)) as solver:
        solver.warm_up()
        solver.step(WARM_UP)
        passes = [1e3 * seconds_of(backend, solver.step) / solver.n_frames for _ in range(repeats)]
        sums, known = solver._engine.object_sums.seconds, solver._state.memory.get("replays")
        ways = (known.plain_s, known.replayed_s) if known else ([], [])
        plain, recorded = (1e3 * min(way) / solver.n_frames if way else None for way in ways)
    return {
        "plain_ms": plain,
        "recorded_ms": recorded,
        "object_sums_ms": {str(n): [1e3 * each for each in both] for n, both in sums.items()},
        "ms_per_frame": min(passes),
        "ms_per_frame_median": statistics.median(passes),
        "ratio_to_fft": min(passes) / fft_ms,
    }


if __name__ == "__main__":
    run_command(main)
