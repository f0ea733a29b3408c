"""Writers of one catalog take turns: threads of a process, and processes on one directory.

SQLite lets one writer in at a time. The driver of the event tables does not wait at all, and a
transaction that has read before it writes is refused at once if another process wrote in between:
either is "database is locked", which would cost a scan its place in the catalog.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..file_lock import take_lock

FILE = "writing.lock"
"""File in a catalog's directory that its writer has locked; the system frees it if the process dies."""

PATIENCE_S = 10.0
"""After that SQLite is asked anyway, and the next times at once: a process that was stopped in the middle must
not hold up a scan for ever."""

_POLL_S = 0.005


class Turns:
    """One writer at a time.

    Parameters
    ----------
    directory : Path or None
        Directory of the catalog; None takes turns within this process only.
    """

    def __init__(self, directory: Path | None) -> None:
        self._file = None if directory is None else directory / FILE
        self._threads = threading.Lock()
        self._waited_in_vain = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and hold it."""
        with self._threads:
            file = self._open()
            try:
                if file is not None:
                    self._waited_in_vain = not _lock(file, 0.0 if self._waited_in_vain else PATIENCE_S)
                yield
            finally:
                if file is not None:
                    file.close()

    def _open(self) -> IO[bytes] | None:
        if self._file is None:
            return None
        with suppress(OSError):  # a directory that cannot be written has no writers
            return self._file.open("ab")
        return None


def _lock(file: IO[bytes], patience_s: float) -> bool:
    """Wait for the lock; tell whether the wait is over because the turn came, or because nobody can have it."""
    deadline = time.monotonic() + patience_s
    while not take_lock(file):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
