"""Step and list scans with a real RunEngine: documents, files, darks, metadata, refusals."""

from __future__ import annotations

import datetime
import time

import numpy as np
import pytest
from ophyd.sim import SynAxis

from bluesky_ptycho.errors import MetadataError, NotFoundError, PreflightError, SettingsError
from bluesky_ptycho.metadata_file import MetadataFile
from bluesky_ptycho.plans import dark_records, keep_dark_records, ptycho_list_scan, ptycho_scan
from bluesky_ptycho.plans.trajectories import offsets
from bluesky_ptycho.sim import make_beamline

from .recording import assert_stored_is_measured

FIELD = {"width": 0.4, "height": 0.3, "step": 0.1, "exposure": 0.005}


@pytest.fixture
def scan(beamline):
    """The scan of these tests, with changes."""

    def make(**changes):
        stage = beamline.stage
        arguments = FIELD | {"darks": 3, "sample_name": "gold balls"} | changes
        return ptycho_scan(beamline.fccd, stage.y, stage.x, **arguments)

    return make


def test_what_is_stored_is_what_was_measured(RE, beamline, recorder, seen, scan, tmp_path):
    before = datetime.date.today()
    (uid,) = RE(scan())
    days = {day.isoformat() for day in (before, datetime.date.today())}  # it may be midnight
    assert [d["name"] for d in recorder.all("descriptor")] == ["dark", "primary"]
    assert recorder.stop["num_events"] == {"dark": 3, "primary": 12}
    for stream in ("dark", "primary"):
        assert_stored_is_measured(recorder, seen, stream)
        assert [row["fccd_frame_index"] for row in recorder.rows(stream)] == list(range(len(recorder.rows(stream))))
        *place, day, name = recorder.path(stream).relative_to(tmp_path).parts
        assert place == ["2026-3", "pass-1"] and day in days and name == f"00001_gold_balls_{stream}.h5"
    assert recorder.start["uid"] == uid
    assert not beamline.shutter.is_open


def test_start_document_carries_the_whole_plan(RE, beamline, recorder, scan):
    RE(scan(md={"purpose": "test"}, trajectory="raster"))
    start, plan = recorder.start, recorder.plan
    assert start["plan_name"] == "ptycho_scan"
    assert start["plan_args"]["width"] == 0.4 and start["plan_args"]["trajectory"] == "raster"
    assert (start["detectors"], start["motors"]) == (["fccd"], ["stage_y", "stage_x"])
    assert (start["num_points"], start["sample_name"], start["purpose"]) == (12, "gold balls", "test")
    assert plan.to_start() == start["ptycho"]
    assert plan.detector == beamline.fccd.info() and plan.illumination == beamline.fccd.illumination
    assert (plan.energy_ev, plan.distance_m) == (beamline.geometry.energy_ev, beamline.geometry.distance_m)
    assert (plan.trajectory, plan.n_darks, plan.dark_uid, plan.exposures_s) == ("raster", 3, None, (0.005,))
    np.testing.assert_allclose(plan.positions_m * 1e6, offsets("raster", 0.4, 0.3, 0.1), atol=1e-12)
    assert {name: (axis.key, axis.units) for name, axis in plan.axes.items()} == {
        "y": ("stage_y", "um"),
        "x": ("stage_x", "um"),
    }
    configuration = recorder.all("descriptor")[1]["configuration"]["fccd"]["data"]
    assert list(configuration["fccd_exposure_times"]) == [0.005]


def test_relative_to_the_stage_and_back(RE, beamline, recorder, scan):
    stage = beamline.stage
    stage.y.set(3.0).wait()
    stage.x.set(-7.0).wait()
    RE(scan())
    np.testing.assert_allclose(recorder.plan.positions_m.mean(axis=0) * 1e6, (3.0, -7.0), atol=0.05)
    assert (stage.y.locate()["setpoint"], stage.x.locate()["setpoint"]) == (3.0, -7.0)


