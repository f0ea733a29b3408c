"""Documents from another process over ZeroMQ: JSON, validated, from this machine only unless told otherwise.

bluesky's own :class:`bluesky.callbacks.zmq.Publisher` sends them, with :func:`to_json` in the place of pickle::

    RE.subscribe(Publisher("127.0.0.1:5578", serializer=to_json))
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import PtychoError

logger = logging.getLogger("bluesky_ptycho")

DEFAULT_ADDRESS = "127.0.0.1:5578"

LARGEST_DOCUMENT = 64_000_000
"""Bytes; a page of a hundred thousand events has a tenth of it."""

_POLL_MS = 200
_PICKLED = b"\x80"
"""How anything pickled begins; JSON never does."""


def to_json(doc: Mapping[str, Any]) -> bytes:
    """Return a document as JSON, for a publisher's ``serializer=``."""
    return json.dumps(doc, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"a document holds a {type(value).__name__}; expected what JSON can hold")


def from_message(message: bytes) -> tuple[str, dict[str, Any]]:
    """Return name and document of a message ``PREFIX NAME JSON``; nothing but JSON is ever read.

    Raises
    ------
    ValueError
        If it is no such message, or no document of its kind.
    """
    from event_model import DocumentNames, schema_validators
    from jsonschema import ValidationError

    parts = message.split(b" ", 2)
    if len(parts) != 3:
        raise ValueError("it has no prefix, name and document")
    name = parts[1].decode("ascii")
    if name not in DocumentNames.__members__:
        raise ValueError(f"{name[:20]!r} is no kind of document")
    doc = _read_json(parts[2])
    try:
        schema_validators[DocumentNames[name]].validate(doc)
    except (ValidationError, RecursionError) as error:
        raise ValueError(f"not a valid {name}: {str(error).splitlines()[0][:200]}") from None
    return name, doc


def _read_json(content: bytes) -> Any:
    """Return what JSON holds; what is none is told by what bluesky's publisher needs to send it."""
    is_pickled = content.startswith(_PICKLED)
    with contextlib.suppress(ValueError, RecursionError):
        if not is_pickled:
            return json.loads(content)
    what = "pickled" if is_pickled else "no JSON"
    raise ValueError(f"it is {what}; expected JSON, as of Publisher(..., serializer=bluesky_ptycho.listener.to_json)")


class Listener:
    """Receives documents and hands them to a callback.

    Parameters
    ----------
    callback : callable
        Takes ``(name, document)``.
    address : str
        ``HOST:PORT`` to receive at. Whoever can reach it can send documents, so a host other than 127.0.0.1 is for
        networks where all may.

    Raises
    ------
    PtychoError
        If pyzmq is not installed, or the address cannot be used.

    Attributes
    ----------
    refused : int
        Messages that were no documents.
    """

    def __init__(self, callback: Callable[[str, Mapping[str, Any]], None], address: str = DEFAULT_ADDRESS) -> None:
        try:
            import zmq
        except ImportError:
            raise PtychoError("listening needs pyzmq: python -m pip install pyzmq") from None
        self._callback, self._stopped, self.refused = callback, threading.Event(), 0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_DOCUMENT)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # no document is dropped because the callback is busy
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            self._socket.bind(f"tcp://{address}")
        except zmq.ZMQError as error:
            self.close()
            said = zmq.strerror(error.errno or 0)
            raise PtychoError(
                f"address {address!r} cannot be listened at: {said}; expected HOST:PORT of this machine"
            ) from None

    def run(self) -> None:
        """Receive until :meth:`stop`."""
        while not self._stopped.is_set():
            if not self._socket.poll(_POLL_MS):
                continue
            message = self._socket.recv()
            try:
                name, doc = from_message(message)
            except ValueError as error:
                self.refused += 1
                if self.refused == 1:
                    logger.warning("a message was refused: %s; more of them are only counted", error)
                continue
            self._callback(name, doc)

    def stop(self) -> None:
        """End :meth:`run`, from another thread."""
        self._stopped.set()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0)
        self._context.term()
