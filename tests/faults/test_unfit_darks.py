"""Darks that are missing, old, of another gain or exposure, or that the camera has drifted away from."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.dark_store import DarkStore
from bluesky_ptycho.errors import MetadataError, PtychoError
from bluesky_ptycho.plans import DarkRecords
from bluesky_ptycho.preprocess import PreprocessSettings
from bluesky_ptycho.raw_scan import stored_scan
from bluesky_ptycho.scan_plan import ScanPlan
from tests.preprocess.camera import Camera
from tests.stored import store_scan

from .scene import SETTINGS, Scan, fccd_plan, supply

NOW = 1.8e9
STRICT = SETTINGS.replace(preprocess=PreprocessSettings(strict_darks=True))
IMAGE = 300 * np.exp(-((np.mgrid[-480:480, -480:480] / 60.0) ** 2).sum(axis=0))


@pytest.fixture(scope="module")
def camera():
    return Camera(seed=3, drift=1.0)


@pytest.fixture(scope="module")
def dark(camera):
    return dataclasses.replace(camera.darks(10), time_s=NOW - 600)


@pytest.fixture(scope="module")
def frames(camera):
    return np.stack([camera.frame(IMAGE) for _ in range(3)])


@pytest.fixture
def run(tmp_path, frames):
    """Make a run that names darks, or none."""

    def make(dark_uid=None, **fields):
        return list(Scan(fccd_plan(3, dark_uid=dark_uid, **fields), tmp_path, frames, start_time=NOW).documents())

    return make


def store_with(dark, uid="earlier", **options):
    store = DarkStore(**options)
    store.put(uid, (dark,))
    return store


UNFIT = pytest.mark.fault(
    "6",
    "darks missing, stale, of the wrong gain or exposure",
    bound="told with the first event; goes on marked dark_corrected=False; strict mode refuses",
)
FIRST = 5
"""Documents up to the first frame: start, descriptor, stream resource, event, stream datum."""


@UNFIT
def test_without_darks_it_goes_on_marked_and_says_so_with_the_first_event(run, figure):
    documents = run()
    first = supply(documents[:FIRST])
    figure(f"missing: told after {len(first.frames)} frame")
    assert first.messages == ["the run has no darks; going on without dark correction"]
    assert len(first.frames) == 1 and not first.dark_corrected
    with pytest.raises(MetadataError, match="strict_darks: the run has no darks"):
        supply(documents, STRICT)


@UNFIT
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gain": 8}, "gain 8; expected 1"),
        ({"exposure_s": 0.2}, "exposure 0.2 s; expected (1040, 1152) and 0.1 s"),
        ({"mean": np.zeros((520, 1152), np.float32)}, "darks have shape (520, 1152)"),
    ],
    ids=["gain", "exposure", "shape"],
)
def test_unfit_darks_are_not_used(run, dark, change, said, figure):
    store = store_with(dataclasses.replace(dark, **change))
    found = supply(run("earlier"), store=store)
    first = supply(run("earlier")[:FIRST], store=store)
    figure(f"wrong {next(iter(change))}: told after {len(first.frames)} frame")
    (message,) = found.messages
    assert len(first.frames) == 1 and first.messages == found.messages
    assert message.startswith("darks of run earlier do not fit") and said in message
    assert message.endswith("going on without dark correction")
    assert len(found.frames) == 3 and not found.dark_corrected and found.dark_uid is None
    with pytest.raises(MetadataError, match="strict_darks: darks of run earlier do not fit"):
        supply(run("earlier"), STRICT, store_with(dataclasses.replace(dark, **change)))


@UNFIT
def test_old_darks_are_used_but_the_result_does_not_count_as_corrected(run, dark, figure):
    old = dataclasses.replace(dark, time_s=NOW - 7200)
    first = supply(run("earlier")[:FIRST], store=store_with(old))
    figure(f"stale: told after {len(first.frames)} frame")
    assert len(first.frames) == 1 and "120 min old" in first.messages[0]
    found, fresh = supply(run("earlier"), store=store_with(old)), supply(run("earlier"), store=store_with(dark))
    assert "are 120 min old; expected at most 30 min" in found.messages[0]
    assert found.frames == fresh.frames and found.dark_uid == fresh.dark_uid == "earlier"
    assert (found.dark_corrected, fresh.dark_corrected) == (False, True)
    assert not fresh.messages
    with pytest.raises(MetadataError, match=r"strict_darks: .*120 min old"):
        supply(run("earlier"), STRICT, store_with(old))
    patient = supply(run("earlier", max_dark_age_s=1e4), STRICT, store_with(old))
    assert patient.dark_corrected and not patient.messages


@pytest.mark.parametrize("named", [None, "gone", "old"])
def test_the_nearest_earlier_darks_serve_in_place_of_missing_ones(run, dark, named):
    plan = fccd_plan(3)
    store = store_with(dataclasses.replace(dark, time_s=NOW - 7200), "old")
    for uid, age_s in (("near", 300), ("far", 1200), ("later", -300), ("too old", 1801)):
        store.put(uid, (dataclasses.replace(dark, time_s=NOW - age_s),), plan)
    found = supply(run(named), store=store)
    assert found.dark_corrected and found.dark_uid == "near"
    assert found.messages[0].endswith("taking those of run near, 5 min older")
    assert supply(run(named), STRICT, store).dark_corrected


def test_darks_that_the_camera_left_behind_are_told_and_taken_anew(run, camera, dark):
    spread = float(np.median(dark.sigma[6:486, ::12]))
    signs = np.repeat(np.repeat(np.random.default_rng(1).choice([-1, 1], (2, 96)), 520, axis=0), 12, axis=1)
    moved = dataclasses.replace(dark, mean=(dark.mean + 8 * spread * signs).astype(np.float32))
    records, plan = DarkRecords(), fccd_plan(3)
    records.remember(dataclasses.replace(plan, n_darks=5), "earlier")
    assert records.find(plan) == "earlier"
    store = store_with(moved, on_retired=lambda plan, uid: records.forget(uid))
    found = supply(run("earlier"), store=store)
    assert "levels have changed by" in found.messages[0] and "should take new ones" in found.messages[0]
    assert found.dark_corrected, "what was measured so far keeps the darks that it has"
    assert records.find(plan) is None
    store.put("earlier", (moved,), plan)
    assert store.nearest(plan, NOW) is None
    kept = supply(run("earlier"), store=store_with(dark, on_retired=pytest.fail))
    assert not kept.messages


@UNFIT
def test_strict_mode_fails_the_analysis_and_the_result_says_why(run, caplog, figure):
    with LivePtycho(STRICT) as live:
        for name, doc in run():
            live(name, doc)
        with pytest.raises(PtychoError, match="strict_darks: the run has no darks"):
            live.wait(240)
        update = live.result.update
    figure(f"strict: {update.exit_status}")
    assert update.exit_status == "fail" and "the run has no darks" in update.messages[0]
    assert update.missing == (1, 2, 3)
    assert "strict_darks: the run has no darks" in caplog.text


def test_a_catalog_finds_the_last_fitting_darks_before_a_scan(catalog):
    uids = {}
    for name, age_s, exposures in (("old", 2000, (0.1,)), ("fitting", 900, (0.1,)), ("other", 300, (0.2,))):
        uids[name] = store_scan(catalog, exposures_s=exposures, time=NOW - age_s)["uid"]
    without = store_scan(catalog, n_darks=0, time=NOW - 100)
    plan = ScanPlan.from_start(without)
    uid, darks = catalog.nearest_darks(plan, NOW)
    assert uid == uids["fitting"]
    assert darks[0].exposure_s == 0.1 and darks[0].n == 2
    assert catalog.nearest_darks(plan, NOW - 1000)[0] == uids["old"]
    assert catalog.nearest_darks(dataclasses.replace(plan, max_dark_age_s=600.0), NOW) is None


def test_darks_whose_file_is_gone_are_passed_over_and_told_of(catalog):
    older = store_scan(catalog, time=NOW - 900)["uid"]
    newer = store_scan(catalog, time=NOW - 300)
    (Path(catalog.frames_dir) / f"{newer['uid']}_dark.h5").unlink()
    assert catalog.nearest_darks(ScanPlan.from_start(newer), NOW)[0] == older
    with stored_scan(newer["uid"], catalog, PreprocessSettings()) as scan:
        assert scan.darks.darks is None and not scan.darks.fitting
        assert scan.darks.message.startswith("the run's own darks cannot be read: frames file")
        frames, problems = scan.read(scan.points[:2])
    assert frames.shape == (2, 1, 16, 16) and not problems
