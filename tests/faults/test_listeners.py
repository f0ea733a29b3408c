"""Row 21: who listens, who may write, and where keys show up."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import socketserver
import subprocess
import sys
import threading
import time

import psutil
import pytest

from bluesky_ptycho import ptycho_scan
from bluesky_ptycho.callbacks import LivePtycho, LivePtychoFigure
from bluesky_ptycho.catalog import open_catalog
from bluesky_ptycho.devices import ReconControl
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.listener import DEFAULT_ADDRESS, Listener, from_message, to_json
from tests.callbacks.small_data import small_scan
from tests.conftest import REPOSITORY

from .scene import SETTINGS, Scan, plain_plan
from .test_catalog_down import SERVER, Front, free_port, wait_for_server

zmq = pytest.importorskip("zmq")
QUICK = SETTINGS.with_changes(passes=2)
FIELD = {"width": 0.3, "height": 0.3, "step": 0.1, "exposure": 0.005, "darks": 1}


def listening():
    """Return the addresses at which this process and its children can be reached."""
    process = psutil.Process()
    found = [c for p in (process, *process.children(recursive=True)) for c in p.net_connections(kind="inet")]
    return {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN or (c.type == 2 and not c.raddr)}


@pytest.mark.fault("21a", "who listens", bound="nobody in a session; 127.0.0.1 only where told to listen")
@pytest.mark.parametrize("in_child", [False, True], ids=["thread", "process"])
def test_nothing_listens_beyond_this_machine(in_child, RE, ptycho_catalog, ptycho_beamline, figure):
    before = listening()
    seen = set()
    with LivePtycho(QUICK, catalog=ptycho_catalog, process=in_child) as live:
        RE.subscribe(live)
        RE.subscribe(lambda name, doc: seen.update(listening()), "event")
        RE(ptycho_scan(ptycho_beamline.fccd, ptycho_beamline.stage.y, ptycho_beamline.stage.x, **FIELD))
        seen |= listening()
        assert live.wait(120).progress.used == 9
        seen |= listening()
        with contextlib.closing(Listener(live, f"127.0.0.1:{free_port()}")):
            told = listening() - before
        with contextlib.closing(LivePtychoFigure("web", port=0, knobs=ReconControl())):
            page = listening() - before
    figure(f"session: {sorted(seen - before) or 'nobody'}; told: {sorted(told)}; page: {sorted(page)}")
    assert not seen - before
    assert told == page == {"127.0.0.1"}
    assert DEFAULT_ADDRESS.startswith("127.0.0.1:")


PUBLISH = """
import sys
from bluesky import RunEngine
from bluesky.callbacks.zmq import Publisher
from bluesky_ptycho import ptycho_scan
from bluesky_ptycho.listener import to_json
from bluesky_ptycho.sim import make_beamline
import time

address, directory = sys.argv[1:]
engine = RunEngine({})
publisher = Publisher(address, serializer=to_json)
engine.subscribe(publisher)
time.sleep(1.0)
with make_beamline(directory, camera="plain", shape=(32, 32), frame_rate=100.0, progress=False) as line:
    engine(ptycho_scan(line.fccd, line.stage.y, line.stage.x, width=0.4, height=0.4, step=0.1, exposure=0.01, darks=1))
