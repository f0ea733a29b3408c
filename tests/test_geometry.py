"""Geometry: numbers worked out by hand, and where pixels of the canvas lie on the stage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.geometry import (
    ENERGY_TIMES_WAVELENGTH_EV_M,
    JOULE_PER_EV,
    Canvas,
    Geometry,
    metres_per_unit,
)

COSMIC = Geometry(energy_ev=800.0, distance_m=0.121, pixel_m=(120e-6, 120e-6), shape=(240, 240))
UNEQUAL = Geometry(energy_ev=800.0, distance_m=0.1, pixel_m=(50e-6, 80e-6), shape=(64, 96))


def test_constants_agree_with_each_other():
    planck, light = 6.62607015e-34, 299792458.0  # exact, SI 2019
    assert pytest.approx(planck * light / JOULE_PER_EV, rel=1e-10) == ENERGY_TIMES_WAVELENGTH_EV_M


def test_wavelength_and_object_pixel():
    assert pytest.approx(1.5498e-9, rel=1e-4) == COSMIC.wavelength_m
    assert COSMIC.object_pixel_m == pytest.approx((6.5114e-9, 6.5114e-9), rel=1e-4)


def test_the_two_axes_are_kept_apart():
    dy, dx = UNEQUAL.object_pixel_m
    assert dy == pytest.approx(UNEQUAL.wavelength_m * 0.1 / (64 * 50e-6))
    assert dx == pytest.approx(UNEQUAL.wavelength_m * 0.1 / (96 * 80e-6))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"energy_ev": 0.0}, "energy_ev"),
        ({"energy_ev": float("nan")}, "energy_ev"),
        ({"distance_m": -0.1}, "distance_m"),
        ({"pixel_m": (1e-6, 0.0)}, r"pixel_m\[1\]"),
        ({"shape": (0, 64)}, r"shape\[0\]"),
    ],
)
def test_geometry_refuses_what_cannot_be(change, name):
    fields = {"energy_ev": 800.0, "distance_m": 0.1, "pixel_m": (1e-6, 1e-6), "shape": (64, 64)}
    with pytest.raises(MetadataError, match=rf"Geometry\.{name} is .*expected a positive number"):
        Geometry(**{**fields, **change})


def test_near_field_of_a_diverging_beam_is_scaled():
    near = Geometry(12e3, 1.2, (60e-6, 90e-6), (64, 96), "near", 0.004)
    assert near.magnification == pytest.approx(301)
    assert near.object_pixel_m == pytest.approx((60e-6 / 301, 90e-6 / 301))
    assert 1 / near.effective_distance_m == pytest.approx(1 / 0.004 + 1 / 1.2)


@pytest.mark.parametrize("focus", [None, float("inf")])
def test_near_field_of_a_parallel_beam_is_not_scaled(focus):
    near = Geometry(12e3, 1.2, (6e-6, 9e-6), (64, 96), "near", focus)
    assert (near.focus_to_sample_m, near.magnification, near.effective_distance_m) == (None, 1.0, 1.2)
    assert near.object_pixel_m == (6e-6, 9e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propagation": "mid"}, r"Geometry\.propagation is 'mid'; expected 'far' or 'near'"),
        ({"focus_to_sample_m": 0.1}, r"Geometry\.focus_to_sample_m is 0\.1; expected None for the far field"),
        ({"propagation": "near", "focus_to_sample_m": 0.0}, r"focus_to_sample_m is 0\.0; expected a positive number"),
        ({"propagation": "near", "focus_to_sample_m": float("nan")}, r"focus_to_sample_m is nan; expected a positive"),
    ],
)
def test_geometry_refuses_what_cannot_be_propagated(change, message):
    fields = {"energy_ev": 800.0, "distance_m": 0.1, "pixel_m": (1e-6, 1e-6), "shape": (64, 64)}
    with pytest.raises(MetadataError, match=message):
        Geometry(**{**fields, **change})


def test_geometry_comes_back_from_what_was_stored_and_from_older_stores():
    near = Geometry(12e3, 1.2, (60e-6, 90e-6), (64, 96), "near", 0.004)
    assert Geometry.from_dict(json.loads(json.dumps(near.to_dict()))) == near
    older = {"energy_ev": 800.0, "distance_m": 0.121, "pixel_m": [120e-6, 120e-6], "shape": [240, 240]}
    assert Geometry.from_dict(older) == COSMIC


@pytest.mark.parametrize(("units", "metres"), [("um", 1e-6), ("µm", 1e-6), ("μm", 1e-6), ("mm", 1e-3), ("nm", 1e-9)])
def test_units_of_length(units, metres):
    assert metres_per_unit(units, "stage_x") == metres


@pytest.mark.parametrize("units", [None, "", "deg", 3, ["um"]])
def test_units_that_are_no_length_are_refused_by_the_name_of_their_owner(units):
    with pytest.raises(MetadataError, match="units of stage_x are"):
        metres_per_unit(units, "stage_x")


micrometres = st.floats(-50e-6, 50e-6, allow_nan=False)


@given(
    y=st.tuples(micrometres, micrometres).map(sorted),
    x=st.tuples(micrometres, micrometres).map(sorted),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    margin=st.integers(1, 20),
)
def test_every_window_within_the_extent_lies_on_the_canvas(y, x, where, margin):
    canvas = Canvas.for_extent((*y, *x), UNEQUAL, margin_px=margin)
    inside = np.array([y[0] + where[0] * (y[1] - y[0]), x[0] + where[1] * (x[1] - x[0])])
    corners = canvas.corners_px(inside)
    slack = 1e-6  # of a pixel: rounding of lengths near 50 µm
    assert canvas.contains(inside).all()
    assert (corners >= margin - slack).all()
    assert (corners + UNEQUAL.shape <= np.array(canvas.shape) - margin + slack).all()


@given(y=micrometres, x=micrometres, height=st.floats(0, 1e-5), width=st.floats(0, 1e-5))
def test_scans_wherever_they_are_share_one_grid(y, x, height, width):
    canvas = Canvas.for_extent((y, y + height, x, x + width), UNEQUAL)
    steps = np.array(canvas.origin_m) / canvas.pixel_m
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    grown = [int(np.ceil(s / p)) for s, p in zip((height, width), canvas.pixel_m, strict=True)]
    assert all(abs(n - m - 16 - g) <= 1 for n, m, g in zip(canvas.shape, UNEQUAL.shape, grown, strict=True))


def test_the_beam_axis_meets_the_middle_pixel_of_its_window():
    canvas = Canvas.for_extent((-1e-6, 1e-6, -2e-6, 3e-6), UNEQUAL)
    rows_m, columns_m = canvas.coordinates_m()
    position = np.array([rows_m[40], columns_m[60]])
    np.testing.assert_allclose(canvas.corners_px(position)[0], [40 - 64 // 2, 60 - 96 // 2], atol=1e-6)


def test_rows_grow_with_stage_y_and_columns_with_stage_x():
    canvas = Canvas.for_extent((-1e-6, 1e-6, -2e-6, 3e-6), UNEQUAL)
    dy, dx = canvas.pixel_m
    start = canvas.corners_px([0.0, 0.0])[0]
    np.testing.assert_allclose(canvas.corners_px([2.5 * dy, 0.0])[0] - start, [2.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(canvas.corners_px([0.0, 1.5 * dx])[0] - start, [0.0, 1.5], atol=1e-6)


def test_a_window_over_the_edge_is_not_contained():
    canvas = Canvas.for_extent((0.0, 0.0, 0.0, 0.0), UNEQUAL, margin_px=2)
    dy, _ = canvas.pixel_m
    inside = canvas.contains([[0.0, 0.0], [3.5 * dy, 0.0], [-3.5 * dy, 0.0]])
    assert inside.tolist() == [True, False, False]


def test_extent_is_half_a_pixel_beyond_the_outer_centres():
    canvas = Canvas(shape=(3, 4), origin_m=(10.0, 20.0), pixel_m=(1.0, 2.0), window=(2, 2))
    assert canvas.extent_m() == (19.0, 27.0, 9.5, 12.5)
