"""Schedules: their text, which pass is whose, and a solver that follows them."""

import numpy as np
import pytest

from bluesky_ptycho.errors import NotFoundError, SettingsError
from bluesky_ptycho.recon.measure import has_converged
from bluesky_ptycho.recon.schedule import Schedule
from bluesky_ptycho.recon.settings import SolverSettings
from bluesky_ptycho.recon.state import WAVES
from bluesky_ptycho.registry import algorithms, names_as_stored

from .small_problem import make_problem


@pytest.mark.parametrize("text", ["", "mpie:0", "mpie:x,lsqml", "mpie,lsqml:5", "mpie:5,", ":5", "mpie:-3"])
def test_bad_schedules_are_refused(text):
    with pytest.raises(SettingsError, match="schedule is"):
        Schedule.parse(text)


def test_unknown_algorithm_is_refused():
    with pytest.raises(NotFoundError, match="algorithm 'magic'"):
        Schedule.parse("mpie:3,magic")


@pytest.mark.parametrize("text", ["foo", "rpie:3,foo", "rpie:0", "", "rpie:x,"])
def test_settings_refuse_what_is_no_schedule(text):
    with pytest.raises(
        (SettingsError, NotFoundError), match=r"algorithm 'foo' is not known; known: .*rpie|schedule is '.*'; expected"
    ):
        SolverSettings(algorithm=text)


def test_names_of_a_plug_in_that_is_gone_are_read_but_not_made():
    with names_as_stored():
        settings = SolverSettings(algorithm="gone:3,rpie")
    assert settings.algorithm == "gone:3,rpie"
    assert settings.replace(algorithm="rpie").algorithm == "rpie"
    with pytest.raises((SettingsError, NotFoundError), match="'gone' is not known"):
        settings.replace(modes=2)


def names(schedule, passes, *, before=0):
    return [schedule.at(before, since, complete=True, tail=False).name for since in range(passes)]


def test_stages_follow_each_other():
    schedule = Schedule.parse("mpie:2, lsqml:1 ,ml")
    assert names(schedule, 5) == ["mpie", "mpie", "lsqml", "ml", "ml"]
    assert schedule.total is None
    assert Schedule.parse("mpie:30,lsqml:50").total == 80
    assert names(Schedule.parse("mpie:1,lsqml:1"), 4) == ["mpie", "lsqml", "lsqml", "lsqml"]


def test_first_stage_lasts_while_frames_arrive():
    schedule = Schedule.parse("mpie:3,lsqml:2")
    assert schedule.at(7, 0, complete=False, tail=False).name == "mpie"
    assert names(schedule, 3, before=2) == ["mpie", "lsqml", "lsqml"]
    assert names(schedule, 2, before=9) == ["lsqml", "lsqml"]
    assert schedule.at(0, 0, complete=False, tail=True).name == "lsqml"


@pytest.fixture
def called(monkeypatch):
    calls = []

    def watched(name):
        own = algorithms[name]

        def run(*arguments):
            calls.append(name)
            return own(*arguments)

        return run

    monkeypatch.setattr(
        "bluesky_ptycho.recon.replays.algorithms", {name: watched(name) for name in ("mpie", "lsqml", "raar")}
    )
    return calls


def test_solver_follows_the_schedule(called):
    problem = make_problem()
    solver = problem.solver(algorithm="mpie:2,lsqml:2,raar", tail_passes=2)
    solver.add(problem.batch(slice(0, 20)))
    solver.step(2)
    solver.add(problem.batch())
    solver.step(3)
    solver.finish()
    assert called == ["mpie"] * 2 + ["lsqml"] * 2 + ["raar"] * 3


def test_a_frame_taken_away_does_not_start_the_schedule_anew(called):
    problem = make_problem()
    solver = problem.solver(algorithm="mpie:2,lsqml")
    solver.add(problem.batch())
    solver.step(3)
    solver.remove([1])
    solver.step(2)
    assert called == ["mpie"] * 2 + ["lsqml"] * 3


def test_convergence_is_a_residual_that_falls_no_more():
    falling = 0.1 * 0.8 ** np.arange(30)
    assert not has_converged(falling, 1e-3)
    assert has_converged([*falling, *np.full(10, 1e-4)], 1e-3)
    assert not has_converged(np.full(9, 1.0), 1e-3)
    assert not has_converged(np.full(30, 1.0), 0.0)


def test_tail_ends_when_converged():
    problem = make_problem(photons=2e5)
    solver = problem.solver(tolerance=0.02, tail_passes=500)
    solver.add(problem.batch())
    solver.finish()
    assert 10 <= solver.iteration < 400
    assert solver.converged
    assert solver.snapshot().converged


def test_the_tail_averages_the_noise_that_the_passes_before_it_follow():
    problem = make_problem(photons=3e4)
    errors = []
    for passes, tail in ((34, 0), (30, 4)):
        solver = problem.solver(tail_passes=tail)
        solver.add(problem.batch())
        solver.step(passes)
        solver.finish()
        assert solver.iteration == 34
        errors.append(problem.error(solver))
    assert errors[1] < 0.98 * errors[0]


def test_a_stage_leaves_nothing_to_the_next_one():
    problem = make_problem()
    solver = problem.solver(algorithm="raar:3,lsqml")
    solver.add(problem.batch())
    solver.step(3)
    solver.step_halves(3)
    states = [solver._state, *solver._half_sets.states]
    assert all(WAVES in state.memory for state in states)
    solver.step(1)
    solver.step_halves(1)
    assert not any(WAVES in state.memory for state in states)


def test_a_scan_that_lost_frames_goes_on_to_the_later_stages(called):
    problem = make_problem()
    solver = problem.solver(algorithm="mpie:1,lsqml")
    solver.add(problem.batch(slice(0, 40)))
    solver.step(2)
    solver.complete()
    solver.step(1)
    assert called == ["mpie", "mpie", "lsqml"]