def test_two_exposures_give_two_frames_a_point(RE, beamline, recorder, seen, scan):
    RE(scan(exposure=[0.001, 0.01]))
    image = recorder.all("descriptor")[1]["data_keys"]["fccd_image"]
    assert image["shape"] == [2, 32, 32]
    for stream, n in (("dark", 3), ("primary", 12)):
        assert_stored_is_measured(recorder, seen, stream)
        assert [row["fccd_frame_index"] for row in recorder.rows(stream)] == list(range(0, 2 * n, 2))
        assert len(recorder.frames(stream)) == 2 * n


def test_fccd_frames(RE, recorder, tmp_path):
    with make_beamline(tmp_path, md=RE.md, frame_rate=100.0, settle_time_s=0.0, progress=False) as beamline:
        RE(ptycho_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD | {"width": 0.2}, darks=2))
    assert recorder.frames("primary").shape == (6, 1040, 1152)
    assert recorder.frames("dark").shape == (2, 1040, 1152)
    assert recorder.all("stream_resource")[0]["parameters"]["dataset"] == "/entry/data/data"


# -- darks ------------------------------------------------------------------------------------


def test_young_darks_are_used_again(RE, recorder, seen, scan):
    (first,) = RE(scan())
    recorder.clear()
    RE(scan(trajectory="raster"))
    assert (recorder.plan.n_darks, recorder.plan.dark_uid) == (0, first)
    assert [d["name"] for d in recorder.all("descriptor")] == ["primary"]
    assert_stored_is_measured(recorder, seen, "primary")


@pytest.mark.parametrize(
    "change", [{"exposure": 0.006}, {"exposure": [0.005, 0.01]}, {"darks": 4}, {"max_dark_age": 0.0}]
)
def test_darks_that_do_not_serve_are_taken_anew(RE, recorder, scan, change):
    RE(scan())
    recorder.clear()
    RE(scan(**change))
    assert recorder.plan.dark_uid is None
    assert len(recorder.rows("dark")) == recorder.plan.n_darks > 0


def test_darks_grow_old(RE, beamline, recorder, scan, monkeypatch):
    RE(scan())
    recorder.clear()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1801.0)
    RE(scan())
    assert recorder.plan.dark_uid is None


def test_dark_records_outlive_the_session(RE, beamline, recorder, scan, tmp_path):
    keep_dark_records(beamline.fccd, MetadataFile(tmp_path / "darks.json"))
    (uid,) = RE(scan())
    plan = recorder.plan
    keep_dark_records(beamline.fccd, {})
    assert dark_records(beamline.fccd).find(plan) is None
    keep_dark_records(beamline.fccd, MetadataFile(tmp_path / "darks.json"))
    assert dark_records(beamline.fccd).find(plan) == uid


def test_darks_of_another_detector_do_not_serve(RE, recorder, scan, tmp_path):
    RE(scan())
    recorder.clear()
    with make_beamline(tmp_path, md=RE.md, camera="plain", shape=(32, 32), frame_rate=200, progress=False) as other:
        RE(ptycho_scan(other.fccd, other.stage.y, other.stage.x, **FIELD, darks=3))
    assert recorder.plan.dark_uid is None


def test_no_darks(RE, recorder, scan):
    RE(scan(darks=0))
    assert [d["name"] for d in recorder.all("descriptor")] == ["primary"]
    assert (recorder.plan.n_darks, recorder.plan.dark_uid) == (0, None)


# -- list scan --------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [True, False])
def test_list_scan(RE, beamline, recorder, seen, relative):
    stage = beamline.stage
    stage.y.set(1.0).wait()
    points = [[0.0, 0.0], [0.1, -0.1], [0.05, 0.2]]
    RE(ptycho_list_scan(beamline.fccd, stage.y, stage.x, points, exposure=0.005, relative=relative, darks=1))
    expected = np.array(points) + ([1.0, 0.0] if relative else [0.0, 0.0])
    np.testing.assert_allclose(recorder.plan.positions_m * 1e6, expected, atol=1e-12)
    assert_stored_is_measured(recorder, seen, "primary")
    assert stage.y.locate()["setpoint"] == 1.0
    assert recorder.start["plan_name"] == "ptycho_list_scan"


