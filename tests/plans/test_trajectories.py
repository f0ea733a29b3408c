"""Trajectories: where the points lie, how many, in which order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_ptycho.errors import NotFoundError, SettingsError
from bluesky_ptycho.plans import trajectories as t

LENGTH = st.floats(0.1, 30.0)


@given(name=st.sampled_from(sorted(t.trajectories)), width=LENGTH, height=LENGTH, seed=st.integers(0, 9))
def test_points_fill_the_field_exactly(name, width, height, seed):
    step = 0.7
    points = t.offsets(name, width, height, step, seed=seed)
    assert points.shape == (np.ceil(width / step - 1e-6) * np.ceil(height / step - 1e-6), 2)
    assert np.all(np.abs(points) <= np.array([height, width]) / 2)
    assert len(np.unique(points, axis=0)) == len(points)
    np.testing.assert_array_equal(points, t.offsets(name, width, height, step, seed=seed))


@pytest.mark.parametrize("name", sorted(t.trajectories))
@pytest.mark.parametrize("shape", [(20, 20), (3, 40), (1, 7), (1, 1)])
def test_shape_in_steps_gives_that_many_points(name, shape):
    assert len(t.offsets(name, shape[1] * 0.1, shape[0] * 0.1, 0.1)) == shape[0] * shape[1]


def test_raster_runs_along_x_first():
    points = t.offsets("raster", 3.0, 2.0, 1.0, jitter=0)
    np.testing.assert_allclose(points, [[-0.5, -1], [-0.5, 0], [-0.5, 1], [0.5, -1], [0.5, 0], [0.5, 1]], atol=1e-12)


def test_snake_turns_at_the_end_of_a_row():
    points = t.offsets("snake", 3.0, 2.0, 1.0, jitter=0)
    np.testing.assert_allclose(points[:, 1], [-1, 0, 1, 1, 0, -1], atol=1e-12)
    assert np.abs(np.diff(points, axis=0)).sum(axis=1).max() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["snake", "interlaced", "random"])
def test_grids_differ_in_order_only(name):
    points, raster = (t.offsets(n, 5.0, 4.0, 1.0, jitter=0) for n in (name, "raster"))
    assert not np.array_equal(points, raster)
    assert sorted(map(tuple, points)) == sorted(map(tuple, raster))


def test_interlaced_sees_the_whole_field_in_its_first_quarter():
    first = t.offsets("interlaced", 8.0, 8.0, 1.0, jitter=0)[:16]
    distance = np.abs(first[:, np.newaxis] - t.offsets("raster", 8.0, 8.0, 1.0, jitter=0)).max(axis=2).min(axis=0)
    assert distance.max() <= 1.0 + 1e-9


def test_spiral_goes_outward_with_even_density():
    points = t.offsets("spiral", 20.0, 20.0, 1.0)
    radius = np.hypot(*points.T)
    assert np.all(np.diff(radius) > 0) and radius[0] == 0
    inner = np.sum(radius < 5.0) / (np.pi * 5.0**2)
    assert inner == pytest.approx(1.0, rel=0.1)
    distance = np.hypot(*(points[:, np.newaxis] - points).transpose(2, 0, 1)) + 99 * np.eye(len(points))
    nearest = distance.min(axis=0)
    assert nearest.min() > 0.55 and np.percentile(nearest, 5) > 0.75 and nearest.max() < 1.3


def test_jitter_is_uniform_and_bounded():
    still, moved = (t.offsets("raster", 40.0, 40.0, 1.0, jitter=j) for j in (0.0, 0.25))
    shift = moved - still
    assert np.abs(shift).max() <= 0.25
    assert np.std(shift) == pytest.approx(0.25 / np.sqrt(3), rel=0.05)


def test_grids_are_jittered_unless_told_otherwise():
    default, quarter, other = (
        t.offsets("raster", 4, 4, 1, jitter=j, seed=s) for j, s in ((None, 1), (0.25, 1), (0.25, 2))
    )
    np.testing.assert_array_equal(default, quarter)
    assert not np.array_equal(quarter, other)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"width": 0.0}, "width is 0.0"),
        ({"height": float("nan")}, "height is nan"),
        ({"step": -1.0}, "step is -1.0"),
        ({"jitter": 0.6}, "jitter is 0.6"),
        ({"step": 1e-6}, "at most"),
    ],
)
def test_refusals_name_field_value_and_expectation(change, named):
    with pytest.raises(SettingsError, match=named):
        t.offsets(**({"trajectory": "raster", "width": 5.0, "height": 5.0, "step": 1.0} | change))


def test_a_spiral_in_a_thread_is_refused_before_it_costs_memory():
    with pytest.raises(SettingsError, match=r"width 5000 and height 0\.8 are too unequal for a spiral of"):
        t.offsets("spiral", 5000, 0.8, 0.1)
    assert len(t.offsets("snake", 5000, 0.8, 0.1)) == 400_000


def test_unknown_trajectory():
    with pytest.raises(NotFoundError, match=r"zigzag.*snake"):
        t.offsets("zigzag", 1, 1, 1)
