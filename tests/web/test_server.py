"""The server of the page: who is answered, and what nobody gets."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from contextlib import closing, contextmanager

import pytest

from bluesky_ptycho.errors import PtychoError, SettingsError
from bluesky_ptycho.web import PageServer
from bluesky_ptycho.web.server import MOST_CLIENTS, is_loopback

TOKEN = "correct-horse-battery"


class Source:
    """What a page shows, of nothing."""

    def __init__(self):
        self.regions = []

    def state(self):
        return {"title": "scan 1 gold", "picture": 3}

    def picture(self):
        return b"RIFF"

    def scan_line(self, region_um):
        if region_um[0] >= region_um[1]:
            raise SettingsError("region is empty")
        self.regions.append(region_um)
        return "RE(ptycho_scan(...))"


@contextmanager
def serving(**options):
    with closing(PageServer(Source(), **{"port": 0, **options})) as server:
        yield server


def ask(server, path="/", method="GET", host=None, **headers):
    """Return status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with closing(connection):
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", f"127.0.0.1:{server.port}" if host is None else host)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


@pytest.fixture(scope="module")
def page():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def guarded():
    with serving(token=TOKEN) as server:
        yield server


def test_the_page_and_what_it_asks_for(page):
    assert page.url == f"http://127.0.0.1:{page.port}/"
    status, headers, body = ask(page)
    assert status == 200 and b"<!doctype html>" in body and "script-src 'self'" in headers["Content-Security-Policy"]
    for name in ("page.js", "page.css"):
        assert ask(page, f"/{name}")[0] == 200 and name.encode() in body
    assert json.loads(ask(page, "/state")[2])["title"] == "scan 1 gold"
    assert ask(page, "/picture")[2] == b"RIFF"
    assert ask(page, "/picture", "HEAD")[2] == b""


def test_a_region_becomes_a_line_and_nonsense_is_refused(page):
    status, headers, body = ask(page, "/scan-line?y_min=-1.5&y_max=2&x_min=3&x_max=4")
    assert (status, body) == (200, b"RE(ptycho_scan(...))") and headers["Content-Type"].startswith("text/plain")
    for query in ("", "?y_min=1", "?y_min=a&y_max=2&x_min=3&x_max=4", "?y_min=2&y_max=1&x_min=3&x_max=4"):
        assert ask(page, f"/scan-line{query}")[0] == 400


