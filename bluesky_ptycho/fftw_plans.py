"""FFTW's plans: how long a search pays for a shape is found out once on a machine, and kept with what was found.

FFTW finds its way through a transform by timing. A patient search takes seconds for each shape; where it is cut short
its result is forgotten, and the next plan is a guess that takes three times as long. So the search is made once, what
the next plan takes is timed, and the better effort and FFTW's wisdom are kept in the user's cache directory
(``XDG_CACHE_HOME``): later processes have the same plans at once, and with them equal bits. Of processes that begin
together one searches, and the others wait for what it finds.
"""

from __future__ import annotations

import json
import platform
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .file_lock import take_lock
from .whole_file import write_whole

PATIENCE_S = 3.0
"""For each direction. On a core of 2023, 256 x 256 pixels need two seconds for plans that take three quarters of the
time of those that FFTW finds by measuring in brief; larger shapes are not done by then."""
BRIEF, PATIENT = "FFTW_MEASURE", "FFTW_PATIENT"
SINGLE = 1
"""Place of single precision in pyFFTW's wisdom; some builds lack others, which are not needed here."""
ROUNDS = 12
"""Runs of each plan, of which the quickest counts."""
WAIT_S = 60.0
"""For another process that searches; one that takes longer was stopped."""
_POLL_S = 0.05

_lock = threading.Lock()
_efforts: dict[str, str] = {}


def planned(buffer: NDArray[np.complex64]) -> tuple[Any, Any]:
    """Return FFTW's plans to transform `buffer` in place along its last two axes, forward and back, on one thread.

    Parameters
    ----------
    buffer : ndarray (..., ny, nx) complex64
        Aligned as :func:`pyfftw.zeros_aligned` does. Its content is lost.
    """
    name = " x ".join(map(str, buffer.shape))
    with _lock:
        if plans := _known(name, buffer):
            return plans
        path = _path()
        with _turn(path):
            # Anew before each search: what other processes have found meanwhile is used, and stays in the file.
            _efforts.update(_remembered(path))
            if plans := _known(name, buffer):
                return plans
            _efforts[name] = _better_effort(buffer)
            _remember(path)
            return _plans(buffer, _efforts[name])


def _known(name: str, buffer: NDArray[np.complex64]) -> tuple[Any, Any] | None:
    """Return the plans that FFTW knows, None if there are none yet, or if a program has let it forget."""
    if name in _efforts:
        with suppress(RuntimeError):
            return _plans(buffer, _efforts[name], "FFTW_WISDOM_ONLY")
    return None


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


def _path() -> Path | None:
    """Return the file of this machine and this build of FFTW, None where the user has no directory for it.

    Homes are shared by machines with other processors, and builds do not take each other's wisdom.
    """
    import platformdirs
    import pyfftw

    try:
        cache = Path(platformdirs.user_cache_dir("bluesky_ptycho"))
    except RuntimeError:  # a user without a home, as containers have
        return None
    if not cache.is_absolute():  # the same, of an older platformdirs
        return None
    build, _, _ = pyfftw.export_wisdom()[SINGLE].partition(b"\n")
    return cache / f"fftw-{platform.node() or 'here'}-{zlib.crc32(build):08x}.json"


@contextmanager
def _turn(path: Path | None) -> Iterator[None]:
    """Keep out other processes while one of them searches and writes `path`; some places know no locks."""
    with ExitStack() as held:
        with suppress(OSError):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = held.enter_context(path.with_suffix(".lock").open("ab"))
                deadline = time.monotonic() + WAIT_S
                while not take_lock(file) and time.monotonic() < deadline:
                    time.sleep(_POLL_S)
        yield


def _remembered(path: Path | None) -> dict[str, str]:
    """Return the efforts by shape that `path` tells, if FFTW takes the wisdom beside them."""
    import pyfftw

    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
        told = json.loads("" if path is None else path.read_text(encoding="ascii"))
        efforts = {str(name): BRIEF if effort == BRIEF else PATIENT for name, effort in told["efforts"].items()}
        if pyfftw.import_wisdom((b"", told["wisdom"].encode("ascii"), b""))[SINGLE]:
            return efforts
    return {}


def _remember(path: Path | None) -> None:
    import pyfftw

    told = {"efforts": _efforts, "wisdom": pyfftw.export_wisdom()[SINGLE].decode("ascii")}
    with suppress(OSError):  # a home that cannot be written to costs each process its own search
        if path is not None:
            write_whole(path, json.dumps(told, indent=1).encode("ascii"))
