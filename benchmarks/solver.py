"""Speed, quality and memory of the solver's algorithms, beside the Fourier transforms that they need and beside peers.

``python -m benchmarks.solver --json FILE`` runs every registered algorithm on a workload of :mod:`benchmarks.workloads`
(whole-pixel positions, the workload's first probe) and writes

- ``fft_floor_ms``, ``fft_library``: forward and inverse transform of one frame on all threads of the process, by the
  fastest library (:mod:`benchmarks.fft_floor`); the best of all repeats of the run; ``fft_ms`` has all libraries;
- ``algorithms``: for each, and for the solver's ``default`` schedule (``default_algorithm``)

  - ``ms_per_frame``: wall time of the fastest of ``--repeats`` passes over all frames, after warm-up and the passes
    below, divided by the frames; ``ms_per_frame_median`` of the same passes;
  - ``ratio_to_floor``: median of the ratios of each pass to the floor measured just before and after it, as the speed
    of a shared machine drifts; ``ratio_to_best_floor``: ``ms_per_frame / fft_floor_ms``;
  - ``object_nrmse``, ``seconds``, ``cpu_seconds``: error by :mod:`benchmarks.metric`, wall and CPU time of the passes
    alone, after each of ``--iterations`` passes;
  - ``passes_to_error``, ``seconds_to_error``, ``cpu_seconds_to_error``: until an error was reached (seen at the
    checkpoints of :mod:`benchmarks.convergence`), null if it was not;
  - ``memory_bytes_per_frame``: growth of the resident memory from before the solver was made, over the frames;
  - ``subpixel``: speed, and error after the first of ``--iterations`` passes, on the same workload measured at
    positions between the pixels;

- ``modes``: speed by the number of probe modes, with one algorithm;
- ``peers``: with ``--peers``, the same for other programs, or ``error`` if one failed: see :mod:`benchmarks.peers`;
  ``peers_left_out`` says why; on ``big`` they are only timed unless ``--peer-iterations`` asks for more;
- ``memory_bytes_per_frame``: that of the default algorithm; ``memory_bytes_per_frame_planned`` is what
  :func:`bluesky_ptycho.recon.memory.reconstruction_bytes` says, ``amplitude_bytes_per_frame`` the frames alone.

A quiet machine is needed; ``conditions`` tells the load before and after. ``taskset`` limits the threads.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bluesky_ptycho.backend import cpu_count
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.recon.memory import BYTES_PER_FRAME_PIXEL, reconstruction_bytes
from bluesky_ptycho.registry import algorithms
from bluesky_ptycho.terminal import ProgressLine

from .conditions import conditions, run_command, write
from .convergence import TARGETS, Convergence, Speed, checkpoints, finite, follow, time_passes
from .fft_floor import FFTFloor
from .peer_runs import engines, left_out, run_peer
from .solver_work import SolverWork, describe
from .workloads import RECIPES

ALGORITHMS = ("epie", "rpie", "mpie", "dm", "raar", "admm", "lsqml", "ml")
MODES = (1, 2, 4)
ALGORITHM_OF_MODES = "mpie"
"""What a pass costs by the number of probe modes is measured with one algorithm: the shares are alike."""
FLOOR_FRAMES = 512
"""Frames of one measurement of the floor: tens of ms."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the figures."""
    options = parse(arguments)
    figures = measure(options)
    write(figures, options.json)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--size", choices=sorted(RECIPES), default="small", help="workload (default: %(default)s)")
    parser.add_argument("--algorithms", type=names, default=ALGORITHMS, metavar="A,B", help="(default: all there are)")
    parser.add_argument("--iterations", type=numbers, default=[10, 20, 50], metavar="N,M", help="(default: 10,20,50)")
    parser.add_argument("--repeats", type=int, default=7, help="passes timed (default: %(default)s)")
    parser.add_argument("--peers", action="store_true", help="run the peers that are installed, too (minutes)")
    parser.add_argument("--peer-iterations", type=numbers, metavar="N,M", help="(default: as above; none on big)")
    parser.add_argument("--peer-repeats", type=int, default=3, help="passes of peers timed (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.peer_iterations is None:
        options.peer_iterations = [] if options.size == "big" else options.iterations
    return options


def names(text: str) -> list[str]:
    """Read a list of names."""
    return [name for name in text.split(",") if name]


def numbers(text: str) -> list[int]:
    """Read a list of positive numbers; an empty one is allowed."""
    found = [int(number) for number in names(text)]
    if min(found, default=1) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected numbers of passes above 0")
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    before = conditions()
    default = SolverSettings().algorithm
    there = [name for name in options.algorithms if name in algorithms]
    methods = {name: name for name in there} | {"default": default}
    work = SolverWork.named(options.size)
    between = SolverWork.named(options.size, subpixel=True)
    first = sorted(options.iterations)[:1]
    passes = sum(max(some, default=0) + options.repeats for some in (options.iterations, first))
    with FFTFloor(work.window, cpu_count(), FLOOR_FRAMES) as floor:
        found = {}
        several = len(MODES) * options.repeats
        with ProgressLine(len(methods) * passes + several, f"solver on {options.size}", "pass") as line:
            for i, (name, method) in enumerate(methods.items()):
                settings = SolverSettings(algorithm=method)
                told = _Told(line, i * passes, name)
                rounded = Run(work, settings, options.iterations, options.repeats, floor, told)
                told = _Told(line, (i + 1) * passes - sum(first) - options.repeats, f"{name}, subpixel")
                found[name] = rounded, Run(between, settings, first, options.repeats, floor, told)
            by_modes = {}
            for i, modes in enumerate(MODES):
                told = _Told(line, len(methods) * passes + i * options.repeats, f"{modes} modes")
                settings = SolverSettings(algorithm=ALGORITHM_OF_MODES, modes=modes)
                by_modes[modes] = Run(work, settings, [], options.repeats, floor, told).speed
        peers = run_peers(options, work.n, floor) if options.peers else {}
        library, floor_ms = floor.best
        entries = {name: _entry(rounded, subpixel, floor_ms, options) for name, (rounded, subpixel) in found.items()}
        return {
            "workload": describe(work, options.size),
            "fft_floor_ms": floor_ms,
            "fft_library": library,
            "fft_ms": floor.ms_per_frame,
            "algorithms": entries,
            "modes": {str(modes): speed.figures(floor_ms) for modes, speed in by_modes.items()},
            "not_registered": sorted(set(options.algorithms) - set(there)),
            "peers": {name: _peer_entry(found, floor_ms, options) for name, found in peers.items()},
            "peers_left_out": left_out() if options.peers else {},
            "memory_bytes_per_frame": entries["default"]["memory_bytes_per_frame"],
            "memory_bytes_per_frame_planned": planned_bytes(work) / work.n,
            "amplitude_bytes_per_frame": BYTES_PER_FRAME_PIXEL * work.window**2,
            "default_algorithm": default,
            "conditions": before | {"load_average_1min_after": os.getloadavg()[0]},
        }


class _Told:
    """Moves a bar that several runs share."""

    def __init__(self, line: ProgressLine, first: int, label: str) -> None:
        self._line, self._first, self._label = line, first, label

    def __call__(self, n: int) -> None:
        self._line.show(self._first + n, self._label)


class Run:
    """One algorithm on one workload: convergence, speed, memory."""

    def __init__(
        self,
        work: SolverWork,
        settings: SolverSettings,
        iterations: Sequence[int],
        repeats: int,
        floor: FFTFloor,
        told: _Told,
    ) -> None:
        rehearse(work, settings)
        stops = checkpoints(iterations)
        passes = max(stops, default=0)
        before = resident_bytes()
        with work.solver(settings) as solver:
            solver.warm_up()
            for batch in work.batches():
                solver.add(batch)
            self.convergence = follow(solver.step, lambda: work.error(solver), stops, told)
            solver.step(max(0, settings.probe_start + 1 - passes))
            self.memory_bytes_per_frame = (resident_bytes() - before) / work.n
            timed = iter(range(passes + 1, passes + repeats + 1))
            self.speed = time_passes(solver.step, work.n, repeats, floor.measure, lambda: told(next(timed)))


def rehearse(work: SolverWork, settings: SolverSettings) -> None:
    """Let everything be compiled and imported that a run needs, so that it does not count as the run's memory."""
    with work.solver(settings) as solver:
        solver.warm_up()
        solver.add(work.batch(np.arange(min(4, work.n))))
        solver.step(settings.probe_start + 2)
        work.error(solver)


def resident_bytes() -> int:
    """Return the memory that this process holds, without what it has freed."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc keeps freed arrays, and the next solver's would lie in them unseen
        trim(0)
    return int(psutil.Process().memory_info().rss)


def planned_bytes(work: SolverWork) -> int:
    """Return what the solver says beforehand that it takes."""
    settings = SolverSettings()
    with work.solver(settings) as solver:
        canvas = solver.canvas.shape
    return reconstruction_bytes(work.n, canvas, (work.window, work.window), settings)


def run_peers(options: argparse.Namespace, frames: int, floor: FFTFloor) -> dict[str, tuple[Speed, Convergence] | str]:
    """Run the peers in turn; return what each took and reached, or how it failed."""
    found = {}
    there = list(engines())
    with ProgressLine(len(there), f"peers on {options.size}", "program") as line:
        for i, (module, engine) in enumerate(there):
            line.show(i, f"{module} {engine}")
            found[f"{module} {engine}"] = run_peer(
                module, engine, options.size, options.peer_iterations, options.peer_repeats, frames, floor.measure
            )
        line.show(len(there))
    return found


def _peer_entry(found: tuple[Speed, Convergence] | str, floor_ms: float, options: argparse.Namespace) -> dict[str, Any]:
    if isinstance(found, str):
        return {"error": found}
    speed, convergence = found
    targets = TARGETS.get(options.size, ())
    return {**speed.figures(floor_ms), **convergence.figures(options.peer_iterations, targets)}


def _entry(rounded: Run, subpixel: Run, floor_ms: float, options: argparse.Namespace) -> dict[str, Any]:
    between = {str(n): finite(subpixel.convergence.errors[n]) for n in sorted(options.iterations)[:1]}
    return {
        **rounded.speed.figures(floor_ms),
        **rounded.convergence.figures(options.iterations, TARGETS.get(options.size, ())),
        "memory_bytes_per_frame": rounded.memory_bytes_per_frame,
        "subpixel": subpixel.speed.figures(floor_ms) | {"object_nrmse": between},
    }


if __name__ == "__main__":
    run_command(main)
