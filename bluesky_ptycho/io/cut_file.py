"""HDF5 files that were closed by their writer and cut short afterwards, as by a copy that was broken off."""

from __future__ import annotations

import io
import os
from typing import IO

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FLAGS, _END = 11, slice(28, 36)
"""Where the superblock of versions 2 and 3 tells who has the file open, and where it ends."""
_OFFSET_BYTES = 8


def stored_end(file: IO[bytes]) -> int | None:
    """Return the size that a closed HDF5 file says it has.

    Parameters
    ----------
    file : binary file
        Open for reading; where it stands is not changed.

    Returns
    -------
    int or None
        None where a writer has the file open, or where it is no HDF5 file with a superblock of version 2 or 3.
    """
    head = os.pread(file.fileno(), _END.stop, 0)
    if len(head) < _END.stop or not head.startswith(SIGNATURE):
        return None
    version, offset_bytes, flags = head[8], head[9], head[_FLAGS]
    if version not in (2, 3) or offset_bytes != _OFFSET_BYTES or flags:
        return None
    return int.from_bytes(head[_END], "little")


class CutFile(io.RawIOBase):
    """A file that is cut short, with zeros in the place of what is lost.

    HDF5 opens it, since it has the size that it should have, and meets a wrong checksum where something is lost.

    Parameters
    ----------
    file : binary file
        Open for reading.
    end : int
        Size that it should have.
    """

    def __init__(self, file: IO[bytes], end: int) -> None:
        self._file, self._end, self._at = file, end, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next byte is read from."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; return it."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer; return how many bytes the whole file would have given."""
        wanted = max(0, min(len(buffer), self._end - self._at))
        there = os.pread(self._file.fileno(), wanted, self._at)
        buffer[: len(there)] = there
        buffer[len(there) : wanted] = bytes(wanted - len(there))
        self._at += wanted
        return wanted
