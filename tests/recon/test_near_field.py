"""Near field: the filter against analytic waves, the solver on patterns of another model and on measured ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.io import read_cxi
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.recon.algorithms.pie import pie_visit
from bluesky_ptycho.recon.measure import error_of
from bluesky_ptycho.recon.probe_guess import back_propagated_probe
from bluesky_ptycho.recon.propagation import near_field, shift_back

from .backends import BACKENDS
from .near_problem import DIVERGING, ENERGY_EV, PARALLEL, PIXEL_M, REACH_M, SIZE, WAVELENGTH_M, make_near_problem


@pytest.fixture(scope="module")
def measured():
    return make_near_problem()


def carried(wave, geometry):
    return np.fft.ifft2(np.fft.fft2(wave) * near_field(geometry), norm="forward")


def spread_m(wave, pixel_m):
    """Return the 1/e² radius of a Gaussian intensity along x and y."""
    power = np.abs(wave) ** 2 / np.sum(np.abs(wave) ** 2)
    y, x = (np.arange(n) - n // 2 for n in wave.shape)
    return 2 * np.sqrt((power * y[:, None] ** 2).sum()) * pixel_m, 2 * np.sqrt((power * x**2).sum()) * pixel_m


@pytest.mark.parametrize("focus_to_sample_m", [None, 0.004, 0.02])
def test_a_gaussian_beam_spreads_as_its_parameters_say(focus_to_sample_m):
    shape, pixel = (128, 96), 10e-6
    magnification = 1.0 if focus_to_sample_m is None else 1 + 0.3 / focus_to_sample_m
    geometry = Geometry(ENERGY_EV, 0.3, (pixel, pixel), shape, "near", focus_to_sample_m)
    sample_pixel = pixel / magnification
    radius = 9 * sample_pixel
    y, x = (np.arange(n) - n // 2 for n in shape)
    wave = np.exp(-((y[:, None] ** 2 + x**2) * sample_pixel**2) / radius**2)
    # A beam of this radius and of the focus' curvature, q = 1 / (1/z1 - i wavelength / (pi radius²)), after z2:
    expected = np.hypot(radius * magnification, WAVELENGTH_M * 0.3 / (np.pi * radius))
    assert spread_m(carried(wave, geometry), pixel) == pytest.approx((expected, expected), rel=1e-4)


def test_a_grating_makes_an_image_of_itself_at_talbots_distance():
    period = 8
    talbot_m = 2 * (period * PIXEL_M) ** 2 / WAVELENGTH_M
    grating = np.broadcast_to(np.exp(1j * (np.arange(64) % period < 3)), (32, 64)) * np.ones((32, 1))

    def image(distance_m):
        return np.abs(carried(grating, Geometry(ENERGY_EV, distance_m, (PIXEL_M, PIXEL_M), (32, 64), "near")))

    np.testing.assert_allclose(image(talbot_m), np.abs(grating), atol=1e-4)
    quarter = carried(np.abs(grating - 1), Geometry(ENERGY_EV, talbot_m / 2, (PIXEL_M,) * 2, (32, 64), "near"))
    np.testing.assert_allclose(np.abs(quarter), np.roll(np.abs(grating - 1), period // 2, axis=1), atol=1e-4)
    assert np.ptp(image(talbot_m / 4)) > 0.5  # phase has become contrast between


def test_waves_converge_towards_where_their_phase_falls_off():
    """A wave whose phase falls with the distance from the axis as a lens makes it has a focus downstream."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    r2 = (y**2 + x**2) * PIXEL_M**2
    wave = np.exp(-r2 / (8 * PIXEL_M) ** 2)
    lens = np.exp(-1j * np.pi * r2 / (WAVELENGTH_M * 2 * REACH_M))
    inwards, plain, outwards = (spread_m(carried(w, PARALLEL), PIXEL_M)[0] for w in (wave * lens, wave, wave / lens))
    assert inwards < 0.9 * plain < 0.9 * 0.9 * outwards


def test_energy_is_kept_and_the_way_back_is_the_adjoint():
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(PARALLEL.shape) + 1j * rng.standard_normal(PARALLEL.shape) for _ in "ab")
    there = carried(a, PARALLEL)
    back = np.fft.ifft2(np.fft.fft2(b) * near_field(PARALLEL).conj(), norm="forward")
    assert np.linalg.norm(there) == pytest.approx(np.linalg.norm(a), rel=1e-5)
    assert np.vdot(b, there) == pytest.approx(np.vdot(back, a), rel=1e-5)


def test_a_wave_is_shifted_back_by_the_fraction():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    down, across = shift_back(np.array([0.25, 0.75]), (SIZE, SIZE))
    moved = np.fft.ifft2(np.fft.fft2(np.exp(-(y**2 + x**2) / 20)) * down[:, None] * across)
    np.testing.assert_allclose(moved, np.exp(-((y + 0.25) ** 2 + (x + 0.75) ** 2) / 20), atol=1e-5)


