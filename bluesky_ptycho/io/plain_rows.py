"""Rows of a data set that lie in its file as they are: read past HDF5, several at once.

HDF5 reads under a lock and copies what it has read; a raw frame of the fCCD takes it twice as long.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def are_plain(data: h5py.Dataset) -> bool:
    """Whether each row is a chunk of its own in the file itself, as it is in memory: :func:`read_plain` may read it."""
    stored = data.id.get_create_plist()
    return bool(
        data.chunks == (1, *data.shape[1:])
        and stored.get_nfilters() == 0
        and data.id.get_type().equal(h5py.h5t.py_create(np.dtype(data.dtype.newbyteorder("="))))
        and data.file.driver == "sec2"
        and data.file.userblock_size == 0
    )


def read_plain(data: h5py.Dataset, file: int, rows: Sequence[int], out: NDArray[Any], threads: Executor) -> None:
    """Read `rows` of plain `data` from the open file with the descriptor `file` into `out` ``(len(rows), …)``.

    Raises
    ------
    OSError
        If a row was never written, or the file ends before its end.
    """
    places = [_place_of(data, row) for row in rows]

    def read(i: int) -> None:
        left = memoryview(out[i]).cast("B")
        at = places[i]
        while left.nbytes:
            n = os.preadv(file, [left], at)
            if not n:
                raise OSError(f"row {rows[i]} lies beyond the end of the file")
            left, at = left[n:], at + n

    for _ in threads.map(read, range(len(rows))):
        pass


def _place_of(data: h5py.Dataset, row: int) -> int:
    chunk = data.id.get_chunk_info_by_coord((row, *(0,) * (data.ndim - 1)))
    size = int(data.dtype.itemsize * np.prod(data.shape[1:], dtype=np.int64))
    if chunk.byte_offset is None or chunk.size != size:
        raise OSError(f"row {row} was never written, or holds {chunk.size} bytes instead of {size}")
    return int(chunk.byte_offset)
