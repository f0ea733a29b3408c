"""The server of the page: HTTP from the standard library, on this machine alone unless told otherwise."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from ..errors import PtychoError, SettingsError
from .handler import Knobs, PageHandler, Source

logger = logging.getLogger("bluesky_ptycho")

MOST_CLIENTS = 64
"""Connections at a time; each has a thread."""


class PageServer:
    """Serve the page of one source until :meth:`close`.

    Only GET and HEAD are answered, unless there are knobs. Requests must name this machine in ``Host``, which keeps out
    pages of other sites that have their own name point here, and must not come from another site's page.

    Parameters
    ----------
    source : Source
    host : str
        Address to listen on. Beyond the loopback addresses, and with knobs, a token is required.
    port : int
        0 takes a free one; another is taken too where `port` is in use.
    token : str, optional
        Who opens the page must have it; made up where one is required and none is given.
    knobs : Knobs, optional
        What may be turned from the page, which says so itself: a request must have the page's own ``Origin``.

    Attributes
    ----------
    url : str
        Address of the page, with the token if there is one.

    Raises
    ------
    PtychoError
        If the address cannot be listened on.
    SettingsError
        If the token is too short to protect anything.
    """

    def __init__(
        self,
        source: Source,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        knobs: Knobs | None = None,
    ) -> None:
        if token is not None and len(token) < 12:
            raise SettingsError(f"token has {len(token)} characters; expected 12 or more")
        is_open = is_loopback(host) and knobs is None
        self.token = token or (None if is_open else secrets.token_urlsafe(18))
        handler = partial(PageHandler, source, self.token, host, knobs)
        self._server = _listen(host, port, handler)
        address, self.port = self._server.server_address[:2]
        name = socket.gethostname() if str(address) in ("0.0.0.0", "::") else host
        shown = f"[{name}]" if ":" in name else name
        self.url = f"http://{shown}:{self.port}/" + (f"?token={quote(self.token)}" if self.token else "")
        self._thread = threading.Thread(target=self._server.serve_forever, name="ptycho page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        super().__init__(*args)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self._places.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a request of %s failed", client_address, exc_info=True)


class _Server6(_Server):
    address_family = socket.AF_INET6


def _listen(host: str, port: int, handler: Callable[..., BaseHTTPRequestHandler]) -> _Server:
    server = _Server6 if ":" in host else _Server
    failure: OSError | None = None
    for candidate in dict.fromkeys((port, 0)):
        try:
            return server((host, candidate), handler)
        except (OSError, OverflowError) as error:
            failure = error if isinstance(error, OSError) else OSError(str(error))
    raise PtychoError(f"the page cannot be served on {host} port {port}: {failure}") from failure


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
