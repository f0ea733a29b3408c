"""One request to the page: whether it is answered, and with what."""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from ..errors import PtychoError

PATIENCE_S = 15.0
"""A client that says nothing for so long is left."""
LARGEST_BODY = 4096
"""Bytes of a request to turn a knob."""
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

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


class Knobs(Protocol):
    """What may be turned from a page; called from several threads."""

    def shown(self) -> list[dict[str, Any]]:
        """Return of each knob, in texts, ``name``, ``value``, ``choices`` (of few), what it ``takes`` and ``doc``."""

    def put_text(self, knob: str, text: str) -> None:
        """Turn a knob to the value that somebody typed, or raise a PtychoError that says what is allowed."""


class PageHandler(BaseHTTPRequestHandler):
    """Answers one client of a :class:`~bluesky_ptycho.web.PageServer`, whose arguments it gets."""

    server: HTTPServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "bluesky-ptycho", ""
    timeout = PATIENCE_S

    def __init__(self, source: Source, token: str | None, host: str, knobs: Knobs | None, *args: Any) -> None:
        self._source, self._token, self._host, self._knobs = source, token, host, knobs
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer with the page, its state, its picture or a line for a scan."""
        target = urlsplit(self.path)
        query = parse_qs(target.query)
        refusal = self._refusal(query)
        if refusal is not None:
            self._send(refusal, b"", TEXT)
        elif self._token and "token" in query:
            self._let_in()
        elif target.path in STATIC:
            name, kind = STATIC[target.path]
            self._send(HTTPStatus.OK, files(__package__).joinpath(name).read_bytes(), kind)
        elif target.path == "/state":
            self._send(HTTPStatus.OK, json.dumps(self._state()).encode(), JSON)
        elif target.path == "/picture":
            picture = self._source.picture()
            self._send(HTTPStatus.OK if picture else HTTPStatus.NOT_FOUND, picture or b"", "image/webp")
        elif target.path == "/scan-line":
            self._send_line(query)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"", TEXT)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Turn a knob, where there are knobs and the page itself asks for it."""
        body, unread = self._body()
        refusal = self._refusal({}) or self._refusal_to_turn() or unread
        status, told = (refusal, "") if refusal else self._turn(body)
        # The rest of a body that was not read must not pass for another request.
        ended = {"Connection": "close"}
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            ended["Allow"] = "GET, HEAD"
        self._send(status, told.encode(errors="replace"), TEXT, ended)

    def _turn(self, body: bytes) -> tuple[HTTPStatus, str]:
        assert self._knobs is not None
        try:
            request = json.loads(body)
            knob, text = request["knob"], request["value"]
            if not (isinstance(knob, str) and isinstance(text, str)):
                raise TypeError("not a text")
        except (ValueError, RecursionError, KeyError, TypeError):
            return HTTPStatus.BAD_REQUEST, 'expected {"knob": NAME, "value": TEXT}'
        try:
            self._knobs.put_text(knob, text)
        except PtychoError as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        return HTTPStatus.OK, f"{knob} = {text}"

    def _body(self) -> tuple[bytes, HTTPStatus | None]:
        """Return the body of a request, or why it is not read; an answer may get lost where it is left unread."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            return b"", HTTPStatus.LENGTH_REQUIRED
        if len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
            return b"", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return self.rfile.read(int(length)), None

    def _refusal_to_turn(self) -> HTTPStatus | None:
        """Return why a request that may be answered may not turn a knob, None if it may."""
        if self._knobs is None or self.path != "/knobs":
            return HTTPStatus.METHOD_NOT_ALLOWED
        if self.headers.get("Origin") is None:  # a browser names it with every POST
            return HTTPStatus.FORBIDDEN
        # A form of another site can be sent without asking first, as text; JSON cannot.
        if self.headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        return None

    def _state(self) -> dict[str, Any]:
        state = self._source.state()
        return state if self._knobs is None else {**state, "knobs": self._knobs.shown()}

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
        # Cookies of other programs on this host come along, and may be anything.
        cookies = [part.strip().partition("=") for part in self.headers.get("Cookie", "").split(";")]
        given = [*query.get("token", []), *(value for name, _, value in cookies if name == self._cookie)]
        return any(hmac.compare_digest(text.encode(), str(self._token).encode()) for text in given)

    def _let_in(self) -> None:
        """Keep the token in a cookie and take it out of the address, which people show and copy."""
        # Not "Strict": somebody who follows a link in a mail or a chat would be sent on without the cookie.
        cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Lax; Path=/"
        self._send(HTTPStatus.SEE_OTHER, b"", TEXT, {"Location": "/", "Set-Cookie": cookie})

    def _send_line(self, query: dict[str, list[str]]) -> None:
        try:
            y_min, y_max, x_min, x_max = (float(query[name][0]) for name in ("y_min", "y_max", "x_min", "x_max"))
            line = self._source.scan_line((y_min, y_max, x_min, x_max))
        except (KeyError, ValueError, PtychoError):
            self._send(HTTPStatus.BAD_REQUEST, b"", TEXT)
        else:
            self._send(HTTPStatus.OK, line.encode(), TEXT)

    def _send(self, status: HTTPStatus, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        if not body and status >= HTTPStatus.BAD_REQUEST:
            body = f"{status.value} {status.phrase}\n".encode()
            kind = TEXT
        self.send_response(status)
        for name, value in {**HEADERS, **(more or {}), "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a page asks every second, and an address may hold the token."""
