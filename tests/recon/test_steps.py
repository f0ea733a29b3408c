"""The steps of least-squares maximum likelihood: solved, not to be solved, and by the kernel as by the array code."""

import numpy as np
import pytest

from bluesky_ptycho.backend import get_backend
from bluesky_ptycho.recon.device_engine import DeviceEngine
from bluesky_ptycho.recon.engine import Directions, make_engine
from bluesky_ptycho.recon.reference import RIDGE, best_steps

from .device_problem import make_state

SLOPES, CURVATURES, COUPLING = (3.0, 2.0), (4.0, 5.0), 1.5


def test_steps_solve_the_normal_equations():
    matrix = np.diag(CURVATURES) * (1 + RIDGE) + COUPLING * (1 - np.eye(2))
    found = best_steps(np, SLOPES, CURVATURES, COUPLING)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, SLOPES), rtol=1e-12)


ALONE = SLOPES[0] / CURVATURES[0] / (1 + RIDGE), SLOPES[1] / CURVATURES[1] / (1 + RIDGE)


@pytest.mark.parametrize(
    ("curvatures", "coupling", "expected"),
    [
        ((4.0, 0.0), 0.0, (ALONE[0], 0.0)),
        ((0.0, 5.0), 0.0, (0.0, ALONE[1])),
        ((0.0, 0.0), 0.0, (0.0, 0.0)),
        ((4.0, 5.0), 10.0, (ALONE[0] / 2, ALONE[1] / 2)),
    ],
    ids=["no probe", "no object", "nothing", "more coupled than can be"],
)
def test_what_cannot_be_solved(curvatures, coupling, expected):
    np.testing.assert_allclose(best_steps(np, SLOPES, curvatures, coupling), expected, rtol=1e-12)


def test_no_step_goes_back():
    found = best_steps(np, (3.0, 0.1), (4.0, 5.0), 4.0)
    assert found[0] > 0 == found[1]


def directions(backend, slopes, curvatures):
    numbers = [backend.to_device(np.float64(n)) for pair in zip(slopes, curvatures, strict=True) for n in pair]
    return Directions(None, None, None, None, *numbers)


CASES = [(SLOPES, CURVATURES, COUPLING), ((3.0, 0.1), (4.0, 5.0), 4.0), ((1.0, 2.0), (0.0, 3.0), 0.5)]
CASES += [((1.0, 2.0), (4.0, 0.0), 0.5), (SLOPES, CURVATURES, 10.0), (SLOPES, CURVATURES, None)]


@pytest.mark.parametrize(("slopes", "curvatures", "coupling"), CASES)
def test_engines_agree(backend, slopes, curvatures, coupling):
    host = get_backend("numpy")
    with_bounds = 0.9, 0.45
    given = None if coupling is None else backend.to_device(np.float64(coupling))
    found = DeviceEngine(backend).best_steps(directions(backend, slopes, curvatures), given, *with_bounds)
    expected = make_engine(host).best_steps(directions(host, slopes, curvatures), coupling, *with_bounds)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or backend.to_host(ours) == pytest.approx(theirs, rel=1e-6)
    assert max(expected[0], expected[1] or 0.0) <= 0.45


def test_a_step_may_lie_on_the_device(backend):
    found = []
    for step in (0.3, backend.to_device(np.float64(0.3))):
        state, engine = make_state(backend), DeviceEngine(backend)
        along = Directions(state.object * 2, state.probe * 3, *[None] * 6)
        engine.advance(state, along, step, step, 0.9)
        names = ("object", "object_velocity", "probe", "probe_velocity")
        found.append([backend.to_host(getattr(state, name)) for name in names])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
