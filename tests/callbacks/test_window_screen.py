"""The window of the live figure: rectangles that are drawn in it, and who serves it while a RunEngine works."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import closing

import matplotlib.pyplot as plt
import pytest
from matplotlib.backend_bases import CloseEvent, MouseEvent
from PIL import Image

from bluesky_ptycho.callbacks import LivePtychoFigure
from bluesky_ptycho.figure import LivePicture
from tests.live_updates import make_update


def open_window():
    """Return a figure in a window on a canvas without one, drawn by the thread that shows, as ipympl's are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.get_backend", lambda: "module://ipympl.backend_nbagg")
        patch.setattr(plt, "show", lambda block: None)
        figure = LivePtychoFigure()
    assert figure.backend == "window"
    return closing(figure)


@pytest.fixture(scope="module")
def window():
    with open_window() as figure:
        figure(make_update("final", exit_status="success"))
        yield plt.figure("Live ptychography")
    plt.close("all")


def drag(axes, begun, ended):
    """Draw from one place to another, ``(y, x)`` in µm."""
    canvas = axes.figure.canvas
    for name, (y, x) in zip(
        ("button_press_event", "motion_notify_event", "motion_notify_event", "button_release_event"),
        (begun, ((begun[0] + ended[0]) / 2, (begun[1] + ended[1]) / 2), ended, ended),
        strict=True,
    ):
        column, row = axes.transData.transform((x, y))
        canvas.callbacks.process(name, MouseEvent(name, canvas, column, row, button=1))


def said(capsys):
    """Return centre, width and height of the line that was printed."""
    line = capsys.readouterr().out
    centre, width, height = re.search(r"centre=\[(.*?)\], width=(.*?), height=(.*?),", line).groups()
    return [*map(float, centre.split(",")), float(width), float(height)]


@pytest.mark.parametrize("flips", [(), ("x",), ("y",), ("x", "y")], ids=["as drawn", "x", "y", "both"])
@pytest.mark.parametrize(("panel", "corners"), [(0, (0, 1)), (1, (1, 0))], ids=["phase, forth", "amplitude, back"])
def test_a_rectangle_prints_the_line_that_scans_it(window, capsys, flips, panel, corners):
    """Whichever axes a user has flipped, and from whichever corner it is drawn."""
    axes = window.axes[panel]
    flip = [getattr(axes, f"invert_{axis}axis") for axis in flips]
    inward = 0.04 * (("x" in flips) + 2 * ("y" in flips))  # away from the handles of the rectangle before
    ends = [(1.8 + inward, 4.7 + inward), (2.2 - inward, 5.3 - inward)]
    for change in flip:
        change()
    drag(axes, *(ends[i] for i in corners))
    for change in flip:
        change()
    assert said(capsys) == pytest.approx([2.0, 5.0, 0.6 - 2 * inward, 0.4 - 2 * inward], abs=0.01)


def test_a_click_is_no_rectangle(window, capsys):
    drag(window.axes[0], (2.4, 4.6), (2.4, 4.6))
    assert "RE(" not in capsys.readouterr().out


def test_the_cursor_reads_the_stage(window):
    assert window.axes[0].format_coord(5.25, -1.5) == "stage y -1.5000 µm, x 5.2500 µm"


def test_a_window_that_was_closed_is_not_drawn_into(monkeypatch):
    states, show = [], LivePicture.show
    monkeypatch.setattr(LivePicture, "show", lambda self, view: (states.append(view.state), show(self, view)))
    with open_window() as figure:
        figure(make_update("progress"))
        canvas = plt.figure("Live ptychography").canvas
        canvas.callbacks.process("close_event", CloseEvent("close_event", canvas))
        figure(make_update("final", exit_status="success"))
    assert states == ["live"]


