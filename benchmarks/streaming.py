"""The object error while frames arrive, against that of all frames at once.

``python -m benchmarks.streaming --json FILE`` feeds a workload of :mod:`benchmarks.workloads` in blocks, in each order
of :mod:`benchmarks.orders`, with one pass over all frames that have arrived after each block, and writes

- ``batch``: error of the same settings after 30 passes with all frames from the start, the seconds of them, and the
  error after the solver's tail besides;
- ``orders``: for each

  - ``curve``: fraction arrived → error, in the bounding box of the frames that have arrived, by
    :mod:`benchmarks.metric`;
  - ``at_last_frame``: error after the pass that follows the last block, ``ratio_to_batch`` that over the batch's;
  - ``extra_passes``: passes of the solver's tail, which follow the last frame, until the error is the batch's or less,
    null if ``--extra`` did not suffice; ``after_extra`` has the error after each of them;
  - ``passes_in_all``: passes over all frames that the work while frames came amounts to; ``seconds`` they took.

The error does not depend on the machine; only ``seconds`` need a quiet one.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.terminal import ProgressLine

from .conditions import conditions, run_command, write
from .convergence import finite
from .orders import ORDERS, order_of
from .solver_work import SolverWork, describe
from .workloads import RECIPES

BLOCKS = {"small": 10, "big": 40}
"""Frames that arrive at once."""
BATCH_PASSES = 30
LOOKS = 20
"""Points of a curve."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the figures."""
    options = parse(arguments)
    write(measure(options), options.json)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--size", choices=sorted(RECIPES), default="small", help="workload (default: %(default)s)")
    parser.add_argument("--order", nargs="+", choices=sorted(ORDERS), default=list(ORDERS), help="(default: all)")
    parser.add_argument("--algorithm", help="name in the registry (default: the solver's)")
    parser.add_argument("--schedule", help="algorithms one after the other, as the solver's setting has them")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another setting of the solver, repeatable"
    )
    parser.add_argument("--block", type=int, help="frames that arrive at once (default: 10 on small, 40 on big)")
    parser.add_argument("--extra", type=int, default=4, help="most passes after the last frame (default: %(default)s)")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    method = options.schedule or options.algorithm
    chosen = {"algorithm": method} if method else {}
    settings = SolverSettings.from_mapping(SolverSettings.read_changes(options.set) | chosen)
    before = conditions()
    work = SolverWork.named(options.size)
    block = options.block or BLOCKS.get(options.size, 10)
    each = -(-work.n // block) + options.extra
    with ProgressLine(BATCH_PASSES + each * len(options.order), f"streaming {options.size}", "pass") as line:
        line.show(0, "batch")
        batch = measure_batch(work, settings)
        orders = {}
        for i, order in enumerate(options.order):
            stream = Stream(work.in_order(order_of(order, RECIPES[options.size].grid)), settings, block)
            orders[order] = stream.run(
                batch["object_nrmse"],
                options.extra,
                lambda n, order=order, first=BATCH_PASSES + i * each: line.show(first + n, order),
            )
    return {
        "workload": describe(work, options.size),
        "settings": settings.to_dict(),
        "block": block,
        "batch": batch,
        "orders": orders,
        "conditions": before | {"load_average_1min_after": os.getloadavg()[0]},
    }


def measure_batch(work: SolverWork, settings: SolverSettings) -> dict[str, Any]:
    """Return error and time of all frames at once."""
    with work.solver(settings) as solver:
        solver.warm_up()
        for batch in work.batches():
            solver.add(batch)
        began = time.perf_counter()
        solver.step(BATCH_PASSES)
        seconds = time.perf_counter() - began
        error = work.error(solver)
        solver.finish()
        return {
            "passes": BATCH_PASSES,
            "object_nrmse": error,
            "seconds": seconds,
            "after_tail": {"passes": solver.iteration - BATCH_PASSES, "object_nrmse": work.error(solver)},
        }


class Stream:
    """A workload fed block by block."""

    def __init__(self, work: SolverWork, settings: SolverSettings, block: int) -> None:
        self._work, self._settings, self._block = work, settings, block

    def run(self, batch_error: float, extra: int, told: Callable[[int], None]) -> dict[str, Any]:
        """Feed all frames, go on to the error of the batch, and return the figures."""
        with self._work.solver(self._settings.replace(tail_passes=extra)) as solver:
            curve, seconds, passes = self._feed(solver, told)
            more = self._go_on(solver, lambda n: told(len(curve) + n))
        last = next(reversed(curve.values()))
        n = self._work.n
        looks = sorted({round(i * (len(curve) - 1) / (LOOKS - 1)) for i in range(LOOKS)})
        arrived = list(curve)
        return {
            "curve": {f"{arrived[i] / n:.3f}": finite(curve[arrived[i]]) for i in looks},
            "at_last_frame": finite(last),
            "ratio_to_batch": finite(last / batch_error),
            "extra_passes": next((i for i, e in enumerate([last, *more]) if e <= batch_error), None),
            "after_extra": [finite(e) for e in more],
            "passes_in_all": passes,
            "seconds": seconds,
        }

    def _feed(self, solver: IncrementalSolver, told: Callable[[int], None]) -> tuple[dict[int, float], float, float]:
        """Return the error by frames arrived, the time of adding and passes, and the passes in units of all frames."""
        solver.warm_up()
        curve: dict[int, float] = {}
        seconds, visits = 0.0, 0
        for first in range(0, self._work.n, self._block):
            rows = np.arange(first, min(first + self._block, self._work.n))
            batch = self._work.batch(rows)
            began = time.perf_counter()
            solver.add(batch)
            solver.step()
            seconds += time.perf_counter() - began
            visits += solver.n_frames
            curve[solver.n_frames] = self._work.error(solver, solver.n_frames)
            told(len(curve))
        return curve, seconds, visits / self._work.n

    def _go_on(self, solver: IncrementalSolver, told: Callable[[int], None]) -> list[float]:
        errors: list[float] = []

        def look() -> None:
            errors.append(self._work.error(solver))
            told(len(errors))

        solver.finish(look)
        return errors


if __name__ == "__main__":
    run_command(main)
