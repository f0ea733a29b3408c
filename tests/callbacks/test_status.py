"""What a live reconstruction says of itself."""

import math

import pytest
from IPython.lib.pretty import pretty

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.status import describe_status
from bluesky_ptycho.callbacks.updates import Progress

from .live_scan import QUICK, documents_in_order, make_run, play

START = {"uid": "u", "scan_id": 12, "sample_name": "gold"}
PROGRESS = Progress(
    400, taken=120, used=116, rejected=2, kinds={"dark": 2}, lag=2, lag_s=0.14, iteration=35, residual=0.01234
)


def test_it_reads_like_a_sentence():
    assert describe_status(START, PROGRESS, ()) == (
        "scan 12 gold is live: 120/400 points taken, 116 used, 2 rejected (2 dark), 2 waiting for 0.1 s; "
        "residual 0.01234 after 35 passes"
    )
    assert describe_status(START, Progress(9, phase="warming up"), ()) == (
        "scan 12 gold is warming up: 0/9 points taken, 0 used, 0 rejected, 0 waiting; "
        "residual not known yet after 0 passes"
    )
    done = Progress(9, taken=9, used=9, iteration=1, residual=1.0, settings_version=3, dark_drift=4.0, skipped=2)
    said = describe_status(START, done, (), exit_status="abort")
    assert said.startswith("scan 12 gold is aborted: 9/9 points taken, 9 used")
    assert said.endswith("residual 1 after 1 pass, settings version 3; darks 4.0 σ off; 2 snapshots not shown")


def test_ipython_shows_the_messages_below_and_jupyter_a_table():
    status = describe_status(START, PROGRESS, ("the beam <b>was</b> lost", "\x1b[31mred"))
    assert pretty(status).splitlines() == [str(status), "  - the beam <b>was</b> lost", "  - [31mred"]
    page = status._repr_html_()
    assert "<tr><th>used</th><td>116</td></tr>" in page and "2: 2 dark" in page
    assert "&lt;b&gt;was&lt;/b&gt;" in page and "<b>" not in page and "\x1b" not in page


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\x1b]0;title\x07", "a\nb"])
def test_names_are_harmless(name):
    status = describe_status({**START, "sample_name": name}, PROGRESS, ())
    assert "\n" not in status and "\x1b" not in status
    assert "<script>" not in status._repr_html_()


def test_the_callback_shows_its_status(tmp_path, scan):
    with LivePtycho(QUICK) as live:
        assert pretty(live) == "no ptychography scan seen yet"
        play(live, documents_in_order(make_run(tmp_path, scan), scan, n=40))
        live.wait(120)
    said = pretty(live).splitlines()
    assert said[0] == live.status() and said[0].startswith("scan 1 is done: 40/64 points taken, 40 used, 0 rejected")
    assert said[1] == "  - 24 of 64 planned points were not measured"
    assert repr(live) == f"<LivePtycho {live.status()}>"
    assert "<td>40 of 64 points</td>" in live._repr_html_()
    assert not math.isnan(live.progress().residual)
