"""Thick objects: the model's derivatives, and slices found from patterns of an independent model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.io import read_result_cxi, write_result_cxi
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.recon.algorithms.pie import pie_visit
from bluesky_ptycho.recon.measure import error_of
from bluesky_ptycho.recon.propagation import angular_spectrum

from .backends import BACKENDS
from .thick_problem import DISTANCE_M, GEOMETRY, PIXEL_M, SIZE, WAVELENGTH_M, fresnel, make_thick_problem

BOX = np.s_[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2]


@pytest.fixture(scope="module")
def thick():
    return make_thick_problem()


def likeness(found, known):
    """Correlation of the phases' fine structure: coarse structure may lie in either slice."""
    phases = (np.angle(a / a.mean()) for a in (found, known))
    return np.corrcoef(*((p - ndimage.gaussian_filter(p, 4))[BOX].ravel() for p in phases))[0, 1]


def set_truth(solver, thick):
    """Put the known slices and probe into the solver's state."""
    solver.step()
    state, to = solver._state, solver.backend.to_device
    image = np.ones((2, *solver.canvas.shape), np.complex64)
    image[(..., *thick.on_canvas(solver.canvas))] = thick.slices
    state.object, state.probe = to(image), to(thick.probe[None].copy())
    return state


def test_space_between_slices_is_fresnels_for_small_angles():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    wave = np.exp(-(y**2 + x**2) / 40 + 0.3j * y)
    there = np.fft.ifft2(np.fft.fft2(wave) * angular_spectrum(GEOMETRY, DISTANCE_M), norm="forward")
    np.testing.assert_allclose(there, fresnel(wave, DISTANCE_M), atol=2e-3)
    assert np.linalg.norm(there) == pytest.approx(np.linalg.norm(wave), rel=1e-5)
    # A tilted wave moves by distance * angle: 0.3 radian a pixel along y.
    moved = ndimage.center_of_mass(np.abs(there) ** 2)[0] - SIZE // 2
    assert moved * PIXEL_M == pytest.approx(DISTANCE_M * 0.3 * WAVELENGTH_M / (2 * np.pi * PIXEL_M), rel=0.01)


@pytest.mark.parametrize("make", BACKENDS)
def test_known_slices_explain_the_patterns(thick, make):
    with thick.solver(backend=make()) as solver:
        set_truth(solver, thick)
        assert solver.snapshot(exact_residual=True).residual < 2e-5


@pytest.mark.parametrize("make", BACKENDS)
def test_gradients_are_the_misfits_derivatives(thick, make):
    """With two modes, fractions of a pixel and slices that are not the true ones."""
    with thick.solver(backend=make(), modes=2, subpixel=True) as solver:
        state, engine, to = set_truth(solver, thick), solver._engine, solver.backend.to_device
        state.frames.shift_px[:] = (0.3, 0.6)
        state.frames.place(solver.canvas)
        rng = np.random.default_rng(1)

        def noise(like, size):
            return (size * (rng.standard_normal((*like.shape, 2)) @ [1, 1j])).astype(np.complex64)

        modes = np.concatenate([thick.probe[None], 0.5 * thick.probe[None, ::-1]])
        state.object, state.probe = state.object + to(noise(state.object, 0.1)), to(modes)
        ways = noise(state.object, 1.0), noise(modes, np.abs(modes).max())
        slots = state.frames.slots()[:12]
        photons = float(state.frames.photons[slots].sum())
        engine.run(state, slots, pie_visit(state))
        found = engine.directions(state, 0.1, 0.1)
        start = state.object, state.probe
        gradients = found.object_gradient, found.probe_gradient
        for way, gradient, name in zip(ways, gradients, ("object", "probe"), strict=True):
            slope, errors = -2 * np.vdot(solver.backend.to_host(gradient), way).real, []
            for step in (-2e-3, 2e-3):
                state.object, state.probe = start
                setattr(state, name, getattr(state, name) + to(way * np.float32(step)))
                errors.append(error_of(state, engine, slots) * photons)
            assert (errors[1] - errors[0]) / 4e-3 == pytest.approx(slope, rel=2e-2)
        engine.clear()


