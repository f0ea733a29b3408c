"""The factor between probe and object: set by the brightest frames, whatever the solver has left it at."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.recon.level import level_of
from bluesky_ptycho.recon.measure import coverage
from bluesky_ptycho.recon.metrics import object_nrmse

from .small_problem import SIZE, make_problem

PHOTONS = 2e5


@pytest.fixture(scope="module")
def absorbing():
    """A sample that lets 49 % through, with a gap wider than the probe in one corner."""
    problem = make_problem(photons=PHOTONS, n_side=10)
    sample = np.full(problem.object.shape, 0.7, np.complex64) * np.exp(1j * np.angle(problem.object))
    sample[: SIZE + 8, : SIZE + 8] = 1
    waves = [problem.probe * sample[r : r + SIZE, c : c + SIZE] for r, c in problem.corners]
    mean = np.abs(np.fft.fftshift(np.fft.fft2(waves, norm="ortho"), axes=(1, 2))) ** 2
    patterns = np.random.default_rng(0).poisson(mean).astype(np.float32)
    return dataclasses.replace(problem, object=sample.astype(np.complex64), patterns=patterns)


def solved(problem, batch=None, **settings):
    with problem.solver(probe_start=1, **settings) as solver:
        solver.add(problem.batch() if batch is None else batch)
        solver.step(20)
        yield solver


def power(probe):
    return float(np.sum(np.abs(probe.astype(np.complex128)) ** 2))


def test_photons_of_the_open_beam(absorbing):
    (solver,) = solved(absorbing)
    found, truth = solver.snapshot(frc=True), power(absorbing.probe)
    assert power(solver._state.probe) != pytest.approx(truth, rel=0.1)
    assert power(found.probe) == pytest.approx(truth, rel=0.01)
    image, middle = np.abs(found.object[absorbing.on_canvas(solver)]), np.s_[SIZE // 2 : SIZE + 4]
    assert np.median(image[middle, middle]) == pytest.approx(1.0, abs=0.01)
    box = np.s_[SIZE + 12 : -SIZE // 2, SIZE + 12 : -SIZE // 2]
    assert np.median(image[box]) == pytest.approx(0.7, abs=0.01)
    assert found.coverage.max() == pytest.approx(
        solver_coverage(solver) * power(found.probe) / power(solver._state.probe)
    )


def solver_coverage(solver):
    return coverage(solver._state, solver._state.frames.slots()).max()


def test_whatever_the_solver_has_left_it_at(absorbing):
    (solver,) = solved(absorbing)
    before = solver.snapshot(exact_residual=True)
    solver._state.object *= np.float32(1.3)
    solver._state.probe /= np.float32(1.3)
    after = solver.snapshot(exact_residual=True)
    assert after.residual == pytest.approx(before.residual, rel=1e-4)
    for name in ("object", "probe", "coverage"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-4)


def test_pixels_that_are_not_valid(absorbing):
    mask = np.ones((SIZE, SIZE), bool)
    mask[: SIZE // 2 - 3] = False
    (solver,) = solved(absorbing, dataclasses.replace(absorbing.batch(), mask=mask))
    assert power(solver.snapshot().probe) == pytest.approx(power(absorbing.probe), rel=0.02)


@pytest.mark.parametrize("fits", [False, True])
def test_a_beam_that_flickers(absorbing, fits):
    """By 3 %; what lets through is told from what is bright."""
    batch = absorbing.batch()
    brightness = 1 + 0.03 * np.random.default_rng(2).standard_normal(batch.n).astype(np.float32)
    flickering = dataclasses.replace(batch, amplitude=batch.amplitude * np.sqrt(brightness)[:, None, None])
    (solver,) = solved(absorbing, flickering, fit_intensity=fits)
    assert power(solver.snapshot().probe) == pytest.approx(power(absorbing.probe), rel=0.03)


def test_a_bound_of_the_amplitude_sets_the_level_itself(absorbing):
    (solver,) = solved(absorbing, object_max_amplitude=0.9)
    np.testing.assert_array_equal(solver.snapshot().object, solver._state.object)


def test_slices_multiply_to_the_object():
    problem = make_problem(n_side=5)
    (solver,) = solved(problem, slices=2, slice_distance_m=1e-7)
    found = solver.snapshot()
    np.testing.assert_allclose(found.slices.prod(axis=0), found.object, rtol=1e-4)


def test_halves_of_other_levels_correlate_and_differ_no_more(absorbing):
    (solver,) = solved(absorbing)
    before = solver.snapshot(frc=True)
    for state, factor in zip(solver._half_sets.states, (1.4, 0.8), strict=True):
        state.object *= np.float32(factor)
        state.probe /= np.float32(factor)
    after = solver.snapshot(frc=True)
    np.testing.assert_allclose(after.uncertainty, before.uncertainty, rtol=1e-3)
    assert object_nrmse(after.object, before.object, np.s_[:, :]) < 1e-3


def test_nothing_measured(absorbing):
    with absorbing.solver() as solver:
        frames = solver._state.frames
        assert level_of(solver._state.object, solver._state.probe, frames, frames.slots()) == 1.0
