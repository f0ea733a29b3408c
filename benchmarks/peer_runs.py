"""Runs the peers in turn, each engine in a process of its own, and reads what they wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bluesky_ptycho.backend import cpu_count

from .convergence import Convergence, Speed
from .peers import MODULES, adapter, missing

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE"}
"""No card; and torch's threads sleep while they wait: spinning cost it twice the time where a core had other work."""


def engines() -> Iterator[tuple[str, str]]:
    """Yield the module and the engine of every peer that is installed."""
    for module in MODULES:
        if missing(module) is None:
            yield from ((module, engine) for engine in adapter(module).ENGINES)


def left_out() -> dict[str, str]:
    """Return why peers do not take part."""
    return {module: reason for module in MODULES if (reason := missing(module)) is not None}


def run_peer(
    module: str,
    engine: str,
    size: str,
    iterations: Sequence[int],
    repeats: int,
    frames: int,
    floor: Callable[[], float],
) -> tuple[Speed, Convergence] | str:
    """Run one engine; return its speed and convergence, or what it said as it failed."""
    threads = str(cpu_count())
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out.json"
        command = [
            sys.executable, "-m", "benchmarks.peers", module, engine, "--size", size, "--threads", threads,
            "--repeats", str(repeats), "--out", str(out), "--iterations", *map(str, iterations),
        ]  # fmt: skip
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, threads) | ENVIRONMENT
        before = floor()
        ended = subprocess.run(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, text=True
        )
        beside = (before + floor()) / 2
        if ended.returncode or not out.exists():
            said = ended.stderr.strip().splitlines()
            return said[-1] if said else f"ended with status {ended.returncode}"
        found = json.loads(out.read_text(encoding="utf-8"))
    convergence = Convergence()
    for passes, (error, seconds, cpu_seconds) in found["convergence"].items():
        convergence.note(int(passes), error, seconds, cpu_seconds)
    return Speed(frames, found["passes"], [beside] * len(found["passes"])), convergence
