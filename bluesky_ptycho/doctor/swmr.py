"""Does a file that is being written show its new frames to another process? Tried, not looked up."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from .findings import Finding, bad, good

N_FRAMES = 3
PATIENCE_S = 60.0

_READER = f"""
import sys, time, h5py
with h5py.File(sys.argv[1], "r", libver="latest", swmr=True) as file:
    data = file["frames"]
    print("open", flush=True)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        data.refresh()
        if len(data) == {N_FRAMES} and int(data[-1, 0, 0]) == {N_FRAMES}:
            sys.exit(0)
        time.sleep(0.02)
    sys.exit(f"{{len(data)}} of {N_FRAMES} frames were seen after 20 s")
"""


def check_swmr(directory: Path) -> Iterator[Finding]:
    """Write frames to a file in `directory` while another process reads them."""
    try:
        with tempfile.TemporaryDirectory(dir=directory, prefix=".doctor-") as place:
            problem = _try(Path(place) / "swmr.h5")
    except OSError as error:
        problem = str(error)
    where = f"frames in {directory} are seen by other processes while they are written (SWMR)"
    if problem:
        yield bad(
            "SWMR",
            f"not so: {where}: {problem}",
            "take a local disk, or a file system that keeps POSIX order (not NFS or SMB); where only locking fails, "
            "export HDF5_USE_FILE_LOCKING=FALSE in all sessions",
        )
    else:
        yield good("SWMR", where)


def _try(path: Path) -> str:
    """Return what went wrong, empty where nothing did."""
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("frames", (0, 8, 8), "u2", maxshape=(None, 8, 8), chunks=(1, 8, 8))
        file.swmr_mode = True
        with subprocess.Popen(
            [sys.executable, "-c", _READER, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as reader:
            try:
                assert reader.stdout is not None
                if reader.stdout.readline():  # it has the file open
                    for number in range(1, N_FRAMES + 1):
                        data.resize(number, axis=0)
                        data[-1] = np.full((8, 8), number, dtype=np.uint16)
                        data.flush()
                _, said = reader.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                reader.kill()
                return f"the reader did not answer within {PATIENCE_S:g} s"
            finally:
                with contextlib.suppress(OSError):
                    reader.kill()
    return "" if reader.returncode == 0 else (said.strip().splitlines() or ["the reader failed"])[-1]
