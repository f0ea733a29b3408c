"""Momentum: what bounds its step, and what takes a bad pass back."""

import logging

import numpy as np
import pytest

from bluesky_ptycho.recon.algorithms.pie import safe_step
from bluesky_ptycho.recon.guard import Guard

from .small_problem import make_problem


@pytest.fixture(scope="module")
def problem():
    return make_problem(photons=2e5)


@pytest.mark.parametrize("n_batches", [1, 4, 25])
def test_safe_step_keeps_a_pixel_that_one_batch_lights_stable(n_batches):
    """Nesterov's iteration on x**2 / 2 whose gradient is only known in one of the batches of a pass."""
    momentum = 0.9
    step = safe_step(10.0, momentum, n_batches)
    x, v = 1.0, 0.0
    for visit in range(200 * n_batches):
        g = -step * x if visit % n_batches == 0 else 0.0
        v = momentum * v + g
        x += momentum * v + g
    assert abs(x) < 1e-3


def test_step_without_momentum_is_the_one_asked_for():
    assert safe_step(1.3, 0.0, 4) == pytest.approx(1.3)
    assert safe_step(0.1, 0.9, 4) == 0.1  # small enough already


def test_a_diverging_pass_is_taken_back_and_told(problem, caplog):
    solver = problem.solver()
    solver.add(problem.batch())
    solver.step(20)
    before = problem.error(solver)
    solver._state.object_velocity += 3.0  # as an overshoot would
    with caplog.at_level(logging.INFO, logger="bluesky_ptycho"):
        solver.step(3)
    assert "a solver step is taken back" in caplog.text
    solver.step(20)
    assert problem.error(solver) < 1.1 * before


def test_reckless_settings_do_not_diverge(problem):
    solver = problem.solver(step=2.0, momentum=0.95, batches_per_pass=1)
    solver.add(problem.batch())
    residuals = [solver.step() for _ in range(60)]
    assert solver.taken_back > 0
    assert residuals[-1] < 0.2 * residuals[0]


def test_frames_that_arrive_are_not_taken_for_divergence(problem):
    solver = problem.solver()
    for first in range(0, len(problem.corners), 5):
        solver.add(problem.batch(slice(first, first + 5)))
        solver.step(2)
    assert solver.taken_back == 0


def test_frames_in_the_place_of_others_are_not_taken_for_divergence():
    problem = make_problem(photons=2e5, n_side=14)
    solver, half = problem.solver(), problem.batch(slice(0, 98))
    solver.add(half)
    solver.step(15)
    solver.remove(half.seq_nums)
    solver.add(problem.batch(slice(98, None)))
    solver.step(3)
    assert solver.taken_back == 0


@pytest.mark.parametrize(("n", "taken_back"), [(1, False), (30, True)])
def test_the_residual_of_a_few_frames_may_rise_from_below_their_noise(problem, n, taken_back):
    solver = problem.solver()
    solver.add(problem.batch(slice(0, n)))
    state, guard, slots = solver._state, Guard(), solver._state.frames.slots()
    for residual in (6e-3, 2e-3, 1e-4):
        guard.before_pass(state)
        assert not guard.after_pass(state, residual, slots)
    guard.before_pass(state)
    assert guard.after_pass(state, 3e-4, slots) is taken_back


def test_caution_recovers(problem):
    solver = problem.solver()
    solver.add(problem.batch())
    solver.step()
    guard, state = Guard(), solver._state
    slots = state.frames.slots()
    kept = state.object.copy()
    guard.before_pass(state)
    assert not guard.after_pass(state, 0.1, slots)
    state.object[:] = 5
    guard.before_pass(state)
    assert guard.after_pass(state, 0.2, slots)
    assert np.array_equal(state.object, kept)
    assert guard.caution == 0.5
    for _ in range(20):
        guard.before_pass(state)
        guard.after_pass(state, 0.1, slots)
    assert guard.caution == 1.0
