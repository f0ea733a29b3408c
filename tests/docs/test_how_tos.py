"""The how-tos run as they stand, in a session that has what they name."""

from __future__ import annotations

import asyncio
import http.server
import json
import shlex
import shutil
import threading

import pytest
from bluesky import RunEngine

from bluesky_ptycho import make_beamline, open_catalog, ptycho_scan, registry
from bluesky_ptycho.cli import main
from tests.conftest import REPOSITORY

from .blocks import read_blocks

HOW_TOS = REPOSITORY / "docs" / "how-to"
TABLES = (registry.preprocessing_steps, registry.algorithms, registry.sinks)
SLOW = {"report.md", "knobs.md", "replay.md"}
"""Pages that take long: they scan, replay or start other processes."""
ELSEWHERE = {"notify.md", "queueserver.md"}
"""Pages that need somebody to talk to, and have a test of their own."""

pytestmark = pytest.mark.timeout(900)  # whole pages with scans and reconstructions, on a machine that may be overloaded

pages = [
    pytest.param(path, marks=[pytest.mark.slow] if path.name in SLOW else [], id=path.stem)
    for path in sorted(HOW_TOS.glob("*.md"))
    if path.name not in ELSEWHERE
]


@pytest.fixture(scope="module")
def beamline_session(tmp_path_factory, blank_catalog):
    """RunEngine, devices, and a catalog with one scan, which all pages share."""
    place = shutil.copytree(blank_catalog, tmp_path_factory.mktemp("how_to") / "ptycho_catalog")
    engine = RunEngine({}, loop=(loop := asyncio.new_event_loop()))
    with (
        open_catalog(place) as catalog,
        make_beamline(
            catalog.frames_dir, md=engine.md, camera="plain", shape=(64, 64), frame_rate=200.0, progress=False
        ) as beamline,
    ):
        engine.subscribe(catalog.raw_writer())
        axes = beamline.stage.y, beamline.stage.x
        plan = ptycho_scan(beamline.fccd, *axes, width=0.4, height=0.4, step=0.1, exposure=0.005, darks=2)
        engine(plan, sample_name="gold")
        yield {"RE": engine, "catalog": catalog, "fccd": beamline.fccd, "stage": beamline.stage, "__name__": "how_to"}
    loop.call_soon_threadsafe(loop.stop)
    engine._th.join()
    loop.close()


@pytest.fixture
def session(tmp_path, monkeypatch, beamline_session):
    """The names of that session; the working directory has its catalog as `ptycho_catalog`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "ptycho_catalog").symlink_to(beamline_session["catalog"].name)
    before = [dict(table._entries) for table in TABLES]
    yield dict(beamline_session)
    for table, entries in zip(TABLES, before, strict=True):
        table._entries.clear()
        table._entries.update(entries)


def run_page(path, names, change=lambda code: code):
    for block in read_blocks(path):
        if block.language == "python":
            # Padded so that a traceback names the line of the page.
            exec(compile("\n" * (block.line - 1) + change(block.code), path, "exec"), names)
        else:
            assert block.language == "sh", block
            for line in block.code.splitlines():
                command, *arguments = shlex.split(line)
                assert command == "bluesky-ptycho", line
                assert main(arguments) == 0, line


@pytest.mark.parametrize("page", pages)
def test_it_runs_as_it_stands(page, session):
    if page.name in SLOW:
        pytest.importorskip("papermill")
    results = len(session["catalog"].processed)
    run_page(page, session)
    if page.name not in {"gpu.md", *SLOW}:
        assert len(session["catalog"].processed) > results, "it reconstructs the scan"


def test_the_webhook_is_called(session):
    received = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Content-Type"], json.loads(content)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/"
            run_page(HOW_TOS / "notify.md", session, lambda code: code.replace("http://127.0.0.1:8000/", address))
        finally:
            server.shutdown()
            thread.join()
    ((path, kind, message),) = received
    assert (path, kind) == ("/hooks/ptycho", "application/json")
    assert (message["sample"], message["status"]) == ("gold", "success")
    assert message["frames_used"] == 9
    assert message["scan"] == session["catalog"][-1].start["scan_id"]
    assert session["catalog"][message["result"]].start["raw_uid"] == session["catalog"][-1].start["uid"]
