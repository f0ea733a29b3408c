"""Messages over a pair of sockets: a length, a JSON header, then the bytes of the arrays that it names."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MetadataError

ARRAY = "$array"
"""Key of what stands for an array in the header: its number, dtype and shape."""

_LENGTH = struct.Struct("!Q")
MOST_HEADER_BYTES = 1 << 28
MOST_ARRAY_BYTES = 1 << 36
KINDS = "biufc"
"""Kinds of array that are sent: numbers."""


def encode(message: dict[str, Any]) -> list[bytes | memoryview]:
    """Return the parts of `message`, to be sent one after the other.

    Mappings, sequences, strings, numbers, None and arrays of numbers may be in it; keys become text and tuples lists.

    Raises
    ------
    TypeError
        On anything else.
    """
    arrays: list[NDArray[Any]] = []
    header = json.dumps(message, default=lambda value: _stand_in(value, arrays)).encode()
    return [_LENGTH.pack(len(header)) + header, *(memoryview(a.reshape(-1).view(np.uint8)) for a in arrays if a.size)]


def _stand_in(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
        arrays.append(np.ascontiguousarray(value))
        return {ARRAY: [len(arrays) - 1, value.dtype.str, list(value.shape)]}
    if hasattr(value, "items"):
        return dict(value)
    raise TypeError(f"a message holds a {type(value).__name__}; expected what JSON can hold, or numbers in arrays")


class Channel:
    """One end; anybody may send, one thread receives.

    Parameters
    ----------
    connection : socket
        Of a connected pair; closed by :meth:`close`.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; waits while the other end is busy.

        Raises
        ------
        OSError
            If the other end is gone.
        """
        self.send_parts(encode(message))

    def send_parts(self, parts: list[bytes | memoryview]) -> None:
        """Send what :func:`encode` gave."""
        with self._sending:
            for part in parts:
                self._connection.sendall(part)

    def receive(self) -> dict[str, Any] | None:
        """Wait for a message; None when the other end is gone.

        Raises
        ------
        MetadataError
            If what comes is no message.
        """
        try:
            (length,) = _LENGTH.unpack(self._read(np.empty(_LENGTH.size, np.uint8)))
            if length > MOST_HEADER_BYTES:
                raise MetadataError(f"a message's header has {length} bytes; expected at most {MOST_HEADER_BYTES}")
            header = json.loads(bytes(self._read(np.empty(length, np.uint8))))
            places = sorted(_places(header), key=lambda place: place[2][0])
            for holder, key, (_, dtype, shape) in places:
                holder[key] = self._read_array(dtype, shape)
        except (EOFError, ConnectionError):
            return None
        except OSError as error:  # closed by this end
            if self._connection.fileno() < 0:
                return None
            raise MetadataError(f"the channel is broken: {error}") from error
        if not isinstance(header, dict):
            raise MetadataError(f"a message is a {type(header).__name__}; expected an object")
        return header

    def _read_array(self, dtype: Any, shape: Any) -> NDArray[Any]:
        kind = np.dtype(str(dtype))
        size = int(np.prod([int(n) for n in shape], dtype=np.float64)) * kind.itemsize
        if kind.kind not in KINDS or min(shape, default=0) < 0 or size > MOST_ARRAY_BYTES:
            raise MetadataError(f"a message holds an array {dtype} {shape}; expected numbers, {MOST_ARRAY_BYTES} bytes")
        array = np.empty(shape, kind)
        self._read(array.reshape(-1).view(np.uint8))
        return array

    def _read(self, into: NDArray[np.uint8]) -> NDArray[np.uint8]:
        left = memoryview(into)
        while left:
            n = self._connection.recv_into(left)
            if not n:
                raise EOFError
            left = left[n:]
        return into

    def shut_down(self) -> None:
        """End the conversation: who waits to receive, here or there, gets None."""
        with suppress(OSError):  # the other end is gone
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this end, when no thread uses it any more."""
        self._connection.close()


def _places(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield container, key and description of each array that `value` names."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        if isinstance(inner, dict) and set(inner) == {ARRAY}:
            yield value, key, inner[ARRAY]
        else:
            yield from _places(inner)
