"""One handle in a process for each file that is read while it grows.

Where a process has opened a data set twice, HDF5 2.0 loses its chunks when one of the handles is refreshed: rows that
are there read as never written, or as zeros (seen with h5py 3.16). Two callbacks on one run would do that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import h5py

_Key = tuple[int, int, bool | None]


class SharedFile:
    """An open file and its data sets; made by :func:`acquire`, given back by :func:`release`."""

    def __init__(self, key: _Key, file: h5py.File) -> None:
        self.key, self.file, self.users = key, file, 0
        self._found: dict[str, h5py.Dataset] = {}

    def data(self, name: str, find: Callable[[h5py.File], h5py.Dataset]) -> h5py.Dataset:
        """Return the data set called `name`, which `find` looks for the first time."""
        with _lock:
            if name not in self._found:
                self._found[name] = find(self.file)
            return self._found[name]


_open: dict[_Key, SharedFile] = {}
_lock = threading.Lock()


def acquire(path: Path, locking: bool | None) -> SharedFile:
    """Return the file at `path`, opened for reading (SWMR) unless it is open already.

    Raises
    ------
    OSError
        If it cannot be opened.
    """
    with _lock:
        status = path.stat()
        key = (status.st_dev, status.st_ino, locking)
        if key not in _open:
            _open[key] = SharedFile(key, h5py.File(path, "r", libver="latest", swmr=True, locking=locking))
        _open[key].users += 1
        return _open[key]


def release(shared: SharedFile) -> None:
    """Close the file if nobody else reads it."""
    with _lock:
        shared.users -= 1
        if not shared.users:
            del _open[shared.key]
            shared.file.close()
