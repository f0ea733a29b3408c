"""Runs become files, files become runs, and these give the same reconstruction."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bluesky_ptycho import convert, ingest, open_catalog
from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.catalog import frames_uri
from bluesky_ptycho.io import hdf5
from bluesky_ptycho.recon.comparing import compare
from bluesky_ptycho.replay import replay
from bluesky_ptycho.scan_plan import Illumination, ScanPlan
from tests.callbacks.live_scan import documents_in_order, make_run
from tests.callbacks.small_data import small_scan
from tests.stored import store_scan

SETTINGS = LiveSettings(frc=False, passes=15)
FILES = (("cxi", "clean"), ("nxs", "clean"), ("ptyd", "clean"), ("cxi", "raw"), ("nxs", "raw"))


def reconstruct(catalog, uid):
    with LivePtycho(SETTINGS) as live:
        replay(uid, catalog, live)
        return live.wait(120).snapshot


def in_catalog(catalog, uid, name):
    """Return the frames of a stream of a stored run."""
    asset = frames_uri(catalog[uid], name)
    with hdf5.open_for_reading(Path(asset.uri.removeprefix("file://localhost"))) as file:
        return file[asset.dataset][()]


@pytest.fixture(scope="module")
def stored(blank_catalog, tmp_path_factory):
    """A catalog with one run of a known object, and what is made of it."""
    directory = shutil.copytree(blank_catalog, tmp_path_factory.mktemp("trips") / "catalog")
    scan = small_scan()
    with open_catalog(directory) as catalog:
        catalog.frames_dir.mkdir(parents=True, exist_ok=True)
        run = make_run(catalog.frames_dir, scan)
        writer = catalog.raw_writer()
        for name, doc in documents_in_order(run, scan, exit_status="success"):
            writer(name, doc)
        yield catalog, reconstruct(catalog, -1), run.start["uid"]


@pytest.mark.parametrize(("to", "stage"), FILES)
def test_the_reconstruction_is_the_same(stored, tmp_path, to, stage):
    catalog, before, uid = stored
    path = tmp_path / f"a.{to}"
    assert convert(uid, catalog, to, path, stage=stage, progress=False).startswith("64 ")
    again = ingest(path, catalog, sample_name="again", progress=False)
    start = catalog[again].start
    assert start["ingested"] == {**start["ingested"], "file": path.name, "format": f"raw {to}".replace("nxs", "cxi")
        if stage == "raw" else to}  # fmt: skip
    plan = ScanPlan.from_start(start)
    assert plan.energy_ev == pytest.approx(800) and plan.distance_m == 0.121
    assert vars(plan.illumination) == pytest.approx(vars(Illumination(240e-6, 60e-9, 60e-6, 10e-6)))
    after = reconstruct(catalog, again)
    np.testing.assert_allclose(after.positions_m, before.positions_m, atol=1e-13)
    assert after.residual == pytest.approx(before.residual, rel=0.02)
    assert compare(before, after).difference < 0.01


@pytest.mark.slow
def test_raw_frames_and_darks_come_back_bit_by_bit(catalog, tmp_path):
    start = store_scan(catalog, exposures_s=(0.01, 0.1), n_darks=2)
    for to in ("cxi", "nxs"):
        path = tmp_path / f"raw.{to}"
        told = convert(start["uid"], catalog, to, path, stage="raw", progress=False)
        assert told == "12 raw frames of 6 scan points, and 2 dark points"
        again = ingest(path, catalog, progress=False)
        for stream in ("primary", "dark"):
            np.testing.assert_array_equal(in_catalog(catalog, again, stream), in_catalog(catalog, start["uid"], stream))
        first, second = (ScanPlan.from_start(s) for s in (start, catalog[again].start))
        assert (second.exposures_s, second.n_darks, second.n_points) == ((0.01, 0.1), 2, 6)
        assert second.detector.adu_per_ev == first.detector.adu_per_ev
        np.testing.assert_allclose(second.positions_m, first.positions_m)
        assert catalog[again].start["sample_name"] == "raw"


def test_measured_files_become_runs_that_replay(real_file, catalog):
    for name in ("siemens_aps.cxi", "cnm235_first20.cxi"):
        uid = ingest(real_file(name), catalog, progress=False)
        n = catalog[uid].start["ptycho"]["n_points"]
        warned = pytest.warns(UserWarning, match="no zone plate")
        with LivePtycho(LiveSettings(frc=False, passes=1)) as live, warned:
            replay(uid, catalog, live)
            outcome = live.wait(300)
        assert outcome.progress.used == n and outcome.snapshot.residual < 0.5
