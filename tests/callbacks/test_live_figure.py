"""The live figure: where it is shown, who draws it, and what it says."""

from __future__ import annotations

import dataclasses
import io
import sys
import threading
from contextlib import closing

import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ptycho import attach
from bluesky_ptycho.callbacks import LivePtycho, LivePtychoFigure
from bluesky_ptycho.callbacks.live_views import LiveViews, dark_facts, rejected_text
from bluesky_ptycho.callbacks.screens import FileScreen, PageScreen
from bluesky_ptycho.callbacks.updates import Progress
from bluesky_ptycho.errors import PtychoError, SettingsError
from bluesky_ptycho.figure import LivePicture
from tests.live_updates import make_update
from tests.live_views import make_view

from .live_scan import SETTINGS, documents_in_order, make_run, play


@pytest.fixture
def drawn_by(monkeypatch):
    """Names of the threads that draw."""
    threads, show = [], LivePicture.show

    def noted(self, view):
        threads.append(threading.current_thread().name)
        show(self, view)

    monkeypatch.setattr(LivePicture, "show", noted)
    return threads


def test_the_thread_that_brings_documents_never_draws(tmp_path, scan, drawn_by):
    run = make_run(tmp_path, scan)
    figure = LivePtychoFigure("png", directory=tmp_path / "pictures")
    with LivePtycho(SETTINGS, sinks=[figure]) as live:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(280)
    assert not outcome.sink_errors
    assert set(drawn_by) == {f"ptycho-{run.start['uid'][:8]} live figure"}
    (path,) = (tmp_path / "pictures").rglob("*.png")
    assert path.name == "live.png" and imread(path).shape[:2] == (1080, 1920)


def test_it_is_asked_for_with_the_session_or_later(tmp_path, scan, monkeypatch, RE):
    monkeypatch.chdir(tmp_path)
    with attach(RE, figure="png") as live:
        assert [type(sink) for sink in live.sinks] == [LivePtychoFigure]
    with LivePtycho(SETTINGS) as live:
        play(live, documents_in_order(make_run(tmp_path, scan), scan))
        live.wait(280)
        live.show("png", directory=tmp_path / "later")
    assert len(list((tmp_path / "later").rglob("live.png"))) == 1


def test_a_figure_that_hangs_holds_neither_documents_nor_the_reconstruction(tmp_path, scan, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(LivePicture, "show", lambda self, view: released.wait(120))
    settings = dataclasses.replace(SETTINGS, sink_patience_s=0.5)
    with LivePtycho(settings, sinks=[LivePtychoFigure("png", directory=tmp_path)]) as live:
        play(live, documents_in_order(make_run(tmp_path, scan), scan))
        outcome = live.wait(120)
    assert outcome.progress.used == len(scan[0]) and "live figure" in outcome.sink_errors
    released.set()


def test_a_page_that_nobody_looks_at_is_not_drawn(drawn_by):
    with closing(LivePtychoFigure("web", port=0)) as figure:
        for kind in ("start", "progress", "snapshot", "final"):
            figure(make_update(kind))
        assert figure.url.startswith("http://127.0.0.1:") and "token" not in figure.url
    assert not drawn_by


def test_drawing_waits_until_four_times_its_own_time_has_passed(tmp_path, monkeypatch):
    clock, drawn = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.thread_time", lambda: clock[0])

    def show(self, view):
        clock[0] += 1.0
        drawn.append(view.taken)

    monkeypatch.setattr(LivePicture, "show", show)
    monkeypatch.setattr(LivePicture, "encoded", lambda self, *kind, **options: b"")
    screen = FileScreen(lambda view: tmp_path / "live.png")
    for wait_s, last, n in [(0, False, 1), (3.9, False, 1), (0.2, False, 2), (0.1, True, 3)]:
        clock[0] += wait_s
        screen.show(make_view(), last=last)
        assert len(drawn) == n


def test_the_page_is_told_where_maps_and_parts_of_its_picture_lie():
    screen = PageScreen(lambda region: "")
    assert screen.state()["picture"] is None and screen.picture() is None
    screen.show(make_view(), last=False)
    number = screen.state()["picture"]
    assert number == 1
    picture = screen.picture()
    state = screen.state()
    assert imread(io.BytesIO(picture), format="webp").shape[:2] == tuple(state["size"][::-1])
    assert len(state["maps"]) == 4 and len(state["parts"]) == 9
    for place in state["maps"]:
        assert 0 < place["left"] < place["left"] + place["width"] < 1920
    assert screen.picture() is picture  # drawn once


def test_words_say_why_points_were_rejected_and_what_was_not_shown():
    progress = Progress(
        100, taken=50, used=40, rejected=7, kinds={"saturated": 5, "position": 2, "dark": 0}, lag=3, lag_s=1.5,
        dark_drift=4.2, skipped=6, elapsed_s=61.0,
    )  # fmt: skip
    facts = dict(LiveViews().of(make_update("progress", progress=progress)).facts)
    assert facts["rejected"] == "7: 5 saturated, 2 position" == rejected_text(progress)
    assert facts["lag"] == "3 points, 1.5 s" and facts["not shown"] == "6 snapshots"
    assert facts["dark drift"] == "4.2 σ" and facts["elapsed"] == "1:01 min"


def test_rates_and_the_time_left_are_those_of_the_last_seconds():
    views = LiveViews()
    for elapsed_s, taken, passes in [(0, 0, 0), (100, 10, 5), (110, 30, 10)]:
        progress = Progress(60, taken=taken, iteration=passes, elapsed_s=elapsed_s)
        facts = dict(views.of(make_update("progress", progress=progress)).facts)
    assert facts["passes"] == "10, 0.5 /s" and facts["time left"] == "15 s"  # 2 points a second, 30 to come


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dark_uid": None}, "not needed"),
        ({"dark_uid": "0123456789abcdef"}, "of this scan"),
        ({"dark_uid": "fedcba9876543210"}, "of fedcba98"),
        ({"dark_uid": None, "dark_corrected": False}, "none, unfit"),
    ],
)
def test_where_darks_are_from(changes, text):
    assert dict(dark_facts(make_update("progress", **changes)))["darks"] == text


