"""The page on one's own detector runs as it stands, with a plan of Bluesky's own."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps

from bluesky_ptycho import LivePtycho, LiveSettings, make_beamline
from bluesky_ptycho.replay import replay
from tests.conftest import REPOSITORY

from .blocks import read_blocks

PAGE = REPOSITORY / "docs" / "my-detector.md"
KEYS = {"frames_key": "fccd_image", "position_keys": ("stage_y", "stage_x")}
FACTS = {"energy": "fccd_energy", "distance": "fccd_distance", "pixel": 120e-6}


@pytest.fixture
def session(catalog):
    engine = RunEngine({}, loop=(loop := asyncio.new_event_loop()))
    engine.subscribe(catalog.raw_writer())
    with make_beamline(
        catalog.frames_dir, md=engine.md, camera="plain", shape=(64, 64), frame_rate=200.0, progress=False
    ) as beamline:
        engine(bps.mv(beamline.fccd.shutter, "open"))
        yield {"RE": engine, "catalog": catalog, "fccd": beamline.fccd, "stage": beamline.stage}
    loop.call_soon_threadsafe(loop.stop)
    engine._th.join()
    loop.close()


def test_it_runs_as_it_stands_and_the_stored_run_replays(session):
    (block,) = read_blocks(PAGE)
    with pytest.warns(UserWarning, match="no zone plate"):
        exec(compile(block.code, PAGE, "exec"), session)
    live, catalog = session["live"], session["catalog"]
    outcome = live.result
    live.close()
    assert not live.errors
    assert (outcome.progress.used, outcome.progress.planned) == (36, 36)
    start = catalog[-1].start
    assert "ptycho" not in start and start["plan_name"] == "grid_scan"
    assert catalog[outcome.result_uid].start["raw_uid"] == start["uid"]
    plan = outcome.update.plan
    assert (plan.energy_ev, plan.distance_m, *plan.detector.pixel_m) == pytest.approx((800, 0.121, 120e-6, 120e-6))
    span = 1e6 * np.ptp(outcome.snapshot.positions_m, axis=0)
    np.testing.assert_allclose(span, 0.4, atol=0.02)
    settings = LiveSettings(frc=False, passes=2)
    with pytest.warns(UserWarning, match="no zone plate"), LivePtycho(settings, **KEYS, **FACTS, strict=True) as again:
        replay(-1, catalog, again)
        assert again.wait(120).progress.used == 36