# -- refusals: before anything moves, one clear line ------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"exposure": -1.0}, SettingsError, "exposure is -1.0"),
        ({"exposure": []}, SettingsError, "exposure is"),
        (
            {"exposure": 1e9},
            SettingsError,
            "expected positive numbers of seconds, 86400 at most",
        ),
        ({"width": 0.0}, SettingsError, "width is 0.0"),
        ({"trajectory": "zigzag"}, NotFoundError, "zigzag"),
        ({"darks": -1}, SettingsError, "^darks is -1; expected 0 or more$"),
        ({"darks": "many"}, SettingsError, r"darks is 'many' \(str\); expected a whole number"),
        ({"darks": 1.5}, SettingsError, r"darks is 1.5 \(float\); expected a whole number"),
        ({"step": "a"}, SettingsError, r"step is 'a' \(str\); expected a number"),
        ({"step": None}, SettingsError, r"step is None \(NoneType\); expected a number"),
        ({"width": "0.8"}, SettingsError, r"width is '0.8' \(str\); expected a number"),
        ({"jitter": "a"}, SettingsError, r"jitter is 'a' \(str\); expected a number"),
        ({"seed": -1}, SettingsError, "seed is -1; expected 0 or more"),
        ({"exposure": "fast"}, SettingsError, r"exposure is 'fast' \(str\); expected positive numbers of seconds"),
        ({"exposure": [[0.1], [0.1, 0.2]]}, SettingsError, "exposure is .* expected positive numbers"),
        ({"centre": (1,)}, SettingsError, r"centre is \(1,\) \(tuple\); expected a stage position \[y, x\]"),
        ({"centre": 0.3}, SettingsError, r"centre is 0.3 \(float\); expected a stage position"),
        ({"sample_name": 5}, SettingsError, r"sample_name is 5 \(int\); expected text"),
        ({"md": 3}, SettingsError, r"md is 3 \(int\); expected a dictionary"),
        ({"md": {"ptycho": 3}}, SettingsError, "md holds 'ptycho', where the scan plan goes"),
        ({"md": {"uid": "x"}}, SettingsError, "md holds 'uid', which the RunEngine gives; expected other names"),
        ({"md": {"time": 3}}, SettingsError, "md holds 'time', which the RunEngine gives"),
        ({"md": {3: 4}}, SettingsError, r"md: name is 3 \(int\); expected text"),
        ({"md": {"beam.line": 4}}, SettingsError, r"md: name is 'beam.line' \(str\); expected text without \. and /"),
        ({"md": {"a": {"b/c": 4}}}, SettingsError, r"md\['a'\]: name is 'b/c' \(str\); expected text without"),
        ({"md": {"a": {"b": {1: 4}}}}, SettingsError, r"md\['a'\]\['b'\]: name is 1 \(int\); expected text without"),
        ({"md": {"a": "\ud800"}}, SettingsError, r"md\['a'\] is '.ud800' \(str\); expected numbers, text"),
        ({"md": {"scan_id": "x"}}, SettingsError, r"md\['scan_id'\] is 'x' \(str\); expected a whole number"),
        ({"md": {"sample_name": 5}}, SettingsError, r"md\['sample_name'\] is 5 \(int\); expected text"),
        (
            {"md": {"a": [{"b": {1}}]}},
            SettingsError,
            r"md\['a'\] is .* \(list\); expected numbers, text",
        ),
        ({"max_dark_age": None}, SettingsError, "max_dark_age is None"),
        ({"width": 1200.0, "height": 1.0, "step": 0.5}, PreflightError, r"stage_x would go .* within its limits"),
        ({"step": 0.4, "width": 2.0}, PreflightError, "overlap is"),
        ({"shutter": "shuter"}, SettingsError, "shutter is 'shuter'; expected a device"),
        ({"preflight": "maybe"}, SettingsError, "preflight is 'maybe'"),
    ],
)
def test_refusals(RE, beamline, recorder, seen, scan, change, error, named):
    with pytest.raises(error, match=named):
        RE(scan(**change))
    assert not recorder.documents and not seen and not beamline.shutter.is_open


