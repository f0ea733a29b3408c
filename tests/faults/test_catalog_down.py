"""Row 12: a catalog that is down, slow or refusing costs neither the scan nor a document of the result."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from bluesky_ptycho import cli
from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.catalog import backup, open_catalog
from bluesky_ptycho.catalog.embedded import RAW
from tests.callbacks.small_data import small_scan
from tests.conftest import REPOSITORY

from .scene import SETTINGS, Scan, plain_plan

BOUND = "scan completes; every document of the result kept; one command stores all of it"

SERVER = """
import json, sys, uvicorn
from pathlib import Path
from tiled.server.app import build_app_from_config
from bluesky_ptycho.catalog.embedded import server_config

config = server_config(Path(sys.argv[1]), [])
config["authentication"] = {"single_user_api_key": "secret"}
uvicorn.run(build_app_from_config(config), port=int(sys.argv[2]), log_level="error")
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for_server(process, port, patience_s=120.0):
    deadline = time.monotonic() + patience_s
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/v1/", timeout=5)
            return
        except httpx.HTTPError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def server(catalog_dir):
    """A tiled server in a process of its own: ``(process, port)``."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(catalog_dir), str(port)], cwd=REPOSITORY)
    try:
        wait_for_server(process, port)
        yield process, port
    finally:
        process.kill()
        process.wait()


class Front:
    """Stands before the server: hands requests on, or refuses or delays them from a moment on."""

    def __init__(self, port):
        front = self
        self.status, self.delay_s = None, 0.0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(front.delay_s)
                if front.status is not None:
                    found = httpx.Response(front.status, json={"detail": "no"})
                else:
                    kept = {k: v for k, v in self.headers.items() if k.lower() != "accept-encoding"}
                    address = f"http://127.0.0.1:{port}{self.path}"
                    found = httpx.request(self.command, address, content=body, headers=kept, timeout=60)
                self.send_response(found.status_code)
                for key, value in found.headers.multi_items():
                    if key.lower() not in ("content-length", "transfer-encoding", "content-encoding", "connection"):
                        self.send_header(key, value)
                content = b"" if self.command == "HEAD" else found.content
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def front(server):
    made = Front(server[1])
    yield made
    made.close()


def scan_in(directory):
    positions_m, patterns, _, _ = small_scan(n_side=6)
    directory.mkdir(exist_ok=True)
    return Scan(plain_plan(positions_m, (64, 64)), directory, patterns)


def measure(catalog, documents, trouble, at=10):
    """Send a scan to catalog and reconstruction, as a RunEngine would; make `trouble` on the way."""
    slowest, raw = 0.0, catalog.raw_writer(flush_s=0.0)
    with LivePtycho(SETTINGS, catalog=catalog) as live:
        for number, (name, doc) in enumerate(documents):
            if number == at:
                trouble()
            raw(name, doc)
            began = time.monotonic()
            live(name, doc)
            slowest = max(slowest, time.monotonic() - began)
        outcome = live.wait(120)
    return outcome, slowest


def kept_documents(directory):
    """Return the names of the documents of each run that was kept, by its uid."""
    runs = {}
    for file in directory.glob(f"*{backup.SUFFIX}"):
        entries = [json.loads(line) for line in file.read_text().splitlines()]
        runs[entries[0]["doc"]["uid"]] = [entry["name"] for entry in entries]
    return runs


@pytest.fixture
def impatient(monkeypatch):
    """Shorten the time for which tiled's client asks a dead server again and again."""
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_TIMEOUT", 1.0)
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 3)


def stop_server(server, front, monkeypatch):
    server[0].send_signal(signal.SIGKILL)
    server[0].wait()


def refuse(status):
    def trouble(server, front, monkeypatch):
        front.status = status

    return trouble


def slow_down(server, front, monkeypatch):
    front.delay_s = 0.4
    monkeypatch.setattr(backup, "PATIENCE_S", 1.0)


TROUBLES = {
    "12a": ("server process killed", stop_server),
    "12b": ("401", refuse(401)),
    "12c": ("403", refuse(403)),
    "12d": ("500", refuse(500)),
    "12e": ("slow", slow_down),
}
FRONTED = [
    pytest.param(
        trouble,
        id=what,
        marks=[
            pytest.mark.fault(number, f"catalog: {what}", bound=BOUND),
            *([pytest.mark.slow] if number != "12a" else []),
        ],
    )
    for number, (what, trouble) in TROUBLES.items()
]


