"""Run one engine of one peer, and write what it took and reached: ``python -m benchmarks.peers MODULE ENGINE``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..convergence import Convergence, checkpoints, follow, time_passes
from ..metric import evaluate
from ..workloads import RECIPES, Workload, make_workload
from . import MODULES, Reconstruction, adapter


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", choices=MODULES)
    parser.add_argument("engine")
    parser.add_argument("--size", choices=sorted(RECIPES), required=True)
    parser.add_argument("--iterations", type=int, nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    peer = adapter(options.module)
    limit_threads(options.module, options.threads)
    work = make_workload(options.size)
    figures = run(peer, options.engine, work, options.iterations, options.repeats)
    options.out.write_text(json.dumps(figures), encoding="utf-8")


def limit_threads(module: str, threads: int) -> None:
    """Tell torch how many threads it may use; the others read the environment."""
    if module != "ptylab":
        import torch

        torch.set_num_threads(threads)


def run(peer: Any, engine: str, work: Workload, iterations: list[int], repeats: int) -> dict[str, Any]:
    """Return seconds of the timed passes, and passes → (error, seconds, CPU seconds)."""
    make = peer.ENGINES[engine]
    first = make(work, repeats + 1)
    first.step(1)
    speed = time_passes(first.step, len(work.pos), repeats, lambda: 0.0, lambda: None)
    del first
    found = Convergence()
    runs = [[total] for total in iterations] if peer.ANNEALED else [checkpoints(iterations)]
    for stops in runs:
        if stops:
            one = make(work, stops[-1])
            part = follow(one.step, lambda one=one: error(one, work), stops, lambda _: None)
            for passes, value in part.errors.items():
                found.note(passes, value, part.seconds[passes], part.cpu_seconds[passes])
    rows = {n: (found.errors[n], found.seconds[n], found.cpu_seconds[n]) for n in found.errors}
    return {"passes": speed.passes, "convergence": rows}


def error(reconstruction: Reconstruction, work: Workload) -> float:
    """Return the object error, NaN where the object is not finite."""
    image, origin = reconstruction.object()
    return float(evaluate(np.asarray(image), work.obj, work.pos, work.I.shape[-1], origin=origin)["err"])


if __name__ == "__main__":
    main()
