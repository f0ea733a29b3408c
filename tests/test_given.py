"""What functions are given and cannot use is refused at once: one line with argument, value and expectation."""

from __future__ import annotations

import pytest
from bluesky import RunEngine

from bluesky_ptycho import attach
from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.live_figure import LivePtychoFigure
from bluesky_ptycho.converting import convert
from bluesky_ptycho.devices.recon_control import ReconControl
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.ingesting import ingest
from bluesky_ptycho.plans import DarkPreprocessor, keep_dark_records, ptycho_scan
from bluesky_ptycho.replay import replay
from bluesky_ptycho.report import report
from bluesky_ptycho.report.at_the_end import ReportAtEnd
from bluesky_ptycho.reprocess import ReconQueue

OWN = {"frames_key": "image", "position_keys": ("y", "x")}


def refusal(call, *arguments, **named):
    with pytest.raises(PtychoError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"on_done": 3}, "on_done is 3 (int); expected functions that take an Outcome"),
        ({"on_done": [3]}, "on_done is 3 (int); expected functions"),
        ({"on_done": None}, "on_done is None (NoneType); expected functions"),
        ({"accept": 3}, "accept is 3 (int); expected a function of (start, plan)"),
        ({"on_close": 3}, "on_close is 3 (int); expected a function without arguments"),
        ({"on_old_darks": "x"}, "on_old_darks is 'x' (str); expected a function of (plan, uid)"),
        ({"executor": "dask"}, "executor is 'dask' (str); expected one like those of concurrent.futures"),
        ({"control": "recon"}, "control is 'recon' (str); expected a ReconControl"),
        ({"script": 3}, "script is 3 (int); expected Changes"),
        ({"script": [3]}, "script is 3 (int); expected Changes"),
        ({"strict": 1}, "strict is 1 (int); expected True or False"),
        ({**OWN, "position_keys": 3}, "position_keys is 3; expected two data keys"),
        ({**OWN, "energy": True}, "energy is True; expected a positive number or a key"),
        ({**OWN, "layout": "nonsense"}, "'nonsense' is not known"),
    ],
)
def test_live_ptycho(given, says):
    assert says in refusal(LivePtycho, **given)


def test_live_ptycho_once_it_is_there():
    with LivePtycho() as live:
        assert refusal(live.wait, "x") == "timeout is 'x' (str); expected seconds, 0 or more, or None"
        assert refusal(live.close, -1) == "timeout is -1 (int); expected seconds, 0 or more, or None"
        assert "request is 3 (int); expected names and values" in refusal(live.request, 3)


@pytest.mark.parametrize(
    ("backend", "given", "says"),
    [
        ("png", {"directory": 3}, "directory is 3 (int); expected a path"),
        ("png", {"directory": ""}, "directory is '' (str); expected a path"),
        ("png", {"port": 3}, "port is given with backend 'png'; expected 'web'"),
        ("png", {"token": 12 * "a"}, "token is given with backend 'png'; expected 'web'"),
        ("web", {"port": "x"}, "port is 'x' (str); expected a whole number"),
        ("web", {"port": True}, "port is True (bool); expected a whole number"),
        ("web", {"host": 3}, "host is 3 (int); expected a network address"),
        ("web", {"token": 3}, "token is 3 (int); expected text"),
        ("web", {"knobs": 3}, "knobs is 3 (int); expected a ReconControl"),
        ([], {}, "backend is []; expected one of"),
    ],
)
def test_the_live_figure(backend, given, says):
    assert says in refusal(LivePtychoFigure, backend, **given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"RE": 3}, "attach: RE is 3 (int); expected a RunEngine"),
        ({"detector": 3}, "attach: detector is 3 (int); expected a device"),
        ({"axes": 3}, "attach: axes is 3 (int); expected two axes"),
        ({"axes": (3, 4)}, "attach: axes is 3 (int); expected a device"),
        ({"on_done": 3}, "attach: on_done is 3 (int); expected functions"),
        ({"report": 3}, "attach: report is 3 (int); expected a path"),
    ],
)
def test_attach(ptycho_catalog, given, says):
    class Engine:
        """Nothing is subscribed where something is refused."""

        def subscribe(self, callback):
            pytest.fail("it was subscribed")

    assert says in refusal(attach, **{"RE": Engine(), "catalog": ptycho_catalog, **given})


def test_knobs_plans_and_darks(ptycho_beamline):
    engine, beamline = RunEngine({}), ptycho_beamline
    scan = ptycho_scan(
        beamline.fccd, beamline.stage.y, beamline.stage.x, width=1, height=1, step=0.5, exposure=0.01, shutter=3
    )
    assert refusal(engine, scan) == "shutter is 3 (int); expected a device that can be set, or None"
    assert "storage is 3 (int)" in refusal(keep_dark_records, beamline.fccd, 3), "else the next scan would fail of it"
    assert "detector is 3 (int)" in refusal(keep_dark_records, 3, {})
    assert "detector is 3 (int)" in refusal(DarkPreprocessor, detector=3)
    assert "max_age is 'x' (str)" in refusal(DarkPreprocessor, detector=beamline.fccd, max_age="x")
    assert "dark_plan is 3 (int)" in refusal(DarkPreprocessor, detector=beamline.fccd, dark_plan=3)
    assert "settings is 3 (int)" in refusal(ReconControl(name="recon").connect, 3, print)
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join()


def test_stored_runs(ptycho_catalog):
    catalog = ptycho_catalog
    assert "callback is None (NoneType); expected a function of (name, document)" in refusal(replay, -1, catalog, None)
    assert "output is 3 (int); expected a path" in refusal(convert, -1, catalog, "cxi", 3)
    assert "path is 3 (int); expected a path" in refusal(ingest, 3, catalog)


@pytest.mark.parametrize("name", ["output", "notebook", "template"])
def test_a_report(ptycho_catalog, name):
    pytest.importorskip("papermill")
    assert refusal(report, -1, ptycho_catalog, **{name: 3}) == f"{name} is 3 (int); expected a path"
    assert "catalog is 3 (int)" in refusal(ReportAtEnd, 3)
    assert "directory is 3 (int)" in refusal(ReportAtEnd, ptycho_catalog, 3)


def test_the_queue(ptycho_catalog):
    for given, says in (
        ({"workers": "x"}, "workers is 'x' (str); expected a whole number, 1 or more"),
        ({"workers": 0}, "workers is 0; expected 1 or more"),
        ({"client": 3}, "client is 3 (int); expected a distributed.Client"),
        ({"across_proposals": "x"}, "across_proposals is 'x' (str); expected True or False"),
    ):
        assert says in refusal(ReconQueue, ptycho_catalog, **given)
    with ReconQueue(ptycho_catalog) as queue:
        assert "uids is 3 (int)" in refusal(queue.submit_all, 3)
        assert "changes is 'modes=3' (str); expected names and values" in refusal(queue.submit, -1, "modes=3")
        assert "ReconQueue: settings is 3 (int); expected LiveSettings" in refusal(queue.submit, -1, settings=3)
        assert "priority is 'x' (str); expected a whole number" in refusal(queue.submit, -1, priority="x")
        assert queue.jobs == ()
