"""From the plan to the image in the catalog: real RunEngine, devices, files and catalog."""

from __future__ import annotations

import threading
from itertools import count

import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted

from bluesky_ptycho import LivePtycho, LiveSettings, ptycho_fly_scan, ptycho_scan
from bluesky_ptycho.recon.metrics import object_nrmse, scanned_box
from bluesky_ptycho.replay import replay
from bluesky_ptycho.sim import make_beamline
from bluesky_ptycho.stored_scan import newest_scan

FIELD = {"width": 0.8, "height": 0.8, "step": 0.1, "exposure": 0.01, "darks": 2, "sample_name": "gold"}


@pytest.fixture
def beamline(RE, ptycho_catalog):
    with make_beamline(
        ptycho_catalog.frames_dir, md=RE.md, camera="plain", frame_rate=100.0, progress=False
    ) as devices:
        yield devices


def error_against_the_truth(beamline, snapshot):
    box = scanned_box(snapshot.canvas, snapshot.positions_m)
    return object_nrmse(snapshot.object, beamline.truth(snapshot.canvas), box)


@pytest.mark.parametrize("plan", [ptycho_scan, pytest.param(ptycho_fly_scan, marks=pytest.mark.slow)])
def test_a_scan_grows_into_the_known_object_and_replays_to_the_same(plan, RE, ptycho_catalog, beamline):
    with LivePtycho(catalog=ptycho_catalog) as live:
        RE.subscribe(ptycho_catalog.raw_writer())
        RE.subscribe(live)
        (uid,) = RE(plan(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD))
        outcome = live.wait(120)
    progress, snapshot = outcome.progress, outcome.snapshot
    assert (progress.planned, progress.taken, progress.used, progress.lag) == (64, 64, 64, 0)
    error = error_against_the_truth(beamline, snapshot)
    assert error < 0.05
    flipped = beamline.truth(snapshot.canvas)[::-1]
    assert object_nrmse(snapshot.object, flipped, scanned_box(snapshot.canvas, snapshot.positions_m)) > 3 * error

    stored = newest_scan(ptycho_catalog)
    assert stored.raw.start["uid"] == uid == stored.result.start["raw_uid"]
    np.testing.assert_array_equal(stored.object, snapshot.object)

    with LivePtycho(catalog=ptycho_catalog) as again:
        replay(uid, ptycho_catalog, again)
        second = again.wait(120)
    np.testing.assert_array_equal(second.snapshot.seq_nums, snapshot.seq_nums)
    np.testing.assert_array_equal(second.snapshot.positions_m, snapshot.positions_m)
    assert second.snapshot.residual == pytest.approx(snapshot.residual, rel=0.05)
    assert error_against_the_truth(beamline, second.snapshot) < 0.05
    assert len(ptycho_catalog) == 1
    assert len(ptycho_catalog.processed) == 2


@pytest.mark.slow
@pytest.mark.parametrize("plan", [ptycho_scan, ptycho_fly_scan])
def test_a_scan_that_was_paused_replays_to_the_same_image(plan, RE, ptycho_catalog, beamline):
    """Paused in its darks and in mid-row, a step scan takes points twice; live and stored, the last ones count."""
    take, taken = beamline.physics.expose, count(1)

    def expose(exposure_s, out):
        take(exposure_s, out)
        if next(taken) in (2, 30):
            threading.Timer(0.003, RE.request_pause).start()

    beamline.physics.expose = expose
    with LivePtycho(catalog=ptycho_catalog) as live:
        RE.subscribe(ptycho_catalog.raw_writer())
        RE.subscribe(live)
        with pytest.raises(RunEngineInterrupted):
            RE(plan(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD | {"darks": 3}))
        with pytest.raises(RunEngineInterrupted):
            RE.resume()
        (uid,) = RE.resume()
        first = live.wait(120).snapshot
        (live_dark,) = live._dark_store.get(uid)
    assert next(taken) > 64 + 3 + (plan is ptycho_scan)
    with LivePtycho(catalog=ptycho_catalog) as again:
        replay(uid, ptycho_catalog, again)
        second = again.wait(120).snapshot
    (stored_dark,) = ptycho_catalog.find_darks(uid)
    assert live_dark.n == stored_dark.n == 3
    np.testing.assert_array_equal(live_dark.mean, stored_dark.mean)
    np.testing.assert_array_equal(second.seq_nums, np.arange(1, 65))
    np.testing.assert_array_equal(second.seq_nums, first.seq_nums)
    np.testing.assert_array_equal(second.positions_m, first.positions_m)
    box = scanned_box(first.canvas, first.positions_m)
    assert object_nrmse(second.object, first.object, box) < 0.03
    for snapshot in (first, second):
        assert error_against_the_truth(beamline, snapshot) < 0.05


@pytest.mark.slow
def test_the_next_scan_starts_from_the_probe_of_the_last(RE, ptycho_catalog, beamline):
    """A probe that stays as it starts tells by the residual of a few passes how good a start it is."""
    few = {"frc": False, "passes": 8, "solver.probe_start": 1000, "solver.tail_passes": 0}
    RE.subscribe(ptycho_catalog.raw_writer())

    def measure(first_probe, **changes):
        settings = LiveSettings(first_probe=first_probe).with_changes(**changes)
        with LivePtycho(settings, catalog=ptycho_catalog) as live:
            token = RE.subscribe(live)
            RE(ptycho_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD))
            RE.unsubscribe(token)
            return live.wait(120)

    first, second, usual = measure("last", frc=False), measure("last", **few), measure("plan", **few)
    (message,) = first.update.messages
    assert message == "there is no earlier good result to take the probe from: the probe starts from the zone plate"
    assert second.update.messages == ()
    assert ptycho_catalog[second.result_uid].stop["ptychography"]["probe_uid"] == first.result_uid
    learnt, started = first.snapshot.probe, second.snapshot.probe
    assert abs(np.vdot(learnt, started)) == pytest.approx(np.linalg.norm(learnt) * np.linalg.norm(started), rel=1e-5)
    noise = first.snapshot.residual
    assert second.snapshot.residual - noise < 0.5 * (usual.snapshot.residual - noise)


def test_a_scan_that_breaks_off_leaves_a_partial_result_of_what_was_measured(RE, ptycho_catalog, beamline):
    def stop_after_20(name, doc):
        if name == "event" and doc["data"].get("stage_x") is not None and doc["seq_num"] == 20:
            raise RuntimeError("the beam is gone")

    with LivePtycho(catalog=ptycho_catalog) as live:
        RE.subscribe(ptycho_catalog.raw_writer())
        RE.subscribe(live)
        RE.subscribe(stop_after_20)
        with pytest.raises(RuntimeError, match="the beam is gone"):
            RE(ptycho_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD))
        outcome = live.wait(120)
    assert not beamline.shutter.is_open
    assert ptycho_catalog[-1].stop["exit_status"] == "fail"
    assert ptycho_catalog[outcome.result_uid].stop["exit_status"] != "success"
    assert 18 <= outcome.progress.used <= 20
    assert outcome.progress.planned == 64
    assert len(newest_scan(ptycho_catalog).snapshot().seq_nums) == outcome.progress.used
