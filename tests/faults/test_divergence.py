"""What a reconstruction does when its numbers run away."""

import numpy as np
import pytest

from tests.recon.small_problem import make_problem

from .scene import Scan, plain_plan, reconstruct

LEARNING = {
    "refine_positions": True,
    "fit_intensity": True,
    "fit_background": True,
    "probe_variations": 1,
    "refine_start": 2,
}


@pytest.fixture(scope="module")
def problem():
    return make_problem(photons=2e5, n_side=9)


def spoil_object(state):
    state.object[20:30, 20:30] = np.nan


def spoil_probe(state):
    state.probe[0, 3, 4] = np.inf


def spoil_shifts(state):
    state.frames.shift_px[3] = np.nan


def spoil_gain(state):
    state.frames.gain[5] = np.nan


def spoil_background(state):
    state.detection.background[4, 4] = np.nan


def spoil_variation(state):
    state.variation.set_modes(state.variation.host_modes * np.float32("nan"))


def overshoot(state):
    state.object += 3.0


SPOILT = [
    *(("lsqml", spoil) for spoil in (spoil_object, spoil_probe, overshoot)),
    *(("mpie", spoil) for spoil in (spoil_object, spoil_shifts, spoil_gain, spoil_background, spoil_variation)),
    *((name, spoil) for name in ("epie", "ml", "raar", "dm", "admm") for spoil in (spoil_object, overshoot)),
]


def arrays_of(snapshot):
    names = ("object", "probe", "positions_m", "residuals", "shifts_m", "gain", "background", "variation", "coverage")
    return {name: value for name in names if (value := getattr(snapshot, name)) is not None}


@pytest.mark.fault(
    "13",
    "residual rises, NaN appears in object, probe, positions, gains, background or variation",
    bound="the last good state is back within 2 updates; nothing non-finite is ever published",
)
@pytest.mark.parametrize(("algorithm", "spoil"), SPOILT)
def test_the_last_good_state_is_back_within_two_updates(problem, algorithm, spoil, figure):
    learning = LEARNING if algorithm == "mpie" else {}
    solver, undisturbed = (problem.solver(algorithm=algorithm, **learning) for _ in "ab")
    for each in (solver, undisturbed):
        each.add(problem.batch())
        each.step(30)
    taken_back, good = solver.taken_back, solver.snapshot()
    spoil(solver._state)
    updates = 0
    while solver.taken_back == taken_back and updates < 5:
        solver.step()
        updates += 1
        assert all(np.isfinite(values).all() for values in arrays_of(solver.snapshot()).values())
    solver.step()
    after = solver.snapshot(exact_residual=True)
    figure(f"back after {updates}, residual x {after.residual / good.residuals[-1]:.2f}")
    assert updates <= 2
    assert after.residual < 1.3 * good.residuals[-1]
    for each in (solver, undisturbed):
        each.step(20)
    assert problem.error(solver) < 1.1 * problem.error(undisturbed)
    assert solver._state.memory["guard"].caution > 0.9, "steps grow back"


def test_what_is_spoilt_just_before_a_snapshot_is_not_published(problem):
    solver = problem.solver()
    solver.add(problem.batch())
    solver.step(3)
    spoil_object(solver._state)
    spoil_probe(solver._state)
    assert np.isfinite(solver.snapshot().object).all() and np.isfinite(solver.snapshot().probe).all()
    assert solver.taken_back == 1


def test_a_spoilt_half_data_set_recovers_and_leaves_the_rest_alone(problem):
    solver = problem.solver(frc_passes=10, **LEARNING)
    solver.add(problem.batch())
    solver.step(10)
    solver.step_halves(4)
    shifts = solver._state.frames.shift_px.copy()
    spoil_object(solver._half_sets.states[1])
    found = solver.snapshot(frc=True)
    assert np.isfinite(found.frc["correlation"]).all()
    np.testing.assert_array_equal(solver._state.frames.shift_px, shifts)


def test_the_user_is_told_once_in_the_result(tmp_path, monkeypatch):
    from bluesky_ptycho.recon import IncrementalSolver
    from tests.callbacks.small_data import small_scan

    whole, calls = IncrementalSolver.step, []

    def step(self, n=1):
        calls.append(n)
        if len(calls) in (10, 20):
            spoil_object(self._state)
        return whole(self, n)

    monkeypatch.setattr(IncrementalSolver, "step", step)
    positions_m, patterns, *_ = small_scan(n_side=5)
    outcome, results = reconstruct(Scan(plain_plan(positions_m, (64, 64)), tmp_path, patterns).documents(), tmp_path)
    (message,) = [m for m in results.summary()["messages"] if "diverged" in m]
    assert "last good state" in message
    assert all(np.isfinite(values).all() for values in arrays_of(outcome.snapshot).values())