@pytest.mark.parametrize(
    ("signal", "value", "says"),
    [
        ("energy", 0.8, r"fccd_energy is 0.8 eV; expected 10 to 1e\+06 eV"),
        ("energy", None, "fccd_energy is None; expected a positive number"),
        ("energy", "800", "fccd_energy is '800'; expected a positive number"),
        ("distance", np.nan, "fccd_distance is nan; expected a positive number"),
    ],
)
def test_a_detector_that_tells_nonsense(RE, beamline, recorder, seen, scan, monkeypatch, signal, value, says):
    told = beamline.fccd.read_configuration()
    told[f"fccd_{signal}"]["value"] = value
    monkeypatch.setattr(beamline.fccd, "read_configuration", lambda: told)
    with pytest.raises(MetadataError, match=says):
        RE(scan())
    assert not recorder.documents and not seen


def test_a_preflight_of_another_kind_is_refused_before_one_is_made(RE, scan, capsys):
    with pytest.raises(SettingsError, match="preflight is 'none'; expected 'normal', 'strict' or 'force'"):
        RE(scan(preflight="none"))
    assert "points" not in capsys.readouterr().out


@pytest.mark.parametrize("fccd", [None, []])
def test_a_detector_that_is_none_is_refused(RE, beamline, recorder, fccd):
    with pytest.raises(SettingsError, match=r"^fccd is (None|\[\]) \(\w+\); expected a detector"):
        RE(ptycho_scan(fccd, beamline.stage.y, beamline.stage.x, **FIELD))
    assert not recorder.documents


def test_the_same_axis_twice_is_refused(RE, beamline, recorder):
    with pytest.raises(SettingsError, match=r"^y and x are both 'stage_y'; expected two axes"):
        RE(ptycho_scan(beamline.fccd, beamline.stage.y, beamline.stage.y, **FIELD))
    with pytest.raises(SettingsError, match=r"^x is None .*; expected an axis"):
        RE(ptycho_scan(beamline.fccd, beamline.stage.y, None, **FIELD))
    assert not recorder.documents


def test_a_gain_that_is_none_is_refused_before_the_scan(RE, beamline, recorder, seen, scan):
    beamline.fccd.layout.put("fccd-assembled")
    beamline.fccd._shape = (1040, 1152)
    for gain in (0.0, -0.004, np.nan):
        beamline.fccd.adu_per_ev.put(gain)
        with pytest.raises(MetadataError, match=f"adu_per_ev is {gain}; expected a positive number"):
            RE(scan())
    assert not recorder.documents and not seen


def test_a_switch_is_true_or_false(RE, beamline, recorder):
    for relative in ("x", 1, None):
        plan = ptycho_list_scan(
            beamline.fccd, beamline.stage.y, beamline.stage.x, [[0, 0], [0, 0.1]], exposure=0.005, relative=relative
        )
        with pytest.raises(SettingsError, match=r"^ptycho_list_scan: relative is .*; expected True or False"):
            RE(plan)
    assert not recorder.documents


def test_positions_that_are_none_are_refused(RE, beamline):
    with pytest.raises(SettingsError, match=r"^positions is .*; expected rows"):
        RE(ptycho_list_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, [[0, 1], [2]], exposure=0.005))


def test_force_overrules_the_preflight(RE, recorder, scan):
    RE(scan(step=0.4, width=2.0, preflight="force"))
    assert recorder.stop["exit_status"] == "success"


def test_motors_without_units_are_refused(RE, beamline):
    y = SynAxis(name="sy", egu="")
    with pytest.raises(MetadataError, match="units of sy are ''"):
        RE(ptycho_scan(beamline.fccd, y, beamline.stage.x, **FIELD))


def test_motors_with_different_units_are_refused(RE, beamline):
    y = SynAxis(name="sy", egu="mm")
    with pytest.raises(MetadataError, match=r"sy in 'mm' and stage_x in 'um'"):
        RE(ptycho_scan(beamline.fccd, y, beamline.stage.x, **FIELD))


def test_darks_need_a_shutter(RE, beamline, recorder, scan):
    beamline.fccd.shutter = None
    with pytest.raises(PreflightError, match="shutter"):
        RE(scan())
    RE(scan(darks=0))
    assert recorder.stop["exit_status"] == "success"
