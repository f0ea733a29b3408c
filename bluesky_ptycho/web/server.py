"""The server of the page: HTTP from the standard library, on this machine alone unless told otherwise."""

from __future__ import annotations

import errno
import ipaddress
import logging
import re
import secrets
import socket
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from ..errors import PtychoError, SettingsError
from ..spelling import spelled
from .handler import Knobs, PageHandler, Source

logger = logging.getLogger("bluesky_ptycho")

PORT = 8470
"""Taken where none is asked for."""
TOKEN = re.compile(r"[A-Za-z0-9._~-]{12,}")
"""What needs no quoting, neither in an address nor in a cookie."""
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
    port : int, optional
        0 takes a free one. :data:`PORT` by default, or where that is in use a free one, which is said.
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
        If the address cannot be listened on; the `port` that is given may be in use.
    SettingsError
        If there can be no such port or host, or the token is too short to protect anything, or fits in no cookie.
    """

    def __init__(
        self,
        source: Source,
        host: str = "127.0.0.1",
        port: int | None = None,
        token: str | None = None,
        knobs: Knobs | None = None,
    ) -> None:
        if token is not None and not TOKEN.fullmatch(token):
            raise SettingsError(
                f"{spelled('token')} does not fit; expected 12 or more of the letters A-Z and a-z, digits and . _ ~ -"
            )
        if port is not None and not 0 <= port <= 65535:
            raise SettingsError(f"{spelled('port')} is {port}; expected 1 to 65535, or 0 for any free one")
        if not host.strip():  # which would be every address of this machine
            raise SettingsError(f"{spelled('host')} is {host!r}; expected an address, as 127.0.0.1, or 0.0.0.0 for all")
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


def _listen(host: str, port: int | None, handler: Callable[..., BaseHTTPRequestHandler]) -> _Server:
    server = _Server6 if ":" in host else _Server
    wanted = PORT if port is None else port
    try:
        return server((host, wanted), handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise PtychoError(f"the page cannot be served on {host} port {wanted}: {error}") from error
        if port is not None:
            raise PtychoError(
                f"{spelled('port')} {port} is in use; expected a free one, or none, which takes any"
            ) from error
    found = _listen(host, 0, handler)
    logger.warning("port %d is in use: the page is served on port %d", wanted, found.server_address[1])
    return found


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
