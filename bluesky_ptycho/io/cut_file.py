"""HDF5 files that end too soon: cut short after their writer closed them, or while it had them open and crashed."""

from __future__ import annotations

import io
import os
from typing import IO

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FLAGS, _END, _SUM = 11, slice(28, 36), slice(44, 48)
"""Where the superblock of versions 2 and 3 tells who has the file open, where it ends, and the sum of all before."""
_OFFSET_BYTES = 8
_SWMR = 4
"""Flag of a file that others may read while it is written."""


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
    head = _superblock(file)
    return None if head is None or head[_FLAGS] else int.from_bytes(head[_END], "little")


def seems_written(file: IO[bytes]) -> bool:
    """Tell whether a writer has a file open for readers beside it, or has crashed while it had."""
    head = _superblock(file)
    return head is not None and bool(head[_FLAGS] & _SWMR)


def as_if_closed(file: IO[bytes]) -> CutFile:
    """Return a file that :func:`seems_written` as if its writer had closed it now.

    HDF5's readers beside a writer read metadata again and again until their checksum fits: where a writer has
    crashed they do so for good, and nothing can stop them. Read like this, metadata that do not fit are an error.
    """
    head = _superblock(file)
    assert head is not None
    end = max(int.from_bytes(head[_END], "little"), os.fstat(file.fileno()).st_size)
    closed = bytearray(head)
    closed[_FLAGS], closed[_END] = 0, end.to_bytes(8, "little")
    closed[_SUM] = lookup3(bytes(closed[: _SUM.start])).to_bytes(4, "little")
    return CutFile(file, end, bytes(closed))


def _superblock(file: IO[bytes]) -> bytes | None:
    """Return the superblock, None where it is none of version 2 or 3."""
    head = os.pread(file.fileno(), _SUM.stop, 0)
    if len(head) < _SUM.stop or not head.startswith(SIGNATURE):
        return None
    version, offset_bytes = head[8], head[9]
    return head if version in (2, 3) and offset_bytes == _OFFSET_BYTES else None


def lookup3(data: bytes) -> int:
    """Return the checksum of HDF5's metadata: hashlittle of Bob Jenkins' lookup3 (public domain, 2006)."""
    a = b = c = 0xDEADBEEF + len(data)
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    words += [0] * (-len(words) % 3)
    for i in range(0, len(words), 3):
        a, b, c = ((x + y) & _WORD for x, y in zip((a, b, c), words[i : i + 3], strict=True))
        a, b, c = (_mixed if i + 3 < len(words) else _finished)(a, b, c)
    return c


_WORD = 0xFFFFFFFF


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for turn in (4, 6, 8, 16, 19, 4):
        a = (a - c) & _WORD ^ _rotated(c, turn)
        a, b, c = b, c + b & _WORD, a
    return a, b, c


def _finished(a: int, b: int, c: int) -> tuple[int, int, int]:
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, turn)) & _WORD
        a, b, c = b, c, a
    return c, a, b


def _rotated(x: int, turn: int) -> int:
    return (x << turn | x >> (32 - turn)) & _WORD


class CutFile(io.RawIOBase):
    """A file that is cut short, with zeros in the place of what is lost.

    HDF5 opens it, since it has the size that it should have, and meets a wrong checksum where something is lost.

    Parameters
    ----------
    file : binary file
        Open for reading.
    end : int
        Size that it should have.
    head : bytes
        What is read in the place of its first bytes.
    """

    def __init__(self, file: IO[bytes], end: int, head: bytes = b"") -> None:
        self._file, self._end, self._head, self._at = file, end, head, 0

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
        head = self._head[self._at : self._at + wanted]
        buffer[: len(head)] = head
        self._at += wanted
        return wanted