@pytest.mark.parametrize(
    ("method", "answer"),
    [("POST", 405), ("PUT", 501), ("DELETE", 501), ("PATCH", 501), ("OPTIONS", 501), ("TRACE", 501), ("CONNECT", 501)],
)
def test_nothing_can_be_written(page, method, answer):
    for path in ("/", "/state", "/scan-line", "/knobs"):
        assert ask(page, path, method)[0] == answer


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/..%2fserver.py",
        "/web/../../setup.cfg",
        "//etc/passwd",
        "/page.py",
        "/server.py",
        "/%00",
        "/page.js/..",
    ],
)
def test_only_the_files_of_the_page_are_served(page, path):
    status, _, body = ask(page, path)
    assert status == 404 and b"import" not in body and b"root:" not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "[", "127.0.0.1.evil.example"]
)
def test_a_foreign_name_that_points_here_is_not_answered(page, guarded, host):
    """DNS rebinding: a page of another site lets its own name point to this machine."""
    for server in (page, guarded):
        assert ask(server, f"/state?token={TOKEN}", host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:9", "[::1]:8470", socket.gethostname()])
def test_own_names_are_answered_also_through_a_tunnel_from_another_port(page, host):
    assert ask(page, "/state", host=host)[0] == 200


def test_other_sites_pages_are_refused(page):
    own = f"http://127.0.0.1:{page.port}"
    assert ask(page, "/state", Origin=own)[0] == 200
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{page.port + 1}", "http://localhost"):
        assert ask(page, "/state", Origin=origin)[0] == 403
    assert ask(page, "/picture", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert ask(page, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200  # a link was followed
    headers = ask(page, "/state", Origin=own)[1]
    assert "Access-Control-Allow-Origin" not in headers and headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_with_a_token_nothing_is_said_without_it(guarded):
    for path in ("/", "/state", "/picture", "/page.js", "/scan-line?y_min=0&y_max=1&x_min=0&x_max=1"):
        assert ask(guarded, path)[0] == 401
        assert ask(guarded, path, Cookie=f"ptycho_{guarded.port}=wrong-horse-battery")[0] == 401
    for wrong in ("", "wrong", TOKEN[:-1], TOKEN + "x", "%ff"):
        assert ask(guarded, f"/?token={wrong}")[0] == 401


def test_the_token_moves_from_the_address_into_a_cookie(guarded):
    status, headers, _ = ask(guarded, f"/?token={TOKEN}")
    cookie = headers["Set-Cookie"]
    assert (status, headers["Location"]) == (303, "/") and "HttpOnly" in cookie and "SameSite=Lax" in cookie
    for path in ("/", "/state", "/picture"):
        assert ask(guarded, path, Cookie=cookie.partition(";")[0])[0] == 200


def test_cookies_of_other_programs_on_this_host_may_be_anything(guarded):
    own = f"ptycho_{guarded.port}={TOKEN}"
    for other in ('settings={"theme":"dark"}', 'a="; b', "=", "", "ptycho_1=wrong"):
        assert ask(guarded, "/state", Cookie=f"{other}; {own}")[0] == ask(guarded, Cookie=f"{own}; {other}")[0] == 200


@pytest.mark.parametrize(
    ("host", "only_here"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("", False),
     ("::", False), ("192.168.1.5", False), ("beamline.example", False)],
)  # fmt: skip
def test_what_other_machines_reach_needs_a_token(host, only_here):
    assert is_loopback(host) is only_here


def test_beyond_loopback_a_token_is_made_up():
    with serving(host="0.0.0.0") as server, serving(host="0.0.0.0") as other:
        assert len(server.token) >= 20 and server.token != other.token and server.token in server.url
        assert ask(server)[0] == 401 and ask(server, f"/?token={server.token}")[0] == 303


@pytest.mark.parametrize("token", ["guess", "correct horse battery", "correct;horse;battery", "Übergrößenträger"])
def test_a_token_that_is_short_or_fits_in_no_cookie_is_refused(token):
    with pytest.raises(SettingsError, match="token does not fit; expected 12 or more of the letters"):
        PageServer(Source(), token=token)


def test_a_usual_port_in_use_is_replaced_by_a_free_one_and_told(page, monkeypatch, caplog):
    monkeypatch.setattr("bluesky_ptycho.web.server.PORT", page.port)
    with serving(port=None) as other:
        assert other.port != page.port and ask(other)[0] == 200
    assert f"port {page.port} is in use: the page is served on port {other.port}" in caplog.text


def test_a_port_that_is_asked_for_is_taken_or_refused(page):
    with pytest.raises(PtychoError, match=f"port {page.port} is in use; expected a free one"):
        PageServer(Source(), port=page.port)
    with pytest.raises(SettingsError, match="port is 99999; expected 1 to 65535, or 0"):
        PageServer(Source(), port=99999)


def test_the_address_says_nothing_of_python(page):
    assert ask(page)[1]["Server"].strip() == "bluesky-ptycho"


def test_slow_and_silent_clients_hold_nobody(page):
    """Who sends half a request, or takes no answer, has a thread of their own."""
    with (
        socket.create_connection(("127.0.0.1", page.port)) as silent,
        socket.create_connection(("127.0.0.1", page.port)) as slow,
    ):
        silent.sendall(b"GET /state HT")
        slow.sendall(f"GET /page.js HTTP/1.1\r\nHost: localhost:{page.port}\r\n\r\n".encode() * 50)
        assert ask(page, "/state")[0] == 200


@pytest.mark.slow
def test_more_clients_than_there_is_room_for_are_sent_away_and_later_answered():
    with serving() as server:
        crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(MOST_CLIENTS)]
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as late:
            assert late.recv(1) == b""
        assert sum(t.name.startswith("Thread-") and t.is_alive() for t in threading.enumerate()) >= MOST_CLIENTS
        for client in crowd:
            client.close()
        for _ in range(600):
            try:
                assert ask(server, "/state")[0] == 200
                break
            except (ConnectionError, http.client.HTTPException):
                threading.Event().wait(0.05)
        else:
            pytest.fail("the server never had room again")


def test_nobody_is_answered_after_the_end():
    with serving() as server:
        assert ask(server)[0] == 200
    with pytest.raises(OSError):
        ask(server)
