"""Row 16: an exception in every stage, sink, plot and plug-in, one at a time, harms nothing but itself."""

from __future__ import annotations

import sys

import pytest
from bluesky import RunEngine
from bluesky.plan_stubs import close_run, open_run
from bluesky.plans import count
from ophyd.sim import det

from bluesky_ptycho import figure as figures
from bluesky_ptycho.callbacks import LivePtycho, analysis, document_keys, file_sinks, result_file, results
from bluesky_ptycho.callbacks.frame_reader import FrameReader
from bluesky_ptycho.callbacks.frame_supply import FrameSupply
from bluesky_ptycho.callbacks.frame_verdicts import FrameVerdicts
from bluesky_ptycho.callbacks.joiner import Joiner
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.io import cxi
from bluesky_ptycho.preprocess.pipeline import Pipeline
from bluesky_ptycho.recon import IncrementalSolver
from bluesky_ptycho.recon.halves import Halves
from bluesky_ptycho.registry import algorithms
from tests.callbacks.small_data import small_scan

from .scene import SETTINGS, Results, Scan, plain_plan


class Boom(RuntimeError):
    """What nothing in the package raises."""


def boom(*args, **kwargs):
    raise Boom("the seam burst")


def leave(*args, **kwargs):
    sys.exit(3)


STAGES = {
    "a descriptor": (document_keys, "read_descriptor"),
    "an event": (document_keys, "read_points"),
    "a stream resource": (document_keys, "read_source"),
    "a stream datum": (document_keys, "read_events_available"),
    "the joiner": (Joiner, "add_point"),
    "what is ready": (Joiner, "take"),
    "the geometry": (analysis, "output_geometry"),
    "the intake": (analysis.Intake, "take_points"),
    "the reader": (FrameReader, "read_good"),
    "the choice of darks": (FrameSupply, "_decide_darks"),
    "preparing the cleaning": (FrameSupply, "set_up"),
    "the cleaning": (Pipeline, "__call__"),
    "the verdicts": (FrameVerdicts, "judge"),
    "the transmission map": (FrameSupply, "stxm"),
    "what is missing": (FrameSupply, "missing"),
    "closing the files": (FrameSupply, "close"),
    "making a solver": (IncrementalSolver, "__init__"),
    "warming up": (IncrementalSolver, "warm_up"),
    "adding frames": (IncrementalSolver, "add"),
    "a pass": (IncrementalSolver, "step"),
    "a snapshot": (IncrementalSolver, "snapshot"),
    "the halves": (Halves, "step"),
    "the last passes": (IncrementalSolver, "finish"),
    "closing the solver": (IncrementalSolver, "close"),
}
SINKS = {
    "a plot": (figures, "save_reconstruction_png", "png"),
    "the directory": (file_sinks, "scan_directory", "png"),
    "CXI": (cxi, "write_result_cxi", "cxi"),
    "the result's arrays": (results, "result_arrays", "result run"),
    "the result's file": (results, "write_result_file", "result run"),
    "the result's figures": (results, "summary_figures", "result run"),
    "the canvas": (result_file, "canvas_fields", "result run"),
}


class Watch:
    """A sink that must come through everything."""

    name = "watch"

    def __init__(self):
        self.kinds = []

    def __call__(self, update):
        self.kinds.append(update.kind)


@pytest.fixture(scope="module")
def data():
    return small_scan(n_side=5)


@pytest.fixture
def engine():
    made = RunEngine({})
    yield made
    made.loop.call_soon_threadsafe(made.loop.stop)
    made._th.join()
    made.loop.close()


def run_scan(tmp_path, data, live, engine, **fields):
    """Emit a scan through a real dispatcher, where a callback that raises would end the run; then a plain scan."""
    scan = Scan(plain_plan(data[0], (64, 64), **fields), tmp_path, data[1])
    from bluesky.run_engine import DocumentNames

    token = engine.subscribe(live)
    for name, doc in scan.documents():
        engine.dispatcher.process(DocumentNames[name], doc)
    engine(count([det], 2))
    engine.unsubscribe(token)
    return scan.start["uid"]


def assert_reported_once(caplog, needle):
    found = [r.getMessage() for r in caplog.records if needle in r.getMessage()]
    assert len(found) == 1, [r.getMessage() for r in caplog.records]
    return found[0]


