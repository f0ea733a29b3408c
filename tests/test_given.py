"""What functions are given and cannot use is refused at once: one line with argument, value and expectation."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bluesky_ptycho import attach, make_beamline
from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.live_figure import LivePtychoFigure
from bluesky_ptycho.catalog import open_catalog
from bluesky_ptycho.catalog.search import make_search
from bluesky_ptycho.converting import convert
from bluesky_ptycho.devices import Fccd
from bluesky_ptycho.devices.recon_control import ReconControl
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.given import as_path
from bluesky_ptycho.ingesting import ingest
from bluesky_ptycho.knobs import Change
from bluesky_ptycho.offline import reconstruct_file
from bluesky_ptycho.plans import DarkPreprocessor, dark_records, keep_dark_records, ptycho_scan
from bluesky_ptycho.raw_scan import RawFileOptions, raw_file
from bluesky_ptycho.replay import replay
from bluesky_ptycho.report import report
from bluesky_ptycho.report.at_the_end import ReportAtEnd
from bluesky_ptycho.reprocess import ReconQueue
from bluesky_ptycho.resuming import resume

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
        ({"script": None}, "script is None (NoneType); expected Changes"),
        ({"strict": 1}, "strict is 1 (int); expected True or False"),
        ({**OWN, "position_keys": 3}, "position_keys is 3; expected two data keys"),
        ({**OWN, "energy": True}, "energy is True; expected a positive number or a key"),
        ({**OWN, "adu_per_ev": 0}, "adu_per_ev is 0; expected a positive number"),
        ({**OWN, "adu_per_ev": "gain"}, "adu_per_ev is 'gain'; expected a positive number"),
        ({**OWN, "layout": ["plain"]}, "layout is ['plain'] (list); expected the name of a layout"),
        ({**OWN, "layout": "nonsense"}, "'nonsense' is not known"),
    ],
)
def test_live_ptycho(given, says):
    assert says in refusal(LivePtycho, **given)


def test_a_directory_that_cannot_be_made_is_refused_before_a_scan(tmp_path):
    (tmp_path / "file").write_text("")
    with LivePtycho() as live:
        told = refusal(live.show, "png", directory=tmp_path / "file" / "figures")
        assert told == (
            f"directory is {tmp_path}/file/figures, and {tmp_path}/file is a file; expected one that can be made"
        )
        assert not live.sinks


def test_live_ptycho_once_it_is_there():
    with LivePtycho() as live:
        assert refusal(live.wait, "x") == "timeout is 'x' (str); expected seconds, 0 or more, or None"
        assert refusal(live.close, -1) == "timeout is -1 (int); expected seconds, 0 or more, or None"
        assert "request is 3 (int); expected names and values" in refusal(live.request, 3)
        assert "request is {3: 1} (dict); expected names and values" in refusal(live.request, {3: 1})


@pytest.mark.parametrize("form", [list, tuple, iter, lambda changes: changes[0]])
def test_a_script_may_be_of_any_form(form):
    """Also one that can be gone through but once, which a look at it must not use up."""
    change = Change(1, {"solver.modes": 2}, {}, 0, 0, 0.0)
    with LivePtycho(script=form([change])) as live:
        assert live._script == (change,)


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
        (
            {"report": f"{__file__}/x"},
            f"attach: report is {__file__}/x, and {__file__} is a file; expected the name of a",
        ),
        ({"report": __file__}, f"attach: report is {__file__}, which is a file; expected the name of a directory"),
    ],
)
def test_attach(ptycho_catalog, given, says):
    class Engine:
        """Nothing is subscribed where something is refused."""

        def subscribe(self, callback):
            pytest.fail("it was subscribed")

    assert says in refusal(attach, **{"RE": Engine(), "catalog": ptycho_catalog, **given})


@pytest.mark.parametrize("given", [{"RE": 3}, {"on_done": 3}, {"detector": 3}, {"axes": ("y",)}, {"report": __file__}])
def test_what_attach_refuses_makes_no_catalog(tmp_path, given):
    refusal(attach, **{"RE": SimpleNamespace(subscribe=print), "catalog": tmp_path / "new", **given})
    assert not list(tmp_path.iterdir())


def test_knobs_plans_and_darks(RE, ptycho_beamline):
    beamline = ptycho_beamline
    scan = ptycho_scan(
        beamline.fccd, beamline.stage.y, beamline.stage.x, width=1, height=1, step=0.5, exposure=0.01, shutter=3
    )
    assert refusal(RE, scan) == "shutter is 3 (int); expected a device that can be set, or None"
    assert "storage is 3 (int)" in refusal(keep_dark_records, beamline.fccd, 3), "else the next scan would fail of it"
    assert "detector is 3 (int)" in refusal(keep_dark_records, 3, {})
    assert "detector is 3 (int)" in refusal(DarkPreprocessor, detector=3)
    assert "max_age is 'x' (str)" in refusal(DarkPreprocessor, detector=beamline.fccd, max_age="x")
    assert "max_age is None" in refusal(DarkPreprocessor, detector=beamline.fccd, max_age=None)
    assert "dark_plan is 3 (int)" in refusal(DarkPreprocessor, detector=beamline.fccd, dark_plan=3)
    assert "settings is 3 (int)" in refusal(ReconControl(name="recon").connect, 3, print)


def test_darks_of_any_detector_may_serve_for_good():
    """One of other makers has no info(), and a flyer is not read."""

    class Camera:
        name = "camera"

    camera = Camera()
    records = keep_dark_records(camera, {})
    assert DarkPreprocessor(detector=camera, dark_plan=print, max_age=math.inf).detector is camera
    records.remember_for("any", 5, "a-b", is_scan=True)
    assert dark_records(camera).find_for("any", 5, math.inf, is_scan=True) == "a-b"


class OfBytes:
    def __fspath__(self):
        return b"x"


def test_paths():
    assert as_path("path", "~x/y") == as_path("path", Path("~x/y")) == Path("~x/y")
    for value in (None, "", b"x", OfBytes()):
        assert "path is " in refusal(as_path, "path", value)


def test_stored_runs(ptycho_catalog, tmp_path):
    catalog = ptycho_catalog
    assert "callback is None (NoneType); expected a function of (name, document)" in refusal(replay, -1, catalog, None)
    assert "convert: progress is 3 (int); expected True or False" in refusal(
        convert, -1, catalog, "cxi", tmp_path / "x.cxi", progress=3
    )
    assert "output is 3 (int); expected a path" in refusal(convert, -1, catalog, "cxi", 3)
    assert "path is 3 (int); expected a path" in refusal(ingest, 3, catalog)
    assert "ingest: progress is 3 (int)" in refusal(ingest, tmp_path / "absent.cxi", catalog, progress=3)
    for name in ("", " ", 3):
        told = refusal(ingest, tmp_path / "absent.cxi", tmp_path / "new", sample_name=name)
        assert told.startswith(f"sample name is {name!r} (") and not (tmp_path / "new").exists()
    for name, value in (("patience_s", "x"), ("patience_s", None), ("patience_s", -1), ("say", 3), ("wait", 3)):
        assert refusal(resume, -1, catalog, **{name: value}).startswith(f"{name} is {value!r} (")


def test_what_takes_no_documents_is_no_callback(ptycho_catalog, RE):
    """A RunEngine can be called with anything, and fails in its own ways."""
    for callback in (RE, LivePtycho, [].append, lambda: None):
        told = refusal(replay, -1, ptycho_catalog, callback)
        assert told.startswith("callback is ") and told.endswith(
            "; expected a function of (name, document), as LivePtycho()"
        )
    for callback in (print, dict, lambda *documents: None):
        assert "callback" not in refusal(replay, -1, ptycho_catalog, callback)


def test_switches_of_what_works_on_files(tmp_path):
    for given in ({"progress": 1}, {"show": "yes"}):
        (name,) = given
        assert f"reconstruct_file: {name} is " in refusal(reconstruct_file, tmp_path / "absent.cxi", **given)
    assert "make_beamline: progress is 1 (int)" in refusal(make_beamline, tmp_path, progress=1)


@pytest.mark.parametrize("name", ["energy_ev", "distance_m", "pixel_m", "adu_per_ev"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_numbers_of_a_raw_file(tmp_path, name, value):
    def read():
        with raw_file(tmp_path / "absent.h5", RawFileOptions(**{name: value})):
            pass

    assert refusal(read) == f"{name} is {value} (float); expected a positive number"


def test_the_gain_of_a_camera():
    camera = {"shape": (8, 8), "pixel_m": (1e-5, 1e-5), "layout": "plain", "energy_ev": 800.0, "distance_m": 0.1}
    for gain in (0.0, -1.0, math.nan):
        told = refusal(Fccd, None, provider=print, **camera, adu_per_ev=gain)
        assert told == f"adu_per_ev is {gain} (float); expected a positive number"


def test_searches():
    assert refusal(make_search, sample=3) == "search: sample is 3 (int); expected a name or a part of one"
    assert make_search(energy=np.float32(700)).energies_ev == pytest.approx((693, 707))
    assert "energy is [None]" in refusal(make_search, energy=[None])
    assert "since is 1e+30 s, later than until, which is 1970-01-" in refusal(make_search, since=1e30, until=86400.0)


@pytest.mark.parametrize("name", ["output", "notebook", "template"])
def test_a_report(ptycho_catalog, name):
    pytest.importorskip("papermill")
    assert refusal(report, -1, ptycho_catalog, **{name: 3}) == f"{name} is 3 (int); expected a path"
    assert "catalog is 3 (int)" in refusal(ReportAtEnd, 3)
    assert "directory is 3 (int)" in refusal(ReportAtEnd, ptycho_catalog, 3)
    assert f"directory is {__file__}, which is a file" in refusal(ReportAtEnd, ptycho_catalog, __file__)
    ReportAtEnd(ptycho_catalog, ptycho_catalog.results_dir)  # where they go unless told


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
        assert "changes is {3: 1} (dict); expected names and values" in refusal(queue.submit, -1, changes={3: 1})
        for priority in ("x", 1.5, True, None):
            assert "; expected a whole number" in refusal(queue.submit, -1, priority=priority)
        # What NumPy counts with is a number, too; that there is no run is told then.
        assert "priority" not in refusal(queue.submit, -1, priority=np.int64(3))
        assert queue.jobs == ()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"target": 3}, "catalog is 3 (int); expected a directory, an http address, a profile, or None"),
        ({"target": ReconQueue}, "expected a directory, an http address"),
        ({"frames": 3}, "frames is 3 (int); expected directories"),
        ({"frames": [3]}, "frames is 3 (int); expected directories"),
        ({"results_dir": 3}, "results_dir is 3 (int); expected a path"),
        ({"create": 3}, "open_catalog: create is 3 (int); expected True or False"),
    ],
)
def test_what_is_no_catalog_makes_none(tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    assert says in refusal(open_catalog, **{"target": "new", **given})
    assert not list(tmp_path.iterdir())


def test_frames_of_a_catalog_may_lie_in_one_directory(tmp_path):
    (tmp_path / "frames").mkdir()
    with open_catalog(tmp_path / "catalog", frames=str(tmp_path / "frames")) as catalog:
        assert tmp_path / "frames" in catalog.readable_roots
