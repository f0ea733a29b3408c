"""One HDF5 file per stream that readers may follow while it grows (SWMR)."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import PreflightError

DATASET = "/entry/data/data"
MARGIN_BYTES = 16 * 2**20
"""Free space that must stay beyond the frames themselves."""


def check_disk_space(directory: Path, needed: int, purpose: str) -> None:
    """Refuse to start what will not fit.

    Raises
    ------
    PreflightError
        If fewer than `needed` bytes (and a margin) are free where `directory` lies.
    """
    existing = next(p for p in (directory, *directory.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < needed + MARGIN_BYTES:
        raise PreflightError(
            f"{purpose} needs {needed / 1e6:.1f} MB in {directory}, where {free / 1e6:.1f} MB are free; "
            f"free {(needed + MARGIN_BYTES - free) / 1e6:.1f} MB or take fewer frames"
        )


class FrameFile:
    """Frames of one stream: data set ``/entry/data/data``, ``(rows, H, W) uint16``.

    Beside the frames lie their exposure (``/entry/data/exposure_s``) and the time of their end
    (``/entry/data/timestamp``, s since 1970), one value a row. All data sets exist before SWMR
    begins, because none can be made afterwards.

    Parameters
    ----------
    path : Path
        Must not exist.
    shape : tuple of int
        Shape ``(H, W)`` of a frame.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path = path.absolute()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(self.path, "x", libver="latest")
        group = self._file.create_group("entry/data")
        group.attrs["signal"] = "data"
        self._frames = group.create_dataset("data", (0, *shape), "<u2", maxshape=(None, *shape), chunks=(1, *shape))
        self._exposures = group.create_dataset("exposure_s", (0,), "<f8", maxshape=(None,), chunks=(512,))
        self._times = group.create_dataset("timestamp", (0,), "<f8", maxshape=(None,), chunks=(512,))
        self._exposures.attrs["units"] = self._times.attrs["units"] = "s"
        self._file.swmr_mode = True
        self.n_rows = 0

    def append(self, frames: NDArray[np.uint16], exposures_s: tuple[float, ...], ended: float) -> int:
        """Store frames ``(K, H, W)``, of which the last ended at `ended`; return the row of the first."""
        first = self.n_rows
        last = first + len(frames)
        # Writing a chunk directly skips HDF5's chunk cache and doubles the rate.
        self._frames.resize(last, axis=0)
        for row, frame in enumerate(frames, start=first):
            self._frames.id.write_direct_chunk((row, 0, 0), np.ascontiguousarray(frame, dtype="<u2"))
        times = ended - np.cumsum((0.0, *exposures_s[:0:-1]))[::-1]
        for dataset, values in ((self._exposures, exposures_s), (self._times, times)):
            dataset.resize(last, axis=0)
            dataset[first:last] = values
        self.n_rows = last
        return first

    def flush(self) -> None:
        """Let readers see all rows."""
        for dataset in (self._frames, self._exposures, self._times):
            dataset.flush()

    def truncate(self, n_rows: int) -> None:
        """Drop the rows from `n_rows` on."""
        if n_rows >= self.n_rows:
            return
        for dataset in (self._frames, self._exposures, self._times):
            dataset.resize(n_rows, axis=0)
        self.n_rows = n_rows
        self.flush()

    def close(self) -> None:
        """Close the file; harmless if it is closed."""
        if self._file:
            self.flush()
            self._file.close()
