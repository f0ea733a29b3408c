"""A lock between processes: held as long as the file is open, freed by the system if the process dies."""

from __future__ import annotations

from typing import IO

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out
    fcntl = None  # type: ignore[assignment]


def take_lock(file: IO[bytes] | int) -> bool:
    """Take the lock of an open file (or its descriptor) at once; False if somebody else has it.

    Where the system, or the file system, knows no locks, everybody gets it.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
