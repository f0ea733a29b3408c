"""Settings that change while a solver is at work, and a solver that starts again."""

import numpy as np
import pytest

from bluesky_ptycho.errors import NotFoundError, SettingsError
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.recon.fallback import FallbackSolver
from bluesky_ptycho.recon.memory import reconstruction_bytes

from .backends import BACKENDS, UnfusedBackend
from .small_problem import GEOMETRY, make_problem

IMAGES = ("object", "probe", "residuals", "seq_nums", "positions_m")


@pytest.fixture(scope="module")
def problem():
    return make_problem(photons=2e5)


def halfway(problem, passes=8, which=slice(0, 30), **settings):
    solver = problem.solver(**{"probe_start": 2, **settings})
    solver.add(problem.batch(which))
    solver.step(passes)
    return solver


def names_of(solver, passes):
    found = []
    for _ in range(passes):
        found.append(solver._stage().name)
        solver.step()
    return found


def assert_same(a, b):
    one, other = a.snapshot(), b.snapshot()
    for name in IMAGES:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "raar", "relaxation": 0.8},
        {"algorithm": "ml"},
        {"modes": 3},
        {"step": 0.5, "momentum": 0.5},
        {"noise": "poisson"},
        {"refine_positions": True, "refine_start": 0},
        {"fit_background": True, "fit_intensity": True, "probe_variations": 1, "refine_start": 0},
        {"object_max_amplitude": 1.2},
    ],
    ids="-".join,
)
def test_what_was_learnt_stays_and_the_image_gets_better(problem, changes):
    solver = halfway(problem)
    before = solver.snapshot(exact_residual=True).residual
    solver.change(solver.settings.replace(**changes))
    now = solver.snapshot(exact_residual=True).residual
    assert now == pytest.approx(before, rel=0.3), "a change alone does not spoil the image"
    solver.step(4)
    solver.add(problem.batch(slice(30, None)))
    solver.step(16)
    snapshot = solver.snapshot(exact_residual=True)
    assert snapshot.settings | changes == snapshot.settings
    assert snapshot.residual < before and solver.taken_back == 0
    assert problem.error(solver) < 0.1


@pytest.mark.parametrize("make_backend", BACKENDS)
def test_modes_come_and_go_with_the_same_power(problem, make_backend):
    solver = problem.solver(backend=make_backend(), probe_start=2)
    solver.add(problem.batch())
    powers = []
    for modes in (1, 3, 2):
        solver.change(solver.settings.replace(modes=modes))
        solver.step(4)
        probe = solver.backend.to_host(solver._state.probe)
        assert len(probe) == modes == solver.settings.modes
        powers.append(float((np.abs(probe) ** 2).sum()))
    np.testing.assert_allclose(powers, powers[0], rtol=0.02)
    assert solver.snapshot().residuals[-1] < 0.5 * solver.snapshot().residuals[0]


def test_modes_left_open_are_those_of_the_given_probe(problem):
    solver = problem.solver(probe=np.stack([problem.probe, 0.1 * problem.probe]))
    solver.add(problem.batch())
    solver.change(solver.settings.replace(modes=4))
    solver.change(solver.settings.replace(modes=None))
    assert solver.settings.modes == 2


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"subpixel": False}, SettingsError, "solver.subpixel is False; expected True"),
        ({"slices": 2, "slice_distance_m": 1e-6}, SettingsError, "slices is 2; expected 1"),
        ({"algorithm": "mpie:x"}, SettingsError, "schedule is 'mpie:x'"),
        ({"algorithm": "magic"}, NotFoundError, "magic"),
    ],
)
def test_what_cannot_change_is_refused_and_changes_nothing(problem, changes, error, message):
    asked, other = halfway(problem), halfway(problem)
    with pytest.raises(error, match=message):
        asked.change(asked.settings.replace(**changes))
    for solver in (asked, other):
        solver.step(3)
    assert asked.settings == other.settings
    assert_same(asked, other)


