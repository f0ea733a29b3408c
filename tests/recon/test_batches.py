"""How frames are cut into batches: by size, by a stage of a schedule, from all over the scan or of neighbours."""

import numpy as np
import pytest

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.recon.passes import PassOptions, batches, compact_batches, number_of_batches
from bluesky_ptycho.recon.schedule import Schedule, Stage
from bluesky_ptycho.recon.settings import SolverSettings

from .small_problem import make_problem


@pytest.mark.parametrize(
    ("n", "most", "least", "expected"), [(400, 4, 16, 4), (40, 4, 16, 2), (3, 4, 16, 1), (400, 10**6, 100, 4)]
)
def test_batches_are_at_most_so_many_and_at_least_so_long(n, most, least, expected):
    assert number_of_batches(n, most, least) == expected
    cut = batches(np.arange(n), most, least)
    assert [len(b) for b in cut] == [len(b) for b in np.array_split(np.arange(n), expected)]


@pytest.mark.parametrize("n_batches", [1, 2, 3, 7, 16])
def test_compact_batches_share_out_all_frames_evenly(n_batches):
    rng = np.random.default_rng(0)
    positions, slots = rng.random((300, 2)), rng.permutation(300)[:200]
    cut = compact_batches(positions, slots, n_batches)
    assert np.array_equal(np.sort(np.concatenate(cut)), np.sort(slots))
    lengths = [len(batch) for batch in cut]
    assert len(cut) == n_batches
    assert max(lengths) - min(lengths) <= max(1, np.log2(n_batches))


def test_compact_batches_are_of_neighbours_and_others_in_each_pass():
    rng = np.random.default_rng(0)
    positions = rng.random((400, 2))
    passes = [compact_batches(positions, rng.permutation(400), 16) for _ in range(2)]
    for cut in passes:
        spread = [positions[batch].std(axis=0).max() for batch in cut]
        assert max(spread) < 0.5 * positions.std(axis=0).min()  # a sixteenth of the area: a quarter of its width
    members = [{frozenset(batch.tolist()) for batch in cut} for cut in passes]
    assert not members[0] & members[1]


def test_compact_batches_come_in_random_order():
    positions = np.arange(64.0)[:, None] * [1.0, 0.0]
    firsts = {
        float(positions[compact_batches(positions, np.random.default_rng(seed).permutation(64), 4)[0]].mean() // 8)
        for seed in range(20)
    }
    assert len(firsts) == 4


@pytest.mark.parametrize("positions", [np.zeros((5, 2)), np.zeros((1, 2))], ids=["one place", "one frame"])
def test_frames_without_neighbours_make_batches_too(positions):
    slots = np.arange(len(positions))
    for n_batches in {1, min(2, len(slots))}:
        cut = compact_batches(positions, slots, n_batches)
        assert len(cut) == n_batches
        assert np.array_equal(np.sort(np.concatenate(cut)), slots)


def test_small_batches_of_neighbours_follow_the_noise_less():
    problem = make_problem(photons=1e4, n_side=20, step=3)
    errors = []
    for compact in (False, True):
        with problem.solver(algorithm="lsqml@8", compact_batches=compact) as solver:
            solver.add(problem.batch())
            solver.step(20)
            errors.append(problem.error(solver))
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("rpie:30,lsqml@100:50", [Stage("rpie", 30), Stage("lsqml", 50, 100)]),
        (" mpie @ 20 : 5 , lsqml @ 7 ", [Stage("mpie", 5, 20), Stage("lsqml", None, 7)]),
    ],
)
def test_a_stage_has_batches_of_its_own(text, stages):
    assert list(Schedule.parse(text).stages) == stages


@pytest.mark.parametrize(
    "text", ["lsqml@", "lsqml@0", "lsqml@x", "lsqml@5@6", "@5", "lsqml:5@6", "lsqml@-1", "lsqml@9999999"]
)
def test_batches_that_are_no_number_are_refused(text):
    with pytest.raises(SettingsError, match="NAME@FRAMES:PASSES"):
        SolverSettings(algorithm=text)


@pytest.mark.parametrize("name", ["ml", "raar", "dm", "admm"])
def test_batches_are_refused_where_all_frames_are_taken_at_once(name):
    with pytest.raises(SettingsError, match=f"expected no @20, as {name} takes all frames at once"):
        SolverSettings(algorithm=f"mpie:5,{name}@20")


def test_options_of_a_stage_go_before_the_settings():
    settings = SolverSettings(batch_size=5, batches_per_pass=2)
    own = PassOptions.of(Stage("lsqml", None, 10), settings, True, 1.0)
    assert (own.settings.batch_size, own.choose("batches_per_pass", 1)) == (10, 10**6)
    assert PassOptions.of(Stage("lsqml", None), settings, True, 1.0).settings is settings


def test_a_stage_makes_a_step_for_each_of_its_batches(monkeypatch):
    problem = make_problem(n_side=10, step=3)  # 100 frames
    with problem.solver(algorithm="rpie:1,lsqml@20:1,lsqml@50", tail_passes=1) as solver:
        solver.add(problem.batch())
        solver.step(1)
        steps, advance = [], solver._engine.advance
        monkeypatch.setattr(solver._engine, "advance", lambda *given: (steps.append(1), advance(*given)))
        made = []
        for step in (solver.step, solver.step, solver.finish):
            steps.clear()
            step()
            made.append(len(steps))
        assert made == [5, 2, 2]
        steps.clear()
        solver.step_halves()  # 50 frames each, of the first stage: rpie's batches
        assert len(steps) == 2 * (50 // solver.settings.batch_size)
