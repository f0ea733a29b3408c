"""One handle in a process for each file that is read while it grows.

Where a process has opened a data set twice, HDF5 2.0 loses its chunks when one of the handles is refreshed: rows that
are there read as never written, or as zeros (seen with h5py 3.16). Two callbacks on one run would do that.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import h5py

from ..errors import MetadataError
from ..io.cut_file import CutFile, as_if_closed, seems_written, stored_end

_Key = tuple[int, int, bool | None]

TORN_S = 0.5
"""How long metadata may not fit their checksums: a writer at work mends that at once, one that crashed never."""


class SharedFile:
    """An open file and its data sets; made by :func:`acquire`, given back by :func:`release`."""

    def __init__(self, key: _Key, path: Path, locking: bool | None) -> None:
        self.key, self.users = key, 0
        self._found: dict[str, h5py.Dataset] = {}
        with ExitStack() as closing:
            self._raw: IO[bytes] = closing.enter_context(path.open("rb", buffering=0))
            self.end = _end_of_cut(self._raw)
            if self.end is None:
                self._look_over(lambda file: None)
                self.file = h5py.File(path, "r", libver="latest", swmr=True, locking=locking)
            else:
                # A reader in SWMR mode would try without end to read what its writer is taken to be writing.
                self.file = h5py.File(CutFile(self._raw, self.end), "r")
            self._closing = closing.pop_all()

    @property
    def size(self) -> int:
        """Bytes that are there now; the file keeps them when its name is deleted."""
        return os.fstat(self._raw.fileno()).st_size

    @property
    def descriptor(self) -> int:
        """Of the open file, for reading past HDF5."""
        return self._raw.fileno()

    @property
    def cut(self) -> str:
        """How the file is cut short, in words; empty where it is whole or may still grow."""
        return "" if self.end is None else f"cut short: {self.size} of {self.end} bytes"

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        self._closing.close()

    def data(self, name: str, find: Callable[[h5py.File], h5py.Dataset]) -> h5py.Dataset:
        """Return the data set called `name`, which `find` looks for the first time."""
        with _lock:
            if name not in self._found:
                self._look_over(lambda file: _read_index(find(file)))
                self._found[name] = find(self.file)
            return self._found[name]

    def _look_over(self, read: Callable[[h5py.File], object]) -> None:
        """Read what a reader beside the writer will need first, since it could not be stopped where that is damaged.

        Raises
        ------
        OSError
            If it is. What :func:`find` refuses is left to it.
        """
        if not seems_written(self._raw):
            return
        deadline = time.monotonic() + (TORN_S if _damaged.get(self.key) != self.size else 0.0)
        while True:
            try:
                with h5py.File(as_if_closed(self._raw), "r") as file:
                    read(file)
            except MetadataError:
                break
            except (OSError, RuntimeError, KeyError, ValueError) as error:
                if time.monotonic() >= deadline:
                    _damaged[self.key] = self.size
                    raise OSError(f"its writer has not closed it, and it is damaged or cut short: {error}") from error
                time.sleep(TORN_S / 10)
            else:
                break
        _damaged.pop(self.key, None)


_open: dict[_Key, SharedFile] = {}
_damaged: dict[_Key, int] = {}
"""Size of the files that were found damaged: only one that grows is waited for again."""
_lock = threading.Lock()


def acquire(path: Path, locking: bool | None) -> SharedFile:
    """Return the file at `path`, opened for reading unless it is open already: in SWMR mode unless it is cut short.

    Raises
    ------
    OSError
        If it cannot be opened.
    """
    with _lock:
        status = path.stat()
        key = (status.st_dev, status.st_ino, locking)
        if key not in _open:
            _open[key] = SharedFile(key, path, locking)
        _open[key].users += 1
        return _open[key]


def release(shared: SharedFile) -> None:
    """Close the file if nobody else reads it."""
    with _lock:
        shared.users -= 1
        if not shared.users:
            del _open[shared.key]
            shared.close()


def _read_index(data: h5py.Dataset) -> None:
    """Read where the chunks of a data set are; one that lies in one piece, or in other files, has none."""
    if data.chunks is not None:
        data.id.get_num_chunks()


def _end_of_cut(file: IO[bytes]) -> int | None:
    """Return where a file ended when its writer closed it, None unless it is shorter now."""
    end = stored_end(file)
    return end if end is not None and os.fstat(file.fileno()).st_size < end else None
