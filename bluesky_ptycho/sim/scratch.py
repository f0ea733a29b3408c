"""A file of frames that vanishes with the process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class ScratchFrames:
    """Frames of one shape in an unnamed temporary file.

    Plain reads and writes at an offset serve better than a memory map: several threads share
    them, and no fresh page is touched twice.

    Parameters
    ----------
    directory : Path
        Where the space is taken from.
    shape : tuple of int
        Shape ``(H, W)`` of a frame.
    """

    def __init__(self, directory: Path, shape: tuple[int, int]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (closed by close)
        self._bytes = 2 * shape[0] * shape[1]

    def write(self, slot: int, frame: NDArray[np.uint16]) -> None:
        """Store a frame."""
        os.pwrite(self._file.fileno(), memoryview(frame).cast("B"), slot * self._bytes)

    def read(self, slot: int, out: NDArray[np.uint16]) -> None:
        """Read a frame into `out`."""
        os.preadv(self._file.fileno(), [memoryview(out).cast("B")], slot * self._bytes)

    def close(self) -> None:
        """Give the space back."""
        self._file.close()
