"""The server of the page: HTTP from the standard library, read-only, on this machine alone unless told otherwise."""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import secrets
import socket
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from ..errors import PtychoError, SettingsError

logger = logging.getLogger("bluesky_ptycho")

PATIENCE_S = 15.0
"""A client that says nothing for so long is left."""
MOST_CLIENTS = 64
"""Connections at a time; each has a thread."""

STATIC = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Source(Protocol):
    """What a page shows; called from several threads."""

    def state(self) -> dict[str, Any]:
        """Return what the page says in words, as JSON can hold it, and ``picture``: the number of the picture."""

    def picture(self) -> bytes | None:
        """Return the picture as WebP; None before there is anything to draw."""

    def scan_line(self, region_um: tuple[float, float, float, float]) -> str:
        """Return the line that scans a region ``(y_min, y_max, x_min, x_max)`` in µm of the stage."""


class PageServer:
    """Serve the page of one source until :meth:`close`.

    Only GET and HEAD are answered. Requests must name this machine in ``Host``, which keeps out pages of other sites
    that have their own name point here, and must not come from another site's page.

    Parameters
    ----------
    source : Source
    host : str
        Address to listen on. Beyond the loopback addresses a token is required.
    port : int
        0 takes a free one; another is taken too where `port` is in use.
    token : str, optional
        Who opens the page must have it; made up where one is required and none is given.

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

    def __init__(self, source: Source, host: str = "127.0.0.1", port: int = 0, token: str | None = None) -> None:
        if token is not None and len(token) < 12:
            raise SettingsError(f"token has {len(token)} characters; expected 12 or more")
        self.token = token or (None if is_loopback(host) else secrets.token_urlsafe(18))
        handler = partial(_Handler, source, self.token, host)
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


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bluesky-ptycho", ""
    timeout = PATIENCE_S

    def __init__(self, source: Source, token: str | None, host: str, *args: Any) -> None:
        self._source, self._token, self._host = source, token, host
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer with the page, its state, its picture or a line for a scan."""
        target = urlsplit(self.path)
        query = parse_qs(target.query)
        refusal = self._refusal(query)
        if refusal is not None:
            self._send(refusal, b"", "text/plain")
        elif self._token and "token" in query:
            self._let_in()
        elif target.path in STATIC:
            name, kind = STATIC[target.path]
            self._send(HTTPStatus.OK, files(__package__).joinpath(name).read_bytes(), kind)
        elif target.path == "/state":
            self._send(HTTPStatus.OK, json.dumps(self._source.state()).encode(), "application/json")
        elif target.path == "/picture":
            picture = self._source.picture()
            self._send(HTTPStatus.OK if picture else HTTPStatus.NOT_FOUND, picture or b"", "image/webp")
        elif target.path == "/scan-line":
            self._send_line(query)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

    do_HEAD = do_GET

    def _refusal(self, query: dict[str, list[str]]) -> HTTPStatus | None:
        """Return why a request is not answered, None if it is."""
        host = self.headers.get("Host", "")
        if not self._is_own(host):
            return HTTPStatus.MISDIRECTED_REQUEST
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return HTTPStatus.FORBIDDEN
        if self.headers.get("Sec-Fetch-Site") == "cross-site" and self.headers.get("Sec-Fetch-Mode") != "navigate":
            return HTTPStatus.FORBIDDEN
        if self._token and not self._has_token(query):
            return HTTPStatus.UNAUTHORIZED
        return None

    def _is_own(self, host: str) -> bool:
        """Tell whether `host` names this machine; an address cannot be made to point elsewhere, a name can."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in {"localhost", self._host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        return True

    @property
    def _cookie(self) -> str:
        return f"ptycho_{self.server.server_port}"  # cookies do not tell ports apart

    def _has_token(self, query: dict[str, list[str]]) -> bool:
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie)
        except CookieError:
            cookie = None
        given = [*query.get("token", []), *([cookie.value] if cookie else [])]
        return any(hmac.compare_digest(text.encode(), str(self._token).encode()) for text in given)

    def _let_in(self) -> None:
        """Keep the token in a cookie and take it out of the address, which people show and copy."""
        # Not "Strict": somebody who follows a link in a mail or a chat would be sent on without the cookie.
        cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Lax; Path=/"
        self._send(HTTPStatus.SEE_OTHER, b"", "text/plain", {"Location": "/", "Set-Cookie": cookie})

    def _send_line(self, query: dict[str, list[str]]) -> None:
        try:
            y_min, y_max, x_min, x_max = (float(query[name][0]) for name in ("y_min", "y_max", "x_min", "x_max"))
            line = self._source.scan_line((y_min, y_max, x_min, x_max))
        except (KeyError, ValueError, PtychoError):
            self._send(HTTPStatus.BAD_REQUEST, b"", "text/plain")
        else:
            self._send(HTTPStatus.OK, line.encode(), "text/plain; charset=utf-8")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        if not body and status >= HTTPStatus.BAD_REQUEST:
            body = f"{status.value} {status.phrase}\n".encode()
            kind = "text/plain; charset=utf-8"
        self.send_response(status)
        for name, value in {**HEADERS, **(more or {}), "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a page asks every second, and an address may hold the token."""