@pytest.mark.parametrize("make", BACKENDS)
def test_first_order_change_of_the_exit_waves(thick, make):
    with thick.solver(backend=make()) as solver:
        state, engine, to = set_truth(solver, thick), solver._engine, solver.backend.to_device
        slots = state.frames.slots()[:3]
        probes = engine.probes(state, slots)
        way = to(np.random.default_rng(0).standard_normal(state.object.shape).astype(np.complex64))
        change = solver.backend.to_host(engine._changes_by(state, slots, probes, engine._layers(state, slots, way)))
        start, waves = state.object, []
        for step in (-1e-2, 1e-2):
            state.object = start + step * way
            waves.append(solver.backend.to_host(engine.exit_waves(state, slots, probes)))
        numeric = (waves[1] - waves[0]) / 2e-2
        assert np.linalg.norm(change - numeric) < 1e-3 * np.linalg.norm(numeric)


@pytest.mark.parametrize("algorithm", ["mpie", "lsqml", "ml", "raar"])
def test_two_slices_explain_what_one_cannot(thick, algorithm):
    residuals = {}
    for slices in (1, 2):
        with thick.solver(slices=slices, algorithm=algorithm) as solver:
            solver.step(40)
            snapshot, where = solver.snapshot(exact_residual=True), thick.on_canvas(solver.canvas)
            residuals[slices] = snapshot.residual
    assert residuals[2] < 0.1 * residuals[1]
    found = snapshot.slices[(..., *where)]
    assert [likeness(found[k], thick.slices[k]) > 0.95 for k in (0, 1)] == [True, True]
    assert max(likeness(found[k], thick.slices[1 - k]) for k in (0, 1)) < 0.3
    np.testing.assert_allclose(snapshot.object, snapshot.slices.prod(axis=0), rtol=1e-5)


@pytest.mark.parametrize("make", BACKENDS)
def test_slices_are_the_same_on_every_backend(thick, make):
    with thick.solver(backend=make(), algorithm="lsqml") as solver, thick.solver(algorithm="lsqml") as other:
        for each in (solver, other):
            each.step(12)
        a, b = (each.snapshot(exact_residual=True) for each in (solver, other))
    # dark pixels of patterns without noise turn rounding errors into phases, with one slice as with two
    assert np.linalg.norm(a.slices - b.slices) < 1e-2 * np.linalg.norm(b.slices)
    assert a.residual == pytest.approx(b.residual, rel=1e-2)


def test_positions_are_refined_through_all_slices(thick):
    rng = np.random.default_rng(3)
    with thick.solver(subpixel=True, refine_positions=True, algorithm="lsqml") as solver:
        set_truth(solver, thick)
        frames = solver._state.frames
        moved = rng.uniform(-0.8, 0.8, frames.shift_px.shape)
        moved -= moved.mean(axis=0)
        frames.shift_px[:] = moved
        frames.place(solver.canvas)
        before = solver.snapshot(exact_residual=True).residual
        for refinement in solver._refinements:
            for _ in range(15):
                refinement.begin(solver._state, frames.slots(), active=True)
                solver._engine.run(solver._state, frames.slots(), pie_visit(solver._state))
                solver._engine.read_notes(solver._state)
                solver._engine.clear()
                refinement.finish(solver._state, frames.slots())
        assert np.abs(frames.shift_px).mean() < 0.1 * np.abs(moved).mean()
        assert solver.snapshot(exact_residual=True).residual < 0.05 * before


def test_halves_constraints_and_a_growing_canvas_know_of_slices(thick):
    with thick.solver(object_tv=1e-3, object_max_phase=2.0) as solver:
        solver.step(8)
        snapshot = solver.snapshot(frc=True)
        rows = solver.canvas.shape[0]
        outside = thick.positions_m[-1:] + np.array([20 * PIXEL_M, 0])
        amplitude = np.sqrt(thick.patterns[-1:]).astype(np.float32)
        solver.add(Batch(np.array([len(thick.patterns)]), outside, amplitude, np.ones((SIZE, SIZE), bool)))
        assert solver.canvas.shape[0] > rows
        solver.step(2)
        assert solver.snapshot().slices.shape == (2, *solver.canvas.shape)
        assert np.isfinite(solver.snapshot().object).all()
    assert snapshot.frc["correlation"][:4].min() > 0.5


def test_result_file_holds_the_slices(thick, tmp_path):
    with thick.solver() as solver:
        solver.step(2)
        snapshot = solver.snapshot()
    write_result_cxi(tmp_path / "result.cxi", snapshot)
    np.testing.assert_array_equal(read_result_cxi(tmp_path / "result.cxi").slices, snapshot.slices)


def test_slices_without_a_distance_are_refused():
    with pytest.raises(SettingsError, match=r"slice_distance_m is None; expected the distance in m of 3 slices"):
        SolverSettings(slices=3)
    assert SolverSettings().slices == 1
