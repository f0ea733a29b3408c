"""The scan-plan schema: what a plan writes, a callback reads, through JSON, whatever happens to it."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.scan_plan import MAX_STORED_POSITIONS, START_KEY, Axis, DetectorInfo, Illumination, ScanPlan

DETECTOR = DetectorInfo(
    name="fccd",
    image_key="fccd_image",
    index_key="fccd_frame_index",
    shape=(1040, 1152),
    pixel_m=(30e-6, 30e-6),
    layout="fccd-assembled",
    adu_per_ev=0.004,
)
AXES = {"y": Axis("stage_y", "um"), "x": Axis("stage_x", "mm")}


def make_plan(positions=((0.0, 0.0), (1e-6, -2e-6), (3e-6, 5e-7)), **changes):
    fields = {
        "energy_ev": 800.0,
        "distance_m": 0.121,
        "detector": DETECTOR,
        "axes": AXES,
        "trajectory": "spiral",
        "exposures_s": (0.1, 0.01),
        "n_darks": 10,
        "illumination": Illumination(240e-6, 60e-9, 95e-6, 5e-6),
    }
    return ScanPlan.from_positions(np.array(positions), **{**fields, **changes})


def through_json(plan):
    return {START_KEY: json.loads(json.dumps(plan.to_start()))}


def test_extent_and_count_follow_from_the_positions():
    plan = make_plan()
    assert plan.n_points == 3
    assert plan.extent_m == (0.0, 3e-6, -2e-6, 5e-7)
    assert plan.frames_per_point == 2


@given(
    positions=arrays(float, st.tuples(st.integers(1, 20), st.just(2)), elements=st.floats(-1e-3, 1e-3)),
    exposures=st.lists(st.floats(1e-6, 100), min_size=1, max_size=4),
    illumination=st.sampled_from([None, Illumination(240e-6, 60e-9)]),
    detector=st.sampled_from([None, DETECTOR]),
)
def test_a_plan_survives_the_start_document(positions, exposures, illumination, detector):
    plan = make_plan(positions, exposures_s=tuple(exposures), illumination=illumination, detector=detector)
    read = ScanPlan.from_start(through_json(plan))
    assert read == plan
    np.testing.assert_array_equal(read.positions_m, plan.positions_m)


def test_many_positions_stay_out_of_the_start_document():
    plan = make_plan(np.zeros((MAX_STORED_POSITIONS + 1, 2)))
    read = ScanPlan.from_start(through_json(plan))
    assert read.positions_m is None
    assert (read.n_points, read.extent_m) == (plan.n_points, plan.extent_m)


@pytest.mark.parametrize(
    "start",
    [{}, {"ptycho": None}, {"ptycho": "yes"}, {"ptycho": {}}, {"ptycho": {"schema": "of somebody else"}}],
)
def test_runs_of_others_are_left_alone(start):
    assert ScanPlan.from_start(start) is None


def test_a_newer_schema_is_refused():
    start = through_json(make_plan())
    start[START_KEY]["schema_version"] = 2
    with pytest.raises(MetadataError, match=r"schema_version is 2; this version reads 1"):
        ScanPlan.from_start(start)


STORED = through_json(make_plan())[START_KEY]


def test_plans_written_before_they_told_the_age_of_darks_are_read():
    stored = {k: v for k, v in STORED.items() if k != "max_dark_age_s"}
    assert ScanPlan.from_start({"ptycho": stored}).max_dark_age_s == 1800.0


@pytest.mark.parametrize("name", [k for k in STORED if k not in ("schema", "schema_version", "max_dark_age_s")])
def test_a_missing_field_is_named(name):
    stored = {k: v for k, v in STORED.items() if k != name}
    with pytest.raises(MetadataError, match=f"field '{name}' is missing"):
        ScanPlan.from_start({START_KEY: stored})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("n_points",), 0),
        (("energy_ev",), -800.0),
        (("energy_ev",), None),
        (("distance_m",), float("nan")),
        (("extent_m",), [1.0, 0.0, 0.0, 0.0]),
        (("extent_m",), [0.0, 1.0]),
        (("exposures_s",), [0.0]),
        (("detector", "shape"), 5),
        (("detector", "surprise"), 5),
        (("axes", "y"), "stage_y"),
        (("positions_m",), ["a", "b"]),
        (("illumination",), {"colour": "red"}),
    ],
)
def test_a_value_that_cannot_be_is_one_clear_line(path, value):
    stored = copy.deepcopy(STORED)
    place = stored
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(MetadataError, match="scan plan: ") as caught:
        ScanPlan.from_start({START_KEY: stored})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("energy_ev", [9.99, 0.8, 800 * 1.602e-19, 1.01e6, 1e9])
def test_an_energy_in_another_unit_is_refused(energy_ev):
    says = re.escape(f"scan plan: energy_ev is {energy_ev:g} eV; expected 10 to 1e+06 eV: is it in another unit?")
    with pytest.raises(MetadataError, match=says):
        make_plan(energy_ev=energy_ev)


@pytest.mark.parametrize("energy_ev", [10.0, 300e3, 1e6])
def test_any_energy_of_light_is_taken(energy_ev):
    assert make_plan(energy_ev=energy_ev).energy_ev == energy_ev


@pytest.mark.parametrize("shape", [(0, 2), (3,), (3, 3)])
def test_positions_must_be_pairs(shape):
    with pytest.raises(MetadataError, match="positions have shape"):
        make_plan(np.zeros(shape))


def test_axes_know_their_unit():
    assert AXES["y"].metres == 1e-6
    assert AXES["x"].metres == 1e-3
    with pytest.raises(MetadataError, match="stage_x"):
        _ = Axis("stage_x", "deg").metres