QT_SESSION = """
import logging, sys, threading
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
from PySide6.QtWidgets import QApplication
app = QApplication([])
import matplotlib as mpl
mpl.use("qtagg")
import bluesky.utils
from bluesky import RunEngine
from bluesky_ptycho import LivePtycho, LiveSettings, make_beamline, ptycho_scan
from bluesky_ptycho.callbacks import window_screen
from bluesky_ptycho.figure import LivePicture

window_screen.STALLED_S = {STALLED_S}
RE = RunEngine({}, **{ENGINE})
states, show = [], LivePicture.show

def noted(self, view):
    states.append((threading.current_thread() is threading.main_thread(), RE.state))
    show(self, view)

LivePicture.show = noted
with (
    make_beamline("frames", camera="plain", shape=(64, 64), frame_rate=20.0, progress=False) as beamline,
    LivePtycho(LiveSettings(frc=False, snapshot_interval_s=0.1, progress_interval_s=0.1)) as live,
):
    figure = live.show()
    RE.subscribe(live)
    RE(ptycho_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, width=0.8, height=0.8, step=0.08, exposure=0.05))
    outcome = live.wait()
    print("FIGURE", figure.backend, outcome.progress.used, outcome.sink_errors)
    print("DRAWN BY QT WHILE THE ENGINE WORKED", (True, "running") in states)
    print("DRAWN ELSEWHERE", any(not in_main for in_main, _ in states))
"""


def qt_session(directory, engine, stalled_s):
    """Run a scan in a process with Qt's offscreen platform; return what it said."""
    pytest.importorskip("PySide6", reason="needs Qt: python -m pip install '.[screens]'")
    (directory / "session.py").write_text(QT_SESSION.replace("{ENGINE}", engine).replace("{STALLED_S}", str(stalled_s)))
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "QT_API": "PySide6"}
    done = subprocess.run(
        [sys.executable, "session.py"], cwd=directory, env=environment, capture_output=True, text=True, timeout=280,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "FIGURE window 100 {}" in done.stdout, done.stdout
    return done.stdout


@pytest.mark.slow
def test_qt_draws_in_the_main_thread_while_the_engine_works(tmp_path):
    said = qt_session(tmp_path, "{}", 120.0)
    assert "DRAWN BY QT WHILE THE ENGINE WORKED True" in said and "DRAWN ELSEWHERE False" in said
    assert "stands still" not in said


@pytest.mark.slow
def test_a_window_that_nobody_serves_says_so_and_files_are_written(tmp_path):
    """The engine waits without Qt, as one does that was made to."""
    said = qt_session(tmp_path, '{"during_task": bluesky.utils.DuringTask()}', 1.0)
    assert "DRAWN BY QT WHILE THE ENGINE WORKED False" in said and "DRAWN ELSEWHERE True" in said
    assert said.count("the window of the live figure stands still") == 1 and "%matplotlib qt before RE" in said
    assert len(list(tmp_path.rglob("live.png"))) == 1


@pytest.mark.filterwarnings("ignore:Passing unrecognized arguments to super:DeprecationWarning")  # of its own toolbar
def test_ipympl_sends_pictures_before_the_browser_has_been_answered(monkeypatch):
    """As it is not while the kernel works: where the cell that scans is run together with the one that shows."""
    before, sent = plt.get_backend(), []
    pytest.importorskip("ipympl")  # which takes the place of the backend already
    plt.switch_backend("module://ipympl.backend_nbagg")
    try:
        monkeypatch.setattr("ipympl.backend_nbagg.Canvas.send", lambda self, content, buffers=(): sent.extend(buffers))
        with closing(LivePtychoFigure()) as figure:
            assert figure.backend == "window"
            waiting = len(sent)
            figure(make_update("final", exit_status="success"))
    finally:
        plt.switch_backend(before)
    assert 0 < waiting < len(sent)
    pictures = [Image.open(io.BytesIO(bytes(each))) for each in sent]
    assert {picture.format for picture in pictures} == {"PNG"}
    assert {picture.size for picture in pictures} == {(1152, 648)}
