"""The how-tos run as they stand, in a session that has what they name."""

from __future__ import annotations

import asyncio
import http.server
import json
import queue
import shlex
import shutil
import threading
import time
from pathlib import Path

import pytest
from bluesky import RunEngine

from bluesky_ptycho import make_beamline, open_catalog, ptycho_scan, registry
from bluesky_ptycho.cli import main
from bluesky_ptycho.listener import DEFAULT_ADDRESS, Listener
from tests.conftest import REPOSITORY
from tests.faults.test_catalog_down import free_port

from .blocks import read_blocks

HOW_TOS = REPOSITORY / "docs" / "how-to"
TABLES = (registry.preprocessing_steps, registry.algorithms, registry.sinks)
SLOW = {"report.md", "knobs.md", "replay.md"}
"""Pages that take long: they scan, replay or start other processes."""
ELSEWHERE = {"listen.md", "notify.md", "queueserver.md"}
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
    run_blocks(path, read_blocks(path), names, change)


def run_blocks(path, blocks, names, change):
    for block in blocks:
        if block.file is not None:
            Path(block.file).write_text(block.code)
        elif block.language == "python":
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
    if page.name not in {"gpu.md", "settings.md", *SLOW}:
        assert len(session["catalog"].processed) > results, "it reconstructs the scan"


def test_scans_are_heard_by_another_process(session, monkeypatch):
    """The one that listens is a thread here, which is ended by what Ctrl-C raises there."""
    pytest.importorskip("zmq")
    heard, statuses, run = queue.Queue(), [], Listener.run

    def until_stopped(listener):
        heard.put(listener)
        run(listener)
        raise KeyboardInterrupt

    monkeypatch.setattr(Listener, "run", until_stopped)
    page, address = HOW_TOS / "listen.md", f"127.0.0.1:{free_port()}"
    listening, *scanning = read_blocks(page)
    results = len(session["catalog"].processed)
    command, *arguments = shlex.split(listening.code.replace(DEFAULT_ADDRESS, address))
    assert command == "bluesky-ptycho"
    thread = threading.Thread(target=lambda: statuses.append(main(arguments)))
    thread.start()
    listener = heard.get(timeout=120)
    try:
        run_blocks(page, scanning, session, lambda code: code.replace(DEFAULT_ADDRESS, address))
        deadline = time.monotonic() + 300
        while not any(r.metadata.get("stop") for r in list(session["catalog"].processed.values())[results:]):
            assert time.monotonic() < deadline, "no reconstruction is stored"
            time.sleep(0.1)
    finally:
        listener.stop()
        thread.join()
    assert (statuses, listener.refused) == ([0], 0)
    made = list(session["catalog"].processed.values())[-1]
    assert made.start["raw_uid"] == session["catalog"][-1].start["uid"]
    assert (made.stop["exit_status"], made.stop["ptychography"]["frames_used"]) == ("success", 9)


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
