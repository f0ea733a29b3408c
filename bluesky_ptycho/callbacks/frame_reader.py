"""Read raw frames from an HDF5 file that is still being written (SWMR)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ..backend import cpu_count
from ..errors import MetadataError
from ..io import hdf5
from ..io.plain_rows import are_plain, read_plain
from .document_keys import FrameSource, refuse_outside
from .shared_files import SharedFile, acquire, release

POLL_S = 0.02
MOST_THREADS = 4
"""That read at once: it is the memory's speed that counts."""
SHAPE = "shape: "
"""How the problem of frames of another shape than the plan's begins."""
_READING_FAILED = (OSError, RuntimeError, KeyError, ValueError)
"""What h5py raises where a file is damaged, locked, cut short or gone."""


class NotYetError(MetadataError):
    """What waiting may mend."""


class FrameReader:
    """Rows of one frame data set.

    Parameters
    ----------
    source : FrameSource
        File, data set and locking flag (a reader must use the writer's).
    patience_s : float
        How long to wait for a file, or for rows that a document announced and the file system does not show yet.
        Only what grows is waited for again.
    """

    def __init__(self, source: FrameSource, patience_s: float = 10.0) -> None:
        self._source = source
        self._patience_s = patience_s
        self._file: SharedFile | None = None
        self._data: h5py.Dataset | None = None
        self._plain = False
        self._threads: ThreadPoolExecutor | None = None
        self._given_up_at = -1  # size of the file when the patience ended; 0 without a file

    def read(self, rows: NDArray[np.intp], n_each: int) -> NDArray[Any]:
        """Return ``(len(rows), n_each, H, W)`` frames: `n_each` consecutive rows from each of `rows`.

        Raises
        ------
        MetadataError
            If file or data set cannot be opened or read, or rows stay absent beyond the patience.
        """
        frames, problems = self.read_good(rows, n_each)
        if problems:
            raise MetadataError(next(iter(problems.values())))
        return frames

    def read_good(self, rows: NDArray[np.intp], n_each: int) -> tuple[NDArray[Any], dict[int, str]]:
        """Return the frames that can be read, in order, and place in `rows` → problem for the others."""
        try:
            data = self._await_file()
            problems = self._await_rows(data, rows, n_each)
        except (MetadataError, *_READING_FAILED) as error:
            problem = self._told(error)
            self.close()
            return np.empty((0, n_each, 0, 0), dtype=np.uint16), dict.fromkeys(range(len(rows)), problem)
        wanted = [i for i in range(len(rows)) if i not in problems]
        try:
            return self._read_rows(data, rows[wanted], n_each), problems
        except _READING_FAILED:
            return self._read_one_by_one(rows, wanted, n_each, problems)

    def _read_rows(self, data: h5py.Dataset, rows: NDArray[np.intp], n_each: int) -> NDArray[Any]:
        if not self._plain:
            return _read_runs(data, rows, n_each)
        frames = np.empty((len(rows), n_each, *data.shape[1:]), dtype=data.dtype)
        each = (rows[:, None] + np.arange(n_each)).ravel().tolist()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(min(MOST_THREADS, cpu_count()), "reading")
        read_plain(data, self._shared().descriptor, each, frames.reshape(-1, *data.shape[1:]), self._threads)
        return frames

    def _read_one_by_one(
        self, rows: NDArray[np.intp], wanted: list[int], n_each: int, problems: dict[int, str]
    ) -> tuple[NDArray[Any], dict[int, str]]:
        """Find out which of the rows cannot be read."""
        frames = []
        for i in wanted:
            try:
                frames.append(self._read_rows(self._open(), rows[i : i + 1], n_each))
            except (MetadataError, *_READING_FAILED) as error:
                problems[i] = f"{self._source.path} row {rows[i]}: {_line(error)}"
        return (np.concatenate(frames) if frames else np.empty((0, n_each, 0, 0), dtype=np.uint16)), problems

    def _open(self) -> h5py.Dataset:
        if self._data is not None:
            return self._data
        source = self._source
        refuse_outside(source.path.resolve(), [root.resolve() for root in source.roots])
        if not source.path.is_file():
            raise NotYetError(f"frames file {source.path} does not exist or cannot be reached from this machine")
        try:
            self._file = acquire(source.path, source.locking)
        except _READING_FAILED as error:
            raise NotYetError(f"frames file {source.path} cannot be opened: {_line(error)}") from error
        try:
            self._data = self._checked(self._file.data(source.dataset, self._find))
            self._plain = not self._file.cut and are_plain(self._data)
        except BaseException as error:
            problem = f"frames file {source.path} cannot be read: {self._told(error)}"
            self.close()
            if isinstance(error, MetadataError) or not isinstance(error, _READING_FAILED):
                raise
            raise MetadataError(problem) from error
        return self._data

    def _find(self, file: h5py.File) -> h5py.Dataset:
        """Return the data set; what its description shows to be hostile is refused before it is unpacked."""
        source = self._source
        data = hdf5.find_dataset(file, source.dataset)
        if data is None or data.ndim != 3:
            raise NotYetError(f"frames file {source.path} has no 3-D data set {source.dataset!r}")
        if data.dtype.kind not in "uif":
            raise MetadataError(f"frames file {source.path} has frames of type {data.dtype}; expected numbers")
        return data

    def _checked(self, data: h5py.Dataset) -> h5py.Dataset:
        source = self._source
        if source.frame_shape is not None and data.shape[1:] != source.frame_shape:
            raise MetadataError(f"{SHAPE}frames have shape {data.shape[1:]}; the scan plan says {source.frame_shape}")
        return data

    def _await_file(self) -> h5py.Dataset:
        deadline = time.monotonic() + (self._patience_s if self._given_up_at < 0 else 0.0)
        while True:
            try:
                return self._open()
            except NotYetError:
                if time.monotonic() >= deadline:
                    self._given_up_at = max(self._given_up_at, 0)
                    raise
            time.sleep(POLL_S)

    def _await_rows(self, data: h5py.Dataset, rows: NDArray[np.intp], n_each: int) -> dict[int, str]:
        """Wait for rows; return place → problem for those that are not there in the end."""
        deadline: float | None = None
        while True:
            data.refresh()
            size = self._shared().size
            problems = self._absent(data, rows, n_each, size)
            now = time.monotonic()
            if deadline is None:
                deadline = now + (self._patience_s if size > self._given_up_at else 0.0)
            if not problems or now >= deadline:
                break
            time.sleep(POLL_S)
        if problems:
            self._given_up_at = max(self._given_up_at, size)
        return problems

    def _absent(self, data: h5py.Dataset, rows: NDArray[np.intp], n_each: int, size: int) -> dict[int, str]:
        """Find rows beyond the data set, never written, or beyond the end of the file, where HDF5 would read zeros."""
        path, n_rows = self._source.path, int(data.shape[0])
        problems: dict[int, str] = {}
        cut = f" ({self._shared().cut})" if self._shared().cut else ""
        for i, row in enumerate(rows.tolist()):
            if row + n_each > n_rows:
                problems[i] = f"{path} holds {n_rows} frames after {self._patience_s:g} s; expected {row + n_each}"
                continue
            try:
                chunks = [_chunk_of_row(data, r) for r in range(row, row + n_each)]
            except _READING_FAILED as error:
                problems[i] = f"{path} row {row} cannot be found: {self._told(error)}"
                continue
            problem = None if data.chunks is None else hdf5.overfull(data, max(n for _, n in chunks))
            if any(end is None for end, _ in chunks):
                problems[i] = f"{path} row {row} {'is lost' if cut else 'was never written'}{cut}"
            elif max(end for end, _ in chunks if end is not None) > size:
                problems[i] = f"{path} row {row} lies beyond the end of the file{cut}"
            elif problem is not None:
                problems[i] = f"{path} row {row} has {problem}"
        return problems

    def _shared(self) -> SharedFile:
        assert self._file is not None  # what gives the data set has opened it
        return self._file

    def _told(self, error: BaseException) -> str:
        """Return a message in one line; of a file that is cut short, that it is."""
        cut = "" if self._file is None else self._file.cut
        return f"{_line(error)} ({cut})" if cut else _line(error)

    def close(self) -> None:
        """Close the file."""
        if self._threads is not None:
            self._threads.shutdown()
        if self._file is not None:
            release(self._file)
        self._file = self._data = self._threads = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def as_reason(problem: str) -> str:
    """Return a problem of :meth:`FrameReader.read_good` as the reason for which a point is rejected."""
    return problem if problem.startswith(SHAPE) else f"unreadable: {problem}"


