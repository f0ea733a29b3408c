"""Files that sinks leave while a run is reconstructed, and what becomes of the run if they cannot."""

from __future__ import annotations

import numpy as np
from matplotlib.image import imread

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.callbacks.file_sinks import CxiSink, PngSink, scan_directory
from bluesky_ptycho.io import read_result_cxi
from tests.stored import small_snapshot, update

from .live_scan import documents_in_order, make_run, play

START = {"uid": "0123456789abcdef", "scan_id": 12, "sample_name": "gold", "time": 0.0}


def test_sinks_by_name_leave_picture_and_result(tmp_path, scan, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path, scan)
    with LivePtycho(LiveSettings(frc=False, snapshot_interval_s=0.05), sinks=["png", "cxi"]) as live:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(120)
    assert not outcome.sink_errors
    directory = tmp_path / "ptycho_output" / f"00001_{run.start['uid'][:8]}"
    assert sorted(p.name for p in directory.iterdir()) == ["reconstruction.png", "result.cxi"]
    assert imread(directory / "reconstruction.png").shape[:2] == (1080, 1920)
    np.testing.assert_array_equal(read_result_cxi(directory / "result.cxi").object, outcome.snapshot.object)


def test_the_picture_grows_at_a_fifth_of_the_time(tmp_path, monkeypatch):
    """Drawing takes 1 s of a clock that stands still otherwise: the next snapshot is drawn 4 s after the end."""
    clock, drawn = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def draw(path, snapshot, **options):
        clock[0] += 1.0
        drawn.append((path.name, options["title"]))

    monkeypatch.setattr("bluesky_ptycho.figure.save_reconstruction_png", draw)
    sink = PngSink(tmp_path)
    sink(update("start", START))
    for wait_s, kind, n in [(0, "snapshot", 1), (3.9, "snapshot", 1), (0.2, "snapshot", 2), (0, "final", 3)]:
        clock[0] += wait_s
        sink(update(kind, START, small_snapshot()))
        assert len(drawn) == n
    assert set(drawn) == {("reconstruction.png", "scan 12 gold")}
    sink(update("final", START))  # of a run without a single frame
    assert len(drawn) == 3


def test_only_a_final_snapshot_becomes_a_result(tmp_path):
    sink = CxiSink(tmp_path)
    for kind, snapshot in [("start", None), ("snapshot", small_snapshot()), ("final", None)]:
        sink(update(kind, START, snapshot))
    assert not list(tmp_path.iterdir())
    sink(update("final", START, small_snapshot(seed=3)))
    (path,) = tmp_path.rglob("*.cxi")
    assert path == tmp_path / "00012_01234567" / "result.cxi"
    np.testing.assert_array_equal(read_result_cxi(path).object, small_snapshot(seed=3).object)


def test_no_name_leads_out_of_the_directory(tmp_path):
    found = scan_directory(tmp_path, {"uid": "../../../etc", "scan_id": "../7"})
    assert found.parent == tmp_path and found.is_dir()


def test_a_directory_that_cannot_be_made_costs_the_files_and_not_the_run(tmp_path, scan, caplog):
    (tmp_path / "taken").touch()
    run = make_run(tmp_path, scan)
    sinks = [PngSink(tmp_path / "taken"), CxiSink(tmp_path / "taken")]
    with LivePtycho(LiveSettings(frc=False, snapshot_interval_s=0.05), sinks=sinks) as live:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(120)
    assert outcome.update.exit_status == "success" and outcome.progress.used == 64
    assert sorted(outcome.sink_errors) == ["cxi", "png"]
    assert caplog.text.count("sink png failed: NotADirectoryError") == 1