time.sleep(1.0)
publisher.close()
"""


class Marker:
    def __reduce__(self):
        return (exec, ("import builtins; builtins.unpickled = True",))


@pytest.mark.fault("21b", "documents over 0MQ", bound="scan of another process reconstructed; nothing unpickled")
def test_a_scan_of_another_process_is_reconstructed_and_rubbish_is_refused(tmp_path, figure):
    address = f"127.0.0.1:{free_port()}"
    live = LivePtycho(QUICK)
    listener = Listener(live, address)
    thread = threading.Thread(target=listener.run)
    thread.start()
    context = zmq.Context()
    hostile = context.socket(zmq.PUB)
    hostile.connect(f"tcp://{address}")
    time.sleep(0.5)
    rubbish = [
        b" start " + pickle.dumps(Marker()),
        b" start {}",
        b" start []",
        b' start {"uid": 3, "time": "x"}',
        b" __import__ {}",
        b"nothing at all",
        b" event " + b"[" * 100_000,
        b"\xff \xff \xff",
    ]
    for message in rubbish:
        hostile.send(message)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PUBLISH, address, str(tmp_path)], cwd=REPOSITORY, timeout=280, check=False
        )
        assert done.returncode == 0
        outcome = live.wait(240)
    finally:
        listener.stop()
        thread.join()
        hostile.close(linger=0)
        context.term()
        listener.close()
        live.close()
    figure(f"{outcome.progress.used} of 16 frames used; {listener.refused} of {len(rubbish)} messages refused")
    assert outcome.progress.used == 16
    assert listener.refused == len(rubbish)
    assert not hasattr(__import__("builtins"), "unpickled")


def test_documents_come_back_as_they_were():
    import numpy as np

    start = {"uid": "a", "time": 1.5, "x": np.arange(3), "y": np.float64(2)}
    assert from_message(b" start " + to_json(start)) == ("start", {"uid": "a", "time": 1.5, "x": [0, 1, 2], "y": 2.0})
    with pytest.raises(TypeError, match="holds a object"):
        to_json({"x": object()})


def test_an_address_that_cannot_be_used_is_one_clear_line():
    says = r"address '{}' cannot be listened at: [\w ]+; expected HOST:PORT of this machine$"
    for address in ("nowhere", "203.0.113.7:5578"):
        with pytest.raises(PtychoError, match=says.format(address)):
            Listener(print, address)


@pytest.mark.parametrize(("content", "what"), [(pickle.dumps({"uid": "a"}), "pickled"), (b"\x81\xa3uid", "no JSON")])
def test_what_is_no_json_is_told_with_what_the_publisher_needs(content, what):
    says = rf"^it is {what}; expected JSON, as of Publisher\(\.\.\., serializer=bluesky_ptycho\.listener\.to_json\)$"
    with pytest.raises(ValueError, match=says):
        from_message(b" start " + content)


@pytest.mark.fault("21c", "keys", bound="absent from documents, logs, reprs and messages")
def test_keys_show_up_nowhere(catalog_dir, tmp_path, caplog, monkeypatch, capsys, figure):
    caplog.set_level(logging.DEBUG, logger="bluesky_ptycho")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key, port = "5ec7e7c0ffee", free_port()
    program = SERVER.replace('"secret"', f'"{key}"')
    process = subprocess.Popen([sys.executable, "-c", program, str(catalog_dir), str(port)], cwd=REPOSITORY)
    texts = []
    try:
        wait_for_server(process, port)
        positions_m, patterns, _, _ = small_scan(n_side=4)
        scan = Scan(plain_plan(positions_m, (64, 64)), catalog_dir / "frames", patterns)
        with contextlib.closing(Front(port)) as front:
            address = f"http://127.0.0.1:{front.port}?api_key={key}"
            with open_catalog(address, results_dir=catalog_dir / "results") as catalog:
                with LivePtycho(QUICK, catalog=catalog) as live:
                    raw = catalog.raw_writer()
                    for number, (name, doc) in enumerate(scan.documents()):
                        raw(name, doc)
                        live(name, doc)
                        front.status = 403 if number > 10 else None
                    outcome = live.wait(240)
                    texts += [repr(catalog), repr(live), live.status(), str(outcome.update), str(outcome.sink_errors)]
                texts += [file.read_text() for file in catalog.backup_dir.iterdir()]
                assert texts[-1]
    finally:
        process.kill()
        process.wait()
    with contextlib.closing(LivePtychoFigure("web", port=0, token=key)) as shown:
        capsys.readouterr()  # the address that was printed is how to get in
        texts.append(repr(shown))
    for target in (f"http://127.0.0.1:{port}?api_key={key}", f"http://127.0.0.1:{port}/x?api_key={key}&y=1"):
        with pytest.raises(PtychoError) as refused:
            open_catalog(target)
        texts.append(str(refused.value))
    texts += [caplog.text, *capsys.readouterr(), json.dumps([p.name for p in (tmp_path / "state").rglob("*")])]
    found = sum(key in text for text in texts)
    figure(places_with_the_key=found, places_searched=len(texts))
    assert found == 0


class Parrot(socketserver.BaseRequestHandler):
    """Says again what it is asked, which stands in the error then."""

    def handle(self):
        self.request.sendall(self.request.recv(1 << 16))


def test_a_server_that_repeats_what_it_is_asked_makes_no_key_show_up():
    with socketserver.TCPServer(("127.0.0.1", 0), Parrot) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(PtychoError, match=r"cannot be opened: .*\?api_key=\*\*\*"):
            open_catalog(f"http://127.0.0.1:{server.server_address[1]}?api_key=5ec7e7c0ffee")
        thread.join()
