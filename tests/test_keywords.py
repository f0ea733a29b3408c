"""Keywords that nobody knows are refused in one line that says which may be meant, before anything is done."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

from bluesky_ptycho import attach, convert, ingest, make_beamline, open_catalog, ptycho_fly_scan, ptycho_scan, resume
from bluesky_ptycho.callbacks import LivePtycho, LivePtychoFigure, LiveSettings
from bluesky_ptycho.catalog.search import make_search
from bluesky_ptycho.devices import ReconControl
from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.keywords import checks_arguments, keywords_of
from bluesky_ptycho.plans import DarkPreprocessor, ptycho_list_scan
from bluesky_ptycho.preprocess import PreprocessSettings
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.replay import replay
from bluesky_ptycho.report import ReportAtEnd, report
from bluesky_ptycho.reprocess import ReconQueue
from bluesky_ptycho.simulated_session import start_session

RE = SimpleNamespace(subscribe=pytest.fail)


@pytest.mark.parametrize(
    ("call", "keywords", "says"),
    [
        (lambda **k: attach(RE, "new", **k), {"fig": True}, "attach has no argument 'fig'; did you mean figure?"),
        (lambda **k: attach(RE, "new", **k), {"axis": 3}, "attach has no argument 'axis'; did you mean axes?"),
        (lambda **k: attach(RE, "new", **k), {"energi": 3}, "attach has no argument 'energi'; did you mean energy?"),
        (
            lambda **k: attach(RE, "new", **k),
            {"accept": print},
            "attach has no argument 'accept'; known: RE, catalog, ",
        ),
        (LivePtycho, {"sink": "png"}, "LivePtycho has no argument 'sink'; did you mean sinks?"),
        (LivePtycho, {"qqq": 1}, "LivePtycho has no argument 'qqq'; known: settings, catalog, "),
        (LivePtychoFigure, {"prot": 1}, "LivePtychoFigure has no argument 'prot'; did you mean port?"),
        (
            lambda **k: LivePtycho().show(**k),
            {"direct": 1},
            "LivePtychoFigure has no argument 'direct'; did you mean directory?",
        ),
        (ReconControl, {"nam": "recon"}, "ReconControl has no argument 'nam'; did you mean name?"),
        (report, {"ouput": "a.html"}, "report has no argument 'ouput'; did you mean output?"),
        (ReportAtEnd, {"dir": "a"}, "ReportAtEnd has no argument 'dir'; did you mean directory?"),
        (ReconQueue, {"worker": 2}, "ReconQueue has no argument 'worker'; did you mean workers?"),
        (ReconQueue.submit, {"prio": 2}, "ReconQueue.submit has no argument 'prio'; did you mean priority?"),
        (replay, {"catalogue": 2}, "replay has no argument 'catalogue'; did you mean catalog?"),
        (resume, {"patience": 2}, "resume has no argument 'patience'; did you mean patience_s?"),
        (convert, {"outptu": 2}, "convert has no argument 'outptu'; did you mean output?"),
        (ingest, {"sample": 2}, "ingest has no argument 'sample'; did you mean sample_name?"),
        (open_catalog, {"result_dir": 2}, "open_catalog has no argument 'result_dir'; did you mean results_dir?"),
        (make_search, {"samples": 2}, "make_search has no argument 'samples'; did you mean sample?"),
        (make_beamline, {"sampel": 2}, "make_beamline has no argument 'sampel'; did you mean sample or "),
        (lambda **k: start_session("new", **k), {"sampel": 2}, "start_session has no argument 'sampel'; did you mean"),
        (DarkPreprocessor, {"age": 2}, "DarkPreprocessor has no argument 'age'; known: detector, dark_plan, max_age, "),
        (SolverSettings, {"mode": 2}, "solver.mode is no setting; did you mean modes? known: "),
        (PreprocessSettings, {"bining": 2}, "preprocess.bining is no setting; did you mean binning? known: "),
        (LiveSettings, {"modes": 2}, "modes is no setting; did you mean solver.modes? known: "),
    ],
)
def test_unknown_keywords(call, keywords, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        call(**keywords)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("plan", [ptycho_scan, ptycho_fly_scan, ptycho_list_scan])
def test_plans(RE, plan):
    """They stay generator functions, by which the queueserver knows plans."""
    assert inspect.isgeneratorfunction(plan)
    assert "exposure" in inspect.signature(plan).parameters and plan.__doc__.startswith("Ptychography ")
    with pytest.raises(SettingsError, match=rf"^{plan.__name__} has no argument 'exposre'; did you mean exposure\?$"):
        RE(plan(None, None, None, exposre=0.1))


def test_signatures_and_defaults_stay():
    assert keywords_of(LivePtychoFigure) == ["backend", "directory", "host", "port", "token", "knobs"]
    assert next(iter(inspect.signature(SolverSettings).parameters)) == "algorithm"
    assert SolverSettings(modes=2).replace(step=0.5) == SolverSettings(modes=2, step=0.5)

    @checks_arguments
    def written(path: Path, *, whole: bool = True) -> bool:
        """Tell."""
        return whole

    assert written(Path()) and not written(Path(), whole=False)
    assert str(inspect.signature(written)) == "(path: 'Path', *, whole: 'bool' = True) -> 'bool'"
    with pytest.raises(SettingsError, match="path"):
        written()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: replay(-1),
            "replay(): missing a required argument: 'catalog'; expected replay(uid, catalog, callback)",
        ),
        (convert, "convert(): missing a required argument: 'uid'; expected convert(uid, "),
        (ReconQueue, "ReconQueue(): missing a required argument: 'catalog'; expected ReconQueue(catalog, "),
        (
            lambda: LivePtychoFigure("png", 3),
            "LivePtychoFigure(): too many positional arguments; expected LivePtychoFigure(backend=, *, directory=, ",
        ),
        (
            lambda: list(ptycho_scan()),
            "ptycho_scan(): missing a required argument: 'fccd'; expected ptycho_scan(fccd, ",
        ),
        (
            lambda: list(ptycho_scan("fccd", "y", "x", 1.6, 1.6, 0.08, 0.1)),
            "ptycho_scan(): too many positional arguments; expected "
            "ptycho_scan(fccd, y, x, *, width, height, step, exposure, centre=, ",
        ),
    ],
)
def test_arguments_that_lack_or_are_too_many(call, says):
    with pytest.raises(SettingsError) as caught:
        call()
    assert str(caught.value).startswith(says)
    assert "self" not in str(caught.value)


def test_arguments_of_all_kinds_are_checked_and_told():
    @checks_arguments
    def plan(fccd: str, /, y: str, *points: float, exposure: float, md: dict[str, str] | None = None):
        yield fccd, y, points, exposure, md

    assert inspect.isgeneratorfunction(plan)
    assert next(plan("camera", "y", 1.0, exposure=2.0)) == ("camera", "y", (1.0,), 2.0, None)
    with pytest.raises(SettingsError) as caught:
        next(plan("camera", "y"))
    assert str(caught.value).endswith("plan(fccd, /, y, *points, exposure, md=)")