def test_what_an_update_does_not_repeat_stays_until_another_scan_begins():
    views = LiveViews()
    shown = views.of(make_update("snapshot"))
    later = views.of(make_update("progress"))
    assert later.snapshot is shown.snapshot and later.newest_raw is shown.newest_raw
    other = views.of(make_update("start", start={"uid": "4567", "scan_id": 13}))
    assert other.snapshot is None and other.newest_raw is None and other.title == "scan 13"


def test_the_end_is_said_with_its_reason():
    view = LiveViews().of(make_update("final", exit_status="abort", reason="beam lost"))
    assert view.state == "abort: beam lost"
    assert LiveViews().of(make_update("final", exit_status="success")).state == "done"


def test_what_cannot_be_opened_is_refused_at_once():
    with pytest.raises(SettingsError, match="expected one of 'auto', 'window', 'notebook', 'png', 'web'"):
        LivePtychoFigure("tk")
    with pytest.raises(SettingsError, match="matplotlib's backend is 'agg'; expected Qt's"):
        LivePtychoFigure("window")


def test_files_are_taken_where_nothing_else_draws(tmp_path):
    assert LivePtychoFigure(directory=tmp_path).backend == "png"


def test_a_line_needs_a_scan(tmp_path):
    figure = LivePtychoFigure("png", directory=tmp_path)
    with pytest.raises(PtychoError, match="no scan has been shown yet"):
        figure.scan_line((0, 1, 0, 1))


def test_a_notebook_shows_an_image_that_is_replaced(monkeypatch):
    """What Jupyter gets: one display, and updates of it from the thread that shows."""
    ipython = pytest.importorskip("IPython.display", reason="needs IPython: python -m pip install '.[session]'")
    sent = []

    class Handle:
        def update(self, image):
            sent.append(image)

    def display(image, *, display_id):
        sent.append(image)
        return Handle()

    monkeypatch.setattr(ipython, "display", display)
    monkeypatch.setattr("matplotlib.get_backend", lambda: "module://matplotlib_inline.backend_inline")
    figure = LivePtychoFigure()
    assert figure.backend == "notebook"
    figure(make_update("final", exit_status="success"))
    before, after = (imread(io.BytesIO(image.data)) for image in sent)
    assert before.shape == after.shape == (1080, 1920, 4) and np.abs(before - after).mean() > 0.02


def test_nothing_of_it_is_loaded_unless_it_is_shown():
    """The window needs pyplot and Qt, the page a server; a session without them pays for neither."""
    import subprocess

    program = (
        "import sys, bluesky_ptycho.callbacks.live_ptycho\n"
        "print([m for m in ('matplotlib.pyplot', 'http.server') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=280)
    assert done.stdout.strip() == "[]"