def test_too_long_a_way_is_told_of(measured):
    with pytest.warns(UserWarning, match=r"undersampled: .* is 1\.03e-11 m²; expected at most .* 1\.92e-12 m²"):
        measured.solver(geometry=dataclasses.replace(PARALLEL, distance_m=0.1))


def truth_in(solver, measured):
    """Put the known object and probe into the solver's state."""
    solver.step()
    xp, state = solver.backend.xp, solver._state
    image = np.ones(solver.canvas.shape, np.complex64)
    image[measured.on_canvas(solver.canvas)] = measured.object
    state.object, state.probe = xp.asarray(image), xp.asarray(measured.probe[None].copy())
    return state


@pytest.mark.parametrize("geometry", [PARALLEL, DIVERGING], ids=["parallel", "diverging"])
@pytest.mark.parametrize("make", BACKENDS)
def test_known_object_and_probe_explain_the_patterns_between_pixels_too(measured, make, geometry):
    with measured.solver(probe=measured.probe, geometry=geometry, backend=make()) as solver:
        truth_in(solver, measured)
        assert solver._state.frames.fractional.any()
        assert solver.snapshot(exact_residual=True).residual < 2e-5


@pytest.mark.parametrize("make", BACKENDS)
def test_gradient_is_the_misfits_derivative(measured, make):
    with measured.solver(probe=measured.probe, backend=make()) as solver:
        state, engine, slots = truth_in(solver, measured), solver._engine, solver._state.frames.slots()
        rng = np.random.default_rng(1)
        noise = rng.standard_normal((2, *state.object.shape)).astype(np.float32)
        to = state.backend.to_device
        state.object = state.object + to((0.1 * (noise[0] + 1j * noise[1])).astype(np.complex64))
        way = to((noise[1] - 1j * noise[0]).astype(np.complex64))
        engine.run(state, slots, pie_visit(state))
        gradient = state.backend.to_host(engine.directions(state, 0.1, 0.1).object_gradient)
        slope = -2 * np.vdot(gradient, state.backend.to_host(way)).real
        engine.clear()
        start, errors = state.object, []
        for step in (-0.01, 0.01):
            state.object = start + way * step
            errors.append(error_of(state, engine, slots) * float(state.frames.photons[slots].sum()))
        assert (errors[1] - errors[0]) / 0.02 == pytest.approx(slope, rel=2e-2)


@pytest.mark.parametrize("algorithm", ["mpie", "lsqml", "ml", "raar"])
def test_known_object_is_found_from_the_mean_pattern(measured, algorithm):
    with measured.solver(algorithm=algorithm) as solver:
        solver.step(60)
        assert solver.snapshot(exact_residual=True).residual < 1e-3
        assert measured.error(solver) < 0.15


def test_mean_pattern_brought_back_is_nearer_to_the_beam_than_as_it_is(measured):
    mean = np.sqrt(measured.patterns.mean(axis=0)).astype(np.float32)
    guess = back_propagated_probe(mean, PARALLEL)
    away, raw = (np.abs(np.vdot(measured.probe, p)) for p in (guess, mean))
    assert np.linalg.norm(guess) == pytest.approx(np.linalg.norm(mean), rel=1e-4)
    assert away > raw


@pytest.mark.parametrize("turn", ["upside down", "left to right", "transposed"])
def test_positions_turned_otherwise_do_not_explain_the_patterns(measured, turn):
    positions = measured.positions_m
    wrong = {"upside down": positions * [-1, 1], "left to right": positions * [1, -1], "transposed": positions[:, ::-1]}
    residuals = []
    for tried in (positions, np.ascontiguousarray(wrong[turn])):
        with measured.solver(positions_m=tried) as solver:
            residuals.append(solver.step(30))
    assert residuals[1] > 5 * residuals[0]


def test_far_field_does_not_explain_near_field_patterns(measured):
    far = Geometry(ENERGY_EV, REACH_M, (WAVELENGTH_M * REACH_M / (SIZE * PIXEL_M),) * 2, (SIZE, SIZE))
    residuals = []
    for geometry in (PARALLEL, far):
        with measured.solver(probe=measured.probe, geometry=geometry) as solver:
            residuals.append(solver.step(30))
    assert residuals[1] > 20 * residuals[0]


@pytest.mark.slow
def test_measured_siemens_star(real_file, tmp_path):
    """PETRA III P25: cdtools' near-field model, with its background and positions fitted, leaves R = 0.0013."""
    from bluesky_ptycho.offline import reconstruct_file

    settings = SolverSettings(algorithm="lsqml", modes=1, refine_positions=True, fit_background=True, frc_passes=1)
    path = real_file("petra3_p25_nearfield.cxi")
    summary = reconstruct_file(path, iterations=90, settings=settings, output=tmp_path, progress=False)
    assert summary["propagation"] == "near"
    assert summary["focus_to_sample_m"] == pytest.approx(0.00365)
    assert summary["residual"] < 0.00135
    assert read_cxi(path).geometry.object_pixel_m == pytest.approx((178.66e-9, 178.66e-9), rel=1e-4)