def _read_runs(data: h5py.Dataset, rows: NDArray[np.intp], n_each: int) -> NDArray[Any]:
    """Read points; those that follow each other in the file in one go."""
    frames = np.empty((len(rows), n_each, *data.shape[1:]), dtype=data.dtype)
    first = 0
    while first < len(rows):
        last = first + 1
        while last < len(rows) and rows[last] == rows[last - 1] + n_each:
            last += 1
        low, high = int(rows[first]), int(rows[last - 1]) + n_each
        target = frames[first:last].reshape(-1, *data.shape[1:])
        data.read_direct(target, np.s_[low:high])
        first = last
    return frames


def _chunk_of_row(data: h5py.Dataset, row: int) -> tuple[int | None, int]:
    """Return where in the file a row ends, None if it was never written, 0 if unknown; and its chunk's bytes there."""
    if data.chunks is None:
        start = data.id.get_offset()
        return (0 if start is None else int(start) + (row + 1) * data.nbytes // len(data)), 0
    chunk = data.id.get_chunk_info_by_coord((row // data.chunks[0] * data.chunks[0], 0, 0))
    return (None if chunk.byte_offset is None else int(chunk.byte_offset + chunk.size)), int(chunk.size)


def _line(error: BaseException) -> str:
    """Return a message in one line, as reasons are."""
    return " ".join(str(error).split()) or type(error).__name__
