"""Fly scans with a real RunEngine: chunks while flying, positions with their frames."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.plans import ptycho_fly_scan, ptycho_scan

from .recording import assert_stored_is_measured

FIELD = {"width": 0.5, "height": 0.4, "step": 0.1, "exposure": 0.01, "darks": 2}


def test_what_is_stored_is_what_was_measured(RE, beamline, recorder, seen):
    RE(ptycho_fly_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD, sample_name="s"))
    assert recorder.stop["num_events"] == {"dark": 2, "primary": 20}
    for stream in ("dark", "primary"):
        assert_stored_is_measured(recorder, seen, stream)
    assert [row["fccd_frame_index"] for row in recorder.rows("primary")] == list(range(20))
    assert recorder.start["plan_name"] == "ptycho_fly_scan"
    assert recorder.path("primary").name == "00001_s_primary.h5"
    assert not beamline.shutter.is_open and beamline.stage.y.locate()["setpoint"] == 0.0


def test_documents_come_while_flying(RE, beamline, recorder):
    beamline.fccd.frame_rate = 20.0
    arrivals = []
    RE.subscribe(lambda name, doc: arrivals.append(time.monotonic()), "event_page")
    RE(ptycho_fly_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD | {"darks": 0}))
    pages = recorder.all("event_page")
    assert len(pages) >= 3 and arrivals[-1] - arrivals[0] > 0.4
    data = [d["indices"] for d in recorder.all("stream_datum")]
    assert [d["stop"] for d in data[:-1]] == [d["start"] for d in data[1:]]
    assert [len(p["seq_num"]) for p in pages] == [d["stop"] - d["start"] for d in data]


def test_two_exposures(RE, beamline, recorder, seen):
    RE(
        ptycho_fly_scan(
            beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD | {"exposure": [0.001, 0.01], "width": 0.2}
        )
    )
    assert_stored_is_measured(recorder, seen, "primary")
    assert [row["fccd_frame_index"] for row in recorder.rows("primary")] == list(range(0, 16, 2))


def test_same_plan_as_the_step_scan(RE, beamline, recorder):
    """Both measure the same points, and darks of one serve the other."""
    plans = []
    for which in (ptycho_scan, ptycho_fly_scan):
        recorder.clear()
        RE(which(beamline.fccd, beamline.stage.y, beamline.stage.x, trajectory="raster", **FIELD))
        plans.append((recorder.plan, recorder.start["uid"]))
    (step, step_uid), (fly, _) = plans
    np.testing.assert_array_equal(step.positions_m, fly.positions_m)
    assert fly.dark_uid == step_uid


def test_as_fast_as_the_camera(RE, beamline, recorder):
    """100 points at 200 frames/s."""
    field = {"width": 1.0, "height": 1.0, "step": 0.1, "exposure": 0.005, "darks": 0}
    RE(ptycho_fly_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, **field))
    times = np.concatenate([p["timestamps"]["fccd_frame_index"] for p in recorder.all("event_page")])
    assert len(times) == 100
    assert np.ptp(times) == pytest.approx(99 * 0.005, rel=0.5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"step": "a"}, r"^step is 'a' \(str\); expected a number$"),
        ({"seed": -1}, "^seed is -1; expected 0 or more$"),
        ({"darks": 1.5}, r"^darks is 1.5 \(float\); expected a whole number"),
        ({"md": 3}, r"^md is 3 \(int\); expected a dictionary"),
    ],
)
def test_arguments_of_no_use_are_refused_before_anything_moves(RE, beamline, recorder, seen, change, says):
    with pytest.raises(SettingsError, match=says):
        RE(ptycho_fly_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD | change))
    assert not recorder.documents and not seen
