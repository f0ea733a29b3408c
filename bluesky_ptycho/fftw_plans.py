"""FFTW's plans: how long a search pays for a shape is found out once on a machine, and kept with what was found.

FFTW finds its way through a transform by timing. A patient search takes seconds for each shape; where it is cut short
its result is forgotten, and the next plan is a guess that takes three times as long. So the search is made once, what
the next plan takes is timed, and the better effort and FFTW's wisdom are kept in the user's cache directory
(``XDG_CACHE_HOME``): later processes have the same plans at once, and with them equal bits.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .whole_file import write_whole

PATIENCE_S = 3.0
"""For each direction. On a core of 2023, 256 x 256 pixels need two seconds for plans that take three quarters of the
time of those that FFTW finds by measuring in brief; larger shapes are not done by then."""
BRIEF, PATIENT = "FFTW_MEASURE", "FFTW_PATIENT"
ROUNDS = 12
"""Runs of each plan, of which the quickest counts."""

_lock = threading.Lock()
_efforts: dict[str, str] = {}
_read: list[Path] = []


def planned(buffer: NDArray[np.complex64]) -> tuple[Any, Any]:
    """Return FFTW's plans to transform `buffer` in place along its last two axes, forward and back, on one thread.

    Parameters
    ----------
    buffer : ndarray (..., ny, nx) complex64
        Aligned as :func:`pyfftw.zeros_aligned` does. Its content is lost.
    """
    name = " x ".join(map(str, buffer.shape))
    with _lock:
        if (path := _path()) not in _read:
            _read.append(path)
            _efforts.update(_remembered(path))
        if name in _efforts:
            with suppress(RuntimeError):  # FFTW's, where a program has let it forget
                return _plans(buffer, _efforts[name], "FFTW_WISDOM_ONLY")
        _efforts[name] = _better_effort(buffer)
        _remember(path)
        return _plans(buffer, _efforts[name])


def _plans(buffer: NDArray[np.complex64], effort: str, *more: str) -> tuple[Any, Any]:
    import pyfftw

    def plan(direction: str) -> Any:
        limit = PATIENCE_S if effort == PATIENT else None
        axes = (buffer.ndim - 2, buffer.ndim - 1)
        return pyfftw.FFTW(
            buffer, buffer, axes=axes, direction=direction, flags=(effort, *more), threads=1, planning_timelimit=limit
        )

    return plan("FFTW_FORWARD"), plan("FFTW_BACKWARD")


def _better_effort(buffer: NDArray[np.complex64]) -> str:
    """Search, and return the effort that makes the quicker plans the second time: what a lane gets."""
    import pyfftw

    _plans(buffer, BRIEF)
    wisdom = pyfftw.export_wisdom()
    plans = {BRIEF: _plans(buffer, BRIEF)}
    _plans(buffer, PATIENT)
    with suppress(RuntimeError):  # cut short: such plans may be quick, but nobody can have them again
        plans[PATIENT] = _plans(buffer, PATIENT, "FFTW_WISDOM_ONLY")
    buffer[:] = 0  # the search leaves what may not be finite
    seconds = dict.fromkeys(plans, float("inf"))
    for _ in range(ROUNDS):
        for effort, (forward, inverse) in plans.items():
            began = time.perf_counter()
            forward.execute()
            inverse.execute()
            seconds[effort] = min(seconds[effort], time.perf_counter() - began)
    if seconds.get(PATIENT, float("inf")) < seconds[BRIEF]:
        return PATIENT
    pyfftw.forget_wisdom()
    pyfftw.import_wisdom(wisdom)
    return BRIEF


def _path() -> Path:
    """Return the file of this machine: homes are shared by machines with other processors."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "bluesky_ptycho" / f"fftw-{platform.node() or 'here'}.json"


def _remembered(path: Path) -> dict[str, str]:
    """Return the efforts by shape that `path` tells, if FFTW takes the wisdom beside them."""
    import pyfftw

    with suppress(OSError, ValueError, TypeError, LookupError):
        told = json.loads(path.read_text(encoding="ascii"))
        efforts = {str(name): BRIEF if effort == BRIEF else PATIENT for name, effort in dict(told["efforts"]).items()}
        if all(pyfftw.import_wisdom(tuple(text.encode("ascii") for text in told["wisdom"]))):
            return efforts
    return {}


def _remember(path: Path) -> None:
    import pyfftw

    told = {"efforts": _efforts, "wisdom": [wisdom.decode("ascii") for wisdom in pyfftw.export_wisdom()]}
    with suppress(OSError):  # a home that cannot be written to costs each process its own search
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(told, indent=1).encode("ascii"))
