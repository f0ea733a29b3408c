"""Positions against the plan: what is off is told, what merely disagrees as a whole costs no frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_ptycho.callbacks.document_keys import Point
from bluesky_ptycho.callbacks.position_checks import PositionChecks

from .compose import small_plan

GRID = np.stack(np.divmod(np.arange(200), 20), axis=1) * 1e-7 + [3e-7, 5e-7]
SNAKE = GRID.copy()
SNAKE.reshape(10, 20, 2)[1::2] = SNAKE.reshape(10, 20, 2)[1::2, ::-1]
NOISE = np.random.default_rng(1).normal(0, 5e-9, GRID.shape)


def points(positions, first=1):
    return [Point(first + i, i, tuple(p), 0.0) for i, p in enumerate(positions)]


@pytest.mark.parametrize("planned", [GRID, SNAKE])
def test_a_jump_within_the_field_and_one_beyond_it(planned):
    measured = planned + NOISE
    measured[40] += [6e-7, 0]
    measured[99] -= [0, 9e-7]
    checks = PositionChecks(small_plan(planned))
    strays = checks.strays(points(measured))
    assert sorted(strays) == [41, 100]
    assert strays[41].startswith("position: stage_y is 1.1") and "; the scan plan says stage_y is 0.5 um" in strays[41]
    assert checks.doubt.startswith("point 41: ")


def test_a_stuck_encoder_is_seen_from_the_second_equal_number():
    measured = SNAKE + NOISE
    measured[30:36, 1] = measured[29, 1]
    strays = PositionChecks(small_plan(SNAKE)).strays(points(measured))
    assert sorted(strays) == [31, 32, 33, 34, 35, 36]


@pytest.mark.parametrize("planned", [GRID, SNAKE])
@pytest.mark.parametrize("lost", [[57], [20, 21, 22], [5, 60, 120, 180]])
def test_points_after_lost_triggers_are_no_strays(planned, lost):
    measured = np.delete(planned + NOISE, lost, axis=0)
    assert PositionChecks(small_plan(planned)).strays(points(measured)) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p[:, ::-1], "the axes look swapped"),
        (lambda p: p * [-1, 1], "y looks flipped"),
        (lambda p: p * [1, -1], "x looks flipped"),
        (lambda p: -p, "both axes look flipped"),
        (lambda p: -p[:, ::-1], "the axes look swapped and flipped"),
        (lambda p: p * 1e3, "the unit looks a thousand times too large"),
        (lambda p: p / 1e3, "the unit looks a thousand times too small"),
    ],
)
def test_axes_that_disagree_everywhere_are_told_and_cost_no_frame(change, said):
    checks = PositionChecks(small_plan(GRID))
    assert checks.strays(points(change(GRID))) == {}
    assert checks.doubt.endswith(f": {said}")


@given(st.randoms())
def test_the_order_of_points_changes_nothing(rng):
    measured = SNAKE + NOISE
    measured[17] += 1e-6
    measured[60:64, 0] = measured[59, 0]
    in_order = points(measured)
    shuffled = rng.sample(in_order, len(in_order))
    assert PositionChecks(small_plan(SNAKE)).strays(shuffled) == PositionChecks(small_plan(SNAKE)).strays(in_order)


def test_without_a_plan_for_a_point_nothing_is_said_of_it():
    checks = PositionChecks(small_plan(GRID[:1]))
    assert checks.strays(points(GRID + 1)) == {} and checks.doubt is None
    assert checks.strays([]) == {}