@pytest.mark.fault("16a", "exception in a stage", bound="0 scans killed; stored and reported once; sinks unharmed")
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_raises(stage, tmp_path, data, engine, monkeypatch, caplog, figure):
    owner, name = STAGES[stage]
    monkeypatch.setattr(owner, name, boom)
    watch, stored = Watch(), Results(tmp_path)
    live = LivePtycho(SETTINGS.with_changes(frc=True, passes=3), catalog=stored, sinks=[watch], strict=True)
    uid = run_scan(tmp_path, data, live, engine)
    if live._running or live.outcome(uid):
        try:
            live.wait(240)
        except PtychoError as error:
            assert isinstance(error.__cause__, Boom)
        outcome = live.outcome(uid)
        assert (watch.kinds[0], watch.kinds[-1]) == ("start", "final")
        errors = [outcome.error] if outcome.error else []
        assert len(errors) <= 1 and not outcome.sink_errors
        said = assert_reported_once(caplog, "analysis failed" if stage == "a snapshot" else "the seam burst")
        assert said in {f"scan 1: {m}" for m in outcome.update.messages} or stage == "closing the solver"
        assert "bluesky-ptycho replay" in said
        assert [n for n, _ in stored.documents].count("stop") == 1
    else:
        assert_reported_once(caplog, "the seam burst")
        assert [type(error) for error in live.errors.values()] == [Boom]
        assert not live._claims._locks, "another session may take it"
        with pytest.raises(PtychoError, match="the seam burst"):
            live.close()
    monkeypatch.undo()
    figure("scan finished")


@pytest.mark.fault(
    "16b", "exception in a sink or plot", bound="0 scans killed; stored and reported once; others unharmed"
)
@pytest.mark.parametrize("place", SINKS)
def test_a_sink_that_raises(place, tmp_path, data, engine, monkeypatch, caplog, figure):
    owner, name, culprit = SINKS[place]
    monkeypatch.setattr(owner, name, boom)
    watch, stored = Watch(), Results(tmp_path)
    png, as_cxi = file_sinks.PngSink(tmp_path / "out"), file_sinks.CxiSink(tmp_path / "out")
    live = LivePtycho(SETTINGS.with_changes(passes=3), catalog=stored, sinks=[png, watch, as_cxi], strict=True)
    uid = run_scan(tmp_path, data, live, engine)
    with pytest.raises(PtychoError, match="the seam burst"):
        live.wait(240)
    outcome = live.outcome(uid)
    assert outcome.error is None and outcome.progress.used == 25
    failed = {"png", "cxi"} if name == "scan_directory" else {culprit}
    assert set(outcome.sink_errors) == failed
    assert all(isinstance(error, Boom) for error in outcome.sink_errors.values())
    assert watch.kinds[-1] == "final"
    for sink in failed:
        assert "bluesky-ptycho replay" in assert_reported_once(caplog, f"sink {sink} failed")
    if culprit != "result run":
        assert any("the seam burst" in message for message in stored.summary()["messages"])
    written = {file.name for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert written == {"reconstruction.png", "result.cxi"} - ({"reconstruction.png"} if "png" in failed else set()) - (
        {"result.cxi"} if "cxi" in failed else set()
    )
    figure("others unharmed")


@pytest.mark.fault("16c", "plug-in that raises or exits", bound="0 scans killed; stored and reported once")
@pytest.mark.parametrize(
    ("place", "how"),
    [(place, boom) for place in ("algorithm", "sink", "accept", "on_close", "catalog's darks", "catalog's probe")]
    + [(place, leave) for place in ("algorithm", "sink", "accept", "on_close")],
)
def test_a_plug_in_that_fails(place, how, tmp_path, data, engine, monkeypatch, caplog, figure):
    watch, stored, more = Watch(), Results(tmp_path), {}
    settings = SETTINGS.with_changes(passes=3)
    if place == "algorithm":
        monkeypatch.setitem(algorithms._entries, "foreign", how)
        settings = settings.with_changes(**{"solver.algorithm": "foreign"})
    elif place in ("accept", "on_close"):
        more[place] = how
    elif place == "catalog's darks":
        stored.nearest_darks = stored.find_darks = how
    elif place == "catalog's probe":
        stored.last_probe, settings = how, settings.with_changes(first_probe="last")
    sinks = [how, watch] if place == "sink" else [watch]
    live = LivePtycho(settings, catalog=stored, sinks=sinks, **more)
    uid = run_scan(tmp_path, data, live, engine, dark_uid="gone" if place == "catalog's darks" else None)
    if place != "accept":
        try:
            outcome = live.wait(240)
        except PtychoError:
            assert place == "algorithm"
            outcome = live.outcome(uid)
        assert watch.kinds[-1] == "final"
        assert [n for n, _ in stored.documents].count("stop") == 1
        assert (outcome.progress.used > 0) == (place != "algorithm")
        assert bool(outcome.sink_errors) == (place == "sink")
    live.close()
    troubled = [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]
    assert len(troubled) == 1, [r.getMessage() for r in troubled]
    figure("scan finished")


def test_a_run_that_breaks_within_a_run_is_left_alone(tmp_path, data, engine):
    """A plan that opens a run of its own inside a ptychography scan does not end it."""
    scan = Scan(plain_plan(data[0], (64, 64)), tmp_path, data[1])
    from bluesky.run_engine import DocumentNames

    live = LivePtycho(SETTINGS.with_changes(passes=3), strict=True)
    engine.subscribe(live)

    def inner():
        yield from open_run({"purpose": "alignment"})
        yield from close_run()

    for number, (name, doc) in enumerate(scan.documents()):
        if number == 20:
            engine(inner())
        engine.dispatcher.process(DocumentNames[name], doc)
    assert live.wait(240).progress.used == 25
    live.close()
