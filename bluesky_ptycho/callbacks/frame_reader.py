"""Read raw frames from an HDF5 file that is still being written (SWMR)."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from .document_keys import FrameSource


class FrameReader:
    """Rows of one frame data set.

    Parameters
    ----------
    source : FrameSource
        File, data set and locking flag (a reader must use the writer's).
    patience_s : float
        How long to wait for rows that a document announced and the file system does not show yet.
    """

    def __init__(self, source: FrameSource, patience_s: float = 10.0) -> None:
        self._source = source
        self._patience_s = patience_s
        self._file: h5py.File | None = None
        self._data: h5py.Dataset | None = None

    def read(self, rows: NDArray[np.intp], n_each: int) -> NDArray[np.uint16]:
        """Return ``(len(rows), n_each, H, W)`` frames: `n_each` consecutive rows from each of `rows`.

        Raises
        ------
        MetadataError
            If file or data set cannot be opened, or rows stay absent beyond the patience.
        """
        data = self._open()
        self._await_rows(data, int(rows.max()) + n_each)
        frames = np.empty((len(rows), n_each, *data.shape[1:]), dtype=data.dtype)
        first = 0
        while first < len(rows):  # runs of consecutive points are read in one go
            last = first + 1
            while last < len(rows) and rows[last] == rows[last - 1] + n_each:
                last += 1
            low, high = int(rows[first]), int(rows[last - 1]) + n_each
            target = frames[first:last].reshape(-1, *data.shape[1:])
            data.read_direct(target, np.s_[low:high])
            first = last
        return frames

    def _open(self) -> h5py.Dataset:
        if self._data is not None:
            return self._data
        source = self._source
        if not source.path.is_file():
            raise MetadataError(f"frames file {source.path} does not exist or cannot be reached from this machine")
        try:
            self._file = h5py.File(source.path, "r", libver="latest", swmr=True, locking=source.locking)
        except OSError as error:
            raise MetadataError(f"frames file {source.path} cannot be opened: {error}") from error
        data = self._file.get(source.dataset)
        if not isinstance(data, h5py.Dataset) or data.ndim != 3:
            raise MetadataError(f"frames file {source.path} has no 3-D data set {source.dataset!r}")
        self._data = data
        return data

    def _await_rows(self, data: h5py.Dataset, n_rows: int) -> None:
        deadline = time.monotonic() + self._patience_s
        data.refresh()
        while data.shape[0] < n_rows:
            if time.monotonic() > deadline:
                raise MetadataError(
                    f"{self._source.path} holds {data.shape[0]} frames after {self._patience_s} s; "
                    f"documents announced {n_rows}"
                )
            time.sleep(0.02)
            data.refresh()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = self._data = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