@pytest.mark.parametrize("trouble", FRONTED)
def test_nothing_is_lost_when_the_catalog_fails(
    trouble, server, front, catalog_dir, tmp_path, monkeypatch, impatient, caplog, figure, capsys
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    scan = scan_in(catalog_dir / "frames")
    port = server[1] if trouble is stop_server else front.port
    address = f"http://127.0.0.1:{port}?api_key=secret"
    with open_catalog(address, results_dir=catalog_dir / "results") as catalog:
        kept_in = catalog.backup_dir
        assert kept_in.is_relative_to(tmp_path / "state")
        outcome, slowest = measure(catalog, scan.documents(), lambda: trouble(server, front, monkeypatch))
    front.status, front.delay_s = None, 0.0
    assert outcome.progress.used == 36 and outcome.error is None
    assert slowest < 0.1, "the RunEngine waits for no catalog of ours"
    kept = kept_documents(kept_in)
    assert set(kept) == {scan.start["uid"], outcome.result_uid}
    assert kept[scan.start["uid"]].count("event_page") == 36
    for names in kept.values():
        assert (names[0], names[-1]) == ("start", "stop")
    said = str(outcome.sink_errors["result run"])
    assert f"bluesky-ptycho restore {kept_in / outcome.result_uid}.jsonl" in said and "secret" not in caplog.text + said

    assert cli.main(["restore", str(kept_in), "--catalog", str(catalog_dir)]) == 0
    assert capsys.readouterr().out.count(" is in ") == 2
    assert not kept_documents(kept_in)
    with open_catalog(catalog_dir) as catalog:
        run = catalog[scan.start["uid"]]
        assert run.metadata["stop"]["exit_status"] == "success"
        np.testing.assert_array_equal(run["primary"]["cam_frame_index"].read(), np.arange(36))
        assert run["primary"]["cam_image"].shape[0] == 36
        result = catalog[outcome.result_uid]
        np.testing.assert_array_equal(result["primary"]["object"].read()[0], outcome.snapshot.object)
        assert len(catalog.raw) == len(catalog.processed) == 1
    stored = sum(map(len, kept.values()))
    figure(f"{stored} of {stored} documents restored")


def test_restoring_twice_or_what_is_whole_changes_nothing(catalog_dir, tmp_path):
    scan = scan_in(catalog_dir / "frames")
    file = backup.RunFile(tmp_path / "kept" / "run.jsonl")
    for name, doc in scan.documents():
        file.add(name, doc)
    command = ["restore", str(tmp_path / "kept"), "--catalog", str(catalog_dir)]
    assert cli.main(command) == 1, "its run is still being written"
    file.close()
    assert cli.main(command) == 0
    (done,) = (tmp_path / "kept").iterdir()
    done.rename(tmp_path / "kept" / "again.jsonl")
    assert cli.main(command) == 0
    with open_catalog(catalog_dir) as catalog:
        assert len(catalog.raw) == 1
        assert catalog[-1]["primary"]["cam_image"].shape[0] == 36


def test_a_run_cut_short_in_the_middle_of_a_line_is_restored_as_open(catalog_dir, tmp_path):
    scan = scan_in(catalog_dir / "frames")
    file = backup.RunFile(tmp_path / "run.jsonl")
    for name, doc in list(scan.documents())[:-1]:
        file.add(name, doc)
    file.close()
    with file.path.open("ab") as cut:
        cut.write(b'{"name": "stop", "doc": {"uid"')
    assert cli.main(["restore", str(file.path), "--catalog", str(catalog_dir)]) == 0
    with open_catalog(catalog_dir) as catalog:
        run = catalog[scan.start["uid"]]
        assert not run.metadata.get("stop")
        np.testing.assert_array_equal(run["primary"]["cam_frame_index"].read(), np.arange(36))
        assert run["primary"]["cam_image"].shape[0] == 36


@pytest.mark.slow
def test_a_catalog_that_takes_everything_leaves_nothing_behind(catalog):
    scan = scan_in(catalog.frames_dir)
    outcome, _ = measure(catalog, scan.documents(), lambda: None)
    assert not outcome.sink_errors
    assert RAW in str(catalog.raw.uri)
    assert list(catalog.backup_dir.iterdir()) == []
