"""The session at the prompt: numbers go on counting, the last scan is at hand, one line says how it went."""

from __future__ import annotations

import dataclasses
import json
import math

import h5py
import matplotlib.image
import numpy as np
import psutil
import pytest

from bluesky_ptycho.callbacks.updates import Progress
from bluesky_ptycho.errors import NotFoundError
from bluesky_ptycho.output import write_output
from bluesky_ptycho.plans import ptycho_scan
from bluesky_ptycho.simulated_session import closing_line, start_session
from tests.stored import POSITIONS, small_snapshot, store_result, store_scan, update

QUICK = {"camera": "plain", "shape": (64, 64), "frame_rate": 200.0, "progress": False}
START = {"uid": "0123456789abcdef", "scan_id": 12, "sample_name": "gold", "time": 0.0}


@pytest.fixture(autouse=True)
def _nothing_remembered_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.slow
def test_a_second_session_goes_on_where_the_first_stopped(tmp_path, catalog_dir, capsys):
    with start_session(catalog_dir, **QUICK) as session:
        with pytest.raises(NotFoundError):
            session.last()
        session.RE.md["proposal"] = "pass-1"
        axes = session.stage.y, session.stage.x
        session.RE(ptycho_scan(session.fccd, *axes, width=0.5, height=0.5, step=0.1, exposure=0.005, darks=2))
        scan = session.last()
        assert scan.raw.start["scan_id"] == 1
        np.testing.assert_array_equal(scan.object, session.live.result.snapshot.object)
        assert scan.snapshot().residual == session.live.result.snapshot.residual
        picture = scan.show()
        assert picture.parent == session.catalog.results_dir
        outcome = session.live.result
        write_output(tmp_path / "output", outcome)
        drawn = (matplotlib.image.imread(path) for path in (picture, tmp_path / "output" / "reconstruction.png"))
        np.testing.assert_array_equal(*drawn, err_msg="the stored scan looks different from what the command draws")
        with h5py.File(tmp_path / "output" / "result.cxi") as file:
            process = file["entry_1/image_1/process_1"]
            versions, settings = (json.loads(process[name][()]) for name in ("versions", "settings"))
        assert versions == scan.result.start["versions"]
        assert settings["modes"] == 1
        assert "25/25 frames used" in repr(scan)
        store_scan(session.catalog, scan_id=7)  # a command worked in the same catalog
        assert "not reconstructed" in repr(session.last())
        with pytest.raises(NotFoundError, match="has no reconstruction"):
            session.last().show()
    closing = [line for line in capsys.readouterr().out.splitlines() if line.startswith("scan 1 sample: ")]
    assert len(closing) == 1
    assert "25/25 frames used, 2 darks" in closing[0]

    with start_session(catalog_dir, **QUICK) as session:
        assert session.RE.md["scan_id"] == 7
        assert session.RE.md["proposal"] == "pass-1"


@pytest.mark.slow
def test_the_next_session_uses_young_darks_again(catalog_dir, capsys):
    def scan(session):
        axes = session.stage.y, session.stage.x
        session.RE(ptycho_scan(session.fccd, *axes, width=0.2, height=0.2, step=0.1, exposure=0.005, darks=2))
        return session.last().raw.start["uid"]

    with start_session(catalog_dir, **QUICK) as session:
        uid = scan(session)
    with start_session(catalog_dir, **QUICK) as session:
        again = scan(session)
        assert session.catalog[again].start["ptycho"]["dark_uid"] == uid
        assert session.live.outcome(again).update.dark_corrected
    assert capsys.readouterr().out.count(f"darks of {uid[:8]}") == 1
    with start_session(catalog_dir, seed=1, **QUICK) as session:  # another camera
        assert "dark" in session.catalog[scan(session)]


def test_a_session_that_cannot_start_leaves_nothing_open(catalog_dir):
    def open_files():
        return [f.path for f in psutil.Process().open_files() if f.path.startswith(str(catalog_dir))]

    with pytest.raises(NotFoundError, match="sample is 'gravel'"):
        start_session(catalog_dir, sample="gravel", **QUICK)
    assert not open_files()


@pytest.mark.slow
def test_the_newest_reconstruction_counts(ptycho_catalog):
    from bluesky_ptycho.stored_scan import newest_scan

    start = store_scan(ptycho_catalog, scan_id=3)
    for seed in (0, 1):
        store_result(ptycho_catalog, start, small_snapshot(seed=seed))
    found, given = newest_scan(ptycho_catalog).snapshot(), small_snapshot(seed=1)
    for name in ("object", "probe", "coverage", "positions_m", "seq_nums", "residuals"):
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name), err_msg=name)
    assert (found.canvas, found.geometry, found.iteration) == (given.canvas, given.geometry, given.iteration)
    assert found.frc["half_bit_m"] == given.frc["half_bit_m"]
    for name in ("frequency_per_m", "correlation", "half_bit"):
        np.testing.assert_array_equal(found.frc[name], given.frc[name], err_msg=name)
    assert found.settings == {"algorithm": "rpie", "modes": 2}
    assert math.isnan(found.frc["one_seventh_m"])


def test_the_closing_line_says_what_there_is_to_say():
    progress = Progress(planned=7, taken=7, used=6)
    done = update("final", START, small_snapshot(), progress, exit_status="success")
    line = closing_line(done, "here")
    assert line.startswith("scan 12 gold: resolution 12.0 nm, 6/7 frames used, ")
    assert line.endswith(" s, in here as 01234567")


@pytest.mark.parametrize(
    ("half_bit_m", "says"),
    [(math.nan, "resolution unknown"), (0.5 / 6e7, "resolution 8.3 nm or finer (pixel limit)")],
    ids=["never above the criterion", "always above"],
)
def test_the_closing_line_claims_no_resolution_that_was_not_seen(half_bit_m, says):
    snapshot = small_snapshot()
    sharp = dataclasses.replace(snapshot, frc={**snapshot.frc, "half_bit_m": half_bit_m})
    line = closing_line(update("final", START, sharp, exit_status="success"), "here")
    assert line.startswith(f"scan 12 gold: {says}, 6/0 frames used")


def test_the_closing_line_of_a_failure_says_why():
    progress = Progress(planned=len(POSITIONS))
    failed = update("final", START, None, progress, exit_status="abort", reason="beam dump", dark_corrected=False)
    line = closing_line(failed, "here")
    assert "abort: beam dump, resolution unknown, 0/0 frames used, no fitting darks, " in line
