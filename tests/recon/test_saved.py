"""A solver goes on from what another one has left."""

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError

from .small_problem import make_problem

LEARNING = {
    "refine_positions": True,
    "fit_intensity": True,
    "fit_background": True,
    "probe_variations": 2,
    "refine_start": 6,
}


@pytest.fixture(scope="module")
def problem():
    return make_problem(photons=2e5)


def halfway(problem, **settings):
    solver = problem.solver(probe_start=2, **settings)
    solver.add(problem.batch(slice(0, 30)))
    solver.step(12)
    return solver


@pytest.mark.parametrize("settings", [{}, LEARNING, {"slices": 2, "slice_distance_m": 1e-6, "modes": 2}])
def test_what_was_known_is_known_again(problem, settings):
    first = halfway(problem, **settings)
    saved = first.state()
    second = problem.solver(probe_start=2, **settings)
    second.add(problem.batch(slice(0, 30)))
    second.restore(saved)
    a, b = first.snapshot(exact_residual=True), second.snapshot(exact_residual=True)
    for name in (
        "object",
        "probe",
        "seq_nums",
        "positions_m",
        "residuals",
        "gain",
        "background",
        "variation",
        "slices",
    ):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert b.residual == pytest.approx(a.residual, rel=1e-6)
    for name, array in second.state().items():
        np.testing.assert_array_equal(array, saved[name], err_msg=name)


@pytest.mark.parametrize("algorithm", ["mpie:20,lsqml", "dm", "raar", "ml"])
def test_it_ends_as_well_as_one_that_was_not_interrupted(problem, algorithm):
    """The difference map begins with new exit waves, and conjugate gradients with a new direction."""
    undisturbed, first = (halfway(problem, algorithm=algorithm) for _ in "ab")
    second = problem.solver(probe_start=2, algorithm=algorithm)
    second.add(problem.batch(slice(0, 30)))
    second.restore(first.state())
    for solver in (undisturbed, second):
        solver.add(problem.batch(slice(30, None)))
        solver.step(80)
    assert second.iteration == undisturbed.iteration
    assert problem.error(second) < 1.05 * problem.error(undisturbed)
    assert second.taken_back == 0


def test_frames_that_are_lost_or_new_or_elsewhere_do_not_get_what_others_learnt(problem):
    first = halfway(problem, **LEARNING)
    saved = first.state()
    batch = problem.batch(slice(5, 35))
    batch.positions_m[0] += 1e-9
    second = problem.solver(probe_start=2, **LEARNING)
    second.add(batch)
    second.restore(saved)
    gain, first_gain = second.snapshot().gain, first.snapshot().gain
    assert gain[0] == 1.0 and np.all(gain[25:] == 1.0)
    np.testing.assert_array_equal(gain[1:25], first_gain[6:30])
    second.step(5)
    assert np.isfinite(second.snapshot(exact_residual=True).residual)


def test_a_canvas_that_grew_is_taken_over_and_grows_on(problem):
    first = halfway(problem)
    batch, n = problem.batch(slice(0, 1)), 100
    far = type(batch)(np.array([n]), batch.positions_m - 40 * 2e-8, batch.amplitude, batch.mask)
    first.add(far)
    first.step(2)
    second = problem.solver(probe_start=2)
    farther = type(batch)(np.array([n + 1]), batch.positions_m + 200 * 2e-8, batch.amplitude, batch.mask)
    for each in (problem.batch(slice(0, 30)), far, farther):
        second.add(each)
    second.restore(first.state())
    canvas = second.canvas
    assert canvas.contains(np.concatenate([far.positions_m, farther.positions_m, problem.positions_m])).all()
    (row, col), known = np.rint(canvas.corners_px(far.positions_m)[0]).astype(int), first.snapshot().object
    r, c = np.rint(first.canvas.corners_px(far.positions_m)[0]).astype(int)
    np.testing.assert_array_equal(
        second.snapshot().object[row : row + 20, col : col + 20], known[r : r + 20, c : c + 20]
    )
    second.step(3)
    assert second.taken_back == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("object", np.ones((4, 4), np.complex64)),
        ("probe", np.full((1, 32, 32), np.nan, np.complex64)),
        ("first_probe", np.ones((1, 16, 16), np.complex64)),
        ("canvas", np.array([1e6, 1e6, 0.0, 0.0])),
        ("canvas", np.array([-5.0, 60.0, 0.0, 0.0])),
        ("gain", np.ones(3, np.float32)),
        ("seq_nums", np.array(["a"] * 30)),
        ("passes", None),
        ("variation", np.ones((1, 32, 32), np.complex64)),
    ],
)
def test_what_does_not_belong_to_such_a_solver_is_refused_by_name(problem, name, value):
    saved = halfway(problem).state()
    if value is None:
        del saved[name]
    else:
        saved[name] = value
    solver = halfway(problem)
    before = solver.snapshot().object
    with pytest.raises(MetadataError, match=f"checkpoint: .*{'coefficients' if name == 'variation' else name}"):
        solver.restore(saved)
    np.testing.assert_array_equal(solver.snapshot().object, before)