def test_settings_that_need_too_much_memory_are_refused(problem):
    solver = problem.solver()
    size = reconstruction_bytes(problem.plan.n_points, solver.canvas.shape, solver.geometry.shape, solver.settings)
    tight = IncrementalSolver(problem.plan, solver.geometry, backend="numpy", memory_budget=size)
    with pytest.raises(SettingsError, match="memory_budget"):
        tight.change(tight.settings.replace(modes=64))


def test_a_schedule_begins_with_the_change(problem):
    solver = halfway(problem, which=slice(None), algorithm="mpie:3,lsqml")
    assert names_of(solver, 1) == ["lsqml"]
    solver.change(solver.settings.replace(step=0.9))
    assert names_of(solver, 1) == ["lsqml"], "the same schedule goes on"
    solver.change(solver.settings.replace(algorithm="raar:2,ml:1,lsqml"))
    assert names_of(solver, 2) == ["raar", "raar"]
    again = problem.solver(probe_start=2, algorithm="raar:2,ml:1,lsqml")
    again.add(problem.batch())
    again.restore(solver.state())
    for one in (solver, again):
        assert names_of(one, 2) == ["ml", "lsqml"]


def test_a_probe_that_was_free_is_held_and_never_guessed_again(problem):
    solver = halfway(problem)
    solver.change(solver.settings.replace(probe_start=5))
    state = solver._state
    probe, image = state.probe.copy(), state.object.copy()
    solver.add(problem.batch(slice(30, None)))
    solver.step(3)
    np.testing.assert_array_equal(state.probe, probe)
    assert not np.array_equal(state.object, image)
    solver.step()
    assert not np.array_equal(state.probe, probe)


def test_positions_stay_where_they_were_found_when_refining_ends(problem):
    solver = halfway(problem, which=slice(None), refine_positions=True, refine_start=2)
    found = solver.snapshot().positions_m
    assert not np.allclose(found, problem.positions_m, atol=1e-12)
    solver.change(solver.settings.replace(refine_positions=False))
    solver.step(3)
    np.testing.assert_array_equal(solver.snapshot().positions_m, found)


def test_a_solver_that_starts_again_is_as_new(problem):
    learning = {"refine_positions": True, "fit_intensity": True, "probe_variations": 1, "refine_start": 2}
    solver = halfway(problem, which=slice(None), **learning)
    solver.step_halves(2)
    solver.reset()
    assert (solver.iteration, solver.n_frames) == (0, len(problem.corners))
    new = halfway(problem, passes=5, which=slice(None), **learning)
    solver.step(5)
    assert_same(solver, new)


def test_half_data_sets_begin_anew_with_other_modes(problem):
    solver = halfway(problem, which=slice(None), frc_passes=2)
    solver.step_halves(2)
    solver.change(solver.settings.replace(modes=2))
    assert solver.step_halves(0) == 0
    assert solver.snapshot(frc=True).frc is not None


def test_changed_settings_outlive_the_device(problem):
    def runs_out(passes):
        raise MemoryError("no room")

    notes = []
    solver = FallbackSolver(
        problem.plan, GEOMETRY, SolverSettings(probe_start=2), UnfusedBackend(), notes.append, probe=problem.probe
    )
    solver.add(problem.batch())
    solver.step(4)
    solver.change(solver.settings.replace(modes=2, step=0.5))
    solver._solver.step = runs_out
    solver.step(2)
    assert solver.backend.name == "numpy" and "on the CPU" in notes[0]
    assert (solver.settings.modes, solver.settings.step, solver.iteration) == (2, 0.5, 6)
    assert solver.snapshot().probe.shape[0] == 2


def test_frames_that_come_after_a_change_are_no_divergence(problem):
    """A residual that has fallen far says nothing of what new frames may cost."""
    changed, other = (halfway(problem, passes=40, which=slice(0, 6)) for _ in "ab")
    changed.change(changed.settings.replace(step=0.8))
    for solver in (changed, other):
        solver.step(3)
        for first in range(6, 30, 3):
            solver.add(problem.batch(slice(first, first + 3)))
            solver.step(2)
    assert changed.taken_back <= other.taken_back
