"""Row 29: two sessions on one catalog, two callbacks on one run."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.catalog import open_catalog
from tests.callbacks.small_data import small_scan
from tests.conftest import REPOSITORY

from .scene import SETTINGS, Scan, plain_plan

QUICK = SETTINGS.with_changes(passes=2, progress_interval_s=0.05)

SESSION = """
import sys
from pathlib import Path
from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.catalog import backup, open_catalog, turns
from tests.callbacks.small_data import small_scan
from tests.faults.scene import Scan, plain_plan
from tests.faults.test_two_sessions import QUICK

backup.PATIENCE_S = turns.PATIENCE_S = 600.0  # a busy machine is another fault
positions_m, patterns, _, _ = small_scan(n_side=5)
with open_catalog(Path(sys.argv[1])) as catalog, LivePtycho(QUICK, catalog=catalog, strict=True) as live:
    catalog.frames_dir.mkdir(exist_ok=True)
    scans = [Scan(plain_plan(positions_m, (64, 64)), catalog.frames_dir, patterns) for _ in range(3)]
    print("ready", flush=True)
    sys.stdin.readline()
    for scan in scans:
        raw = catalog.raw_writer(flush_s=0.0)
        for name, doc in scan.documents():
            raw(name, doc)
            live(name, doc)
        assert live.wait(500).progress.used == 25
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("29a", "two sessions on one embedded catalog", bound="both complete; catalog whole")
def test_two_sessions_on_one_catalog(catalog_dir, figure):
    sessions = [
        subprocess.Popen(
            [sys.executable, "-c", SESSION, str(catalog_dir)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for session in sessions:
        assert session.stdout.readline() == "ready\n"
    for session in sessions:
        session.stdin.write("go\n")
        session.stdin.flush()
    for session in sessions:
        session.communicate(timeout=800)
    assert [session.returncode for session in sessions] == [0, 0]
    with open_catalog(catalog_dir) as catalog:
        scans, results = list(catalog.raw.values()), list(catalog.processed.values())
        kept = list(catalog.backup_dir.glob("*"))
        figure(scans=len(scans), results=len(results), not_stored=len(kept))
        assert (len(scans), len(results), kept) == (6, 6, [])
        for scan in scans:
            np.testing.assert_array_equal(scan["primary"]["cam_frame_index"].read(), np.arange(25))
            assert scan.metadata["stop"]["exit_status"] == "success"
        assert {r.start["raw_uid"] for r in results} == {s.start["uid"] for s in scans}
        for result in results:
            assert np.isfinite(result["primary"]["object"].read()).all()


@pytest.mark.fault("29b", "two live callbacks on one run", bound="both complete; two results")
@pytest.mark.slow
def test_two_callbacks_on_one_run(catalog, figure):
    positions_m, patterns, _, _ = small_scan(n_side=5)
    catalog.frames_dir.mkdir(exist_ok=True)
    scan = Scan(plain_plan(positions_m, (64, 64)), catalog.frames_dir, patterns)
    raw = catalog.raw_writer()
    with LivePtycho(QUICK, catalog=catalog, strict=True) as one, LivePtycho(QUICK, catalog=catalog, strict=True) as two:
        for name, doc in scan.documents():
            for callback in (raw, one, two):
                callback(name, doc)
        outcomes = [live.wait(60) for live in (one, two)]
    figure(results=len(catalog.processed))
    assert [outcome.progress.used for outcome in outcomes] == [25, 25]
    assert len({outcome.result_uid for outcome in outcomes}) == len(catalog.processed) == 2
    for outcome in outcomes:
        np.testing.assert_array_equal(
            catalog[outcome.result_uid]["primary"]["object"].read()[0], outcome.snapshot.object
        )
