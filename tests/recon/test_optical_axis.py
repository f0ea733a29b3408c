from __future__ import annotations

import numpy as np
import pytest

from bluesky_ptycho.recon import optical_axis
from bluesky_ptycho.recon import solver as solver_module
from bluesky_ptycho.recon.optical_axis import drift_px, stay_on_axis
from bluesky_ptycho.recon.probe import orthogonalise
from bluesky_ptycho.recon.registration import register
from bluesky_ptycho.recon.state import WAVES
from bluesky_ptycho.recon.variation import Variation
from tests.recon.small_problem import SIZE, make_problem


def zone_plate(
    shape=(64, 64), *, defocus=0.0, astigmatism=0.0, coma=(0.0, 0.0), shift=(0.0, 0.0), rim=0.25, pixel=(1, 1)
):
    """Return a probe by a pupil with a central stop; aberrations in radian at the rim, the shift in pixels (y, x)."""
    fy, fx = np.meshgrid(*(np.fft.fftshift(np.fft.fftfreq(n)) for n in shape), indexing="ij")
    v, u = fy / pixel[0] / rim, fx / pixel[1] / rim
    square = v**2 + u**2
    phase = defocus * square + astigmatism * (v**2 - u**2) + square * (coma[0] * v + coma[1] * u)
    phase -= 2 * np.pi * (fy * shift[0] + fx * shift[1])
    light = 1 / (1 + np.exp((np.sqrt(square) - 1) * 20)) / (1 + np.exp((0.35 - np.sqrt(square)) * 20))
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(light * np.exp(1j * phase))))
    return (probe * np.sqrt(1e6 / np.sum(np.abs(probe) ** 2))).astype(np.complex64)


@pytest.mark.parametrize("shape", [(64, 64), (96, 64)])
@pytest.mark.parametrize("shift", [(0.4, -0.7), (-3.0, 0.2)])
def test_a_shift_is_told_from_aberrations(shape, shift):
    first = zone_plate(shape, defocus=-8.0)
    aberrated = {"defocus": -9.5, "astigmatism": 0.6, "coma": (-0.4, 0.8)}
    assert drift_px(zone_plate(shape, **aberrated), first) is None
    found = drift_px(zone_plate(shape, **aberrated, shift=shift), first)
    np.testing.assert_allclose(found, shift, atol=0.02)


@pytest.mark.parametrize("shape", [(96, 64), (64, 128)])
def test_aberrations_are_round_where_pixels_are_not_square(shape):
    """As they are in the far field on a detector's window that is not square."""
    pixel = tuple(64 / n for n in shape)
    first = zone_plate(shape, defocus=-8.0, pixel=pixel)
    aberrated = {"defocus": -9.5, "coma": (2.0, -2.0), "pixel": pixel}
    pixel_m = tuple(20e-9 * p for p in pixel)
    assert drift_px(zone_plate(shape, **aberrated), first, pixel_m) is None
    found = drift_px(zone_plate(shape, **aberrated, shift=(0.4, -0.7)), first, pixel_m)
    np.testing.assert_allclose(found, (0.4, -0.7), atol=0.02)


def test_speckle_in_the_probe_costs_some_precision():
    rng = np.random.default_rng(0)
    probe = zone_plate(defocus=-9.5, coma=(0.0, 0.8), shift=(0.4, -0.7))
    noise = rng.standard_normal((2, 64, 64)) * 0.05 * np.abs(probe).max()
    found = drift_px((probe + noise[0] + 1j * noise[1]).astype(np.complex64), zone_plate(defocus=-8.0))
    np.testing.assert_allclose(found, (0.4, -0.7), atol=0.15)


@pytest.mark.parametrize(
    "probe",
    [
        np.zeros((64, 64)),
        np.full((64, 64), np.nan),
        np.random.default_rng(1).standard_normal((64, 64)),
        np.ones((64, 64)),  # all its light is one pixel of the pupil
        zone_plate(shift=(0.05, 0.05)),
    ],
    ids=["dark", "not a number", "noise", "a point", "hardly a shift"],
)
def test_what_says_nothing_of_a_shift_moves_nothing(probe):
    assert drift_px(probe.astype(np.complex64), zone_plate(defocus=-8.0)) is None


@pytest.fixture
def wandered():
    """A solver at the truth, but half a pixel off with probe and object; and the truth."""
    first = zone_plate((SIZE, SIZE), defocus=-3.0)
    problem = make_problem(probe=first)
    solver = problem.solver(probe=first, probe_start=0)
    solver.add(problem.batch())
    solver.step()
    place, state = problem.on_canvas(solver), solver._state
    state.object[...] = 1
    state.object[place] = moved(problem.object, (0.5, -0.3))
    state.probe[0] = moved(first, (0.5, -0.3))
    return solver, problem, first


def moved(image, shift):
    """Return `image` moved by a phase ramp, its border repeated meanwhile."""
    n = 16
    wide = np.pad(image, n, mode="edge")
    fy, fx = (np.fft.fftfreq(k) for k in wide.shape)
    ramp = np.exp(-2j * np.pi * (fy[:, None] * shift[0] + fx * shift[1]))
    return np.fft.ifft2(np.fft.fft2(wide) * ramp)[n:-n, n:-n]


def off_by(solver, problem):
    found, border = solver.snapshot().object[problem.on_canvas(solver)], SIZE // 2
    return np.array(register(found, problem.object, border).shift_px)


def test_object_and_probe_go_back_together(wandered):
    solver, problem, first = wandered
    state = solver._state
    before = state.object
    kept, residual = before.copy(), solver.snapshot(exact_residual=True).residual
    np.testing.assert_allclose(off_by(solver, problem), (-0.5, 0.3), atol=0.05)
    stay_on_axis(state, first[None], 10)
    np.testing.assert_allclose(off_by(solver, problem), 0, atol=0.03)
    np.testing.assert_allclose(state.probe[0], first, atol=2e-2 * np.abs(first).max())
    assert solver.snapshot(exact_residual=True).residual < 0.1 * residual + 1e-3
    np.testing.assert_array_equal(before, kept)  # another may hold it


@pytest.mark.parametrize("shape", [(45, 38), (2, 38, 45)])
def test_a_large_object_is_moved_in_parts(shape, monkeypatch):
    image = np.random.default_rng(0).standard_normal((*shape, 2)).view(complex)[..., 0].astype(np.complex64)
    whole = optical_axis._moved(image, np.array([0.4, -1.3]), border=5)
    monkeypatch.setattr(optical_axis, "LINES", 7)
    np.testing.assert_array_equal(optical_axis._moved(image, np.array([0.4, -1.3]), border=5), whole)
    down = optical_axis._moved(image, np.array([2.0, 0.0]), border=5)
    np.testing.assert_allclose(down[..., 2:, :], image[..., :-2, :], atol=1e-5)


@pytest.mark.parametrize("name", ["object", "probe"])
def test_what_is_not_finite_is_left_to_the_guard(wandered, name):
    """Moved, it would be all of the image, and the guard would have nothing kept to go back to."""
    solver, problem, first = wandered
    state = solver._state
    if name == "object":
        state.object[3, 3] = np.nan
    else:
        state.probe = np.stack([state.probe[0], np.full_like(first, np.nan)])
    before = state.object
    stay_on_axis(state, first[None], 10)
    assert state.object is before
    if name == "object":
        solver.step()
        assert solver.taken_back == 1
        assert problem.error(solver) < 0.9  # not an object of 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_modes_of_a_guess_may_be_in_any_order(wandered, order):
    """They lie apart; the solver puts the stronger first, and that is no drift."""
    solver, _, first = wandered
    modes = np.stack([0.5 * moved(first, (2.0, 0.0)), moved(first, (-2.0, 0.0))])[list(order)].astype(np.complex64)
    state = solver._state
    state.probe, state.probe_velocity = modes.copy(), np.zeros_like(modes)
    orthogonalise(state)
    before = state.object
    stay_on_axis(state, modes, 10)
    assert state.object is before


@pytest.mark.parametrize("passes", [1, 9, 11, 30, 70])
def test_it_is_looked_at_more_and_more_seldom(wandered, passes):
    solver, _, first = wandered
    before = solver._state.object
    stay_on_axis(solver._state, first[None], passes)
    assert solver._state.object is before
    stay_on_axis(solver._state, first[None], 80)
    assert solver._state.object is not before


@pytest.mark.parametrize("why", ["near field", "variation", "waves"])
def test_what_has_no_pupil_or_varies_or_would_come_back_stays(wandered, why, monkeypatch):
    solver, _, first = wandered
    state = solver._state
    if why == "near field":
        monkeypatch.setattr(state.frames, "far_field", False)
    elif why == "variation":
        state.variation = Variation(state.backend, 1, state.frames.window, seed=0)
    else:
        state.memory[WAVES] = None
    before = state.object
    stay_on_axis(state, first[None], 10)
    assert state.object is before


def test_a_coma_that_is_learnt_does_not_move_the_image_nor_its_halves(monkeypatch):
    problem = make_problem(photons=1e5, n_side=10, probe=zone_plate((SIZE, SIZE), defocus=-3.0, coma=(0.0, 2.0)))

    def solve():
        solver = problem.solver(probe=zone_plate((SIZE, SIZE), defocus=-2.6))
        solver.add(problem.batch())
        solver.step(20)
        solver.step_halves(20)
        halves = [state.object[problem.on_canvas(solver)] for state in solver._half_sets.states]
        apart = register(*(image.astype(np.complex64) for image in halves), SIZE // 2).shift_px
        return np.hypot(*off_by(solver, problem)), np.hypot(*apart)

    held, held_apart = solve()
    monkeypatch.setattr(solver_module, "stay_on_axis", lambda *_: None)
    free, _ = solve()
    assert held < 0.15
    assert held_apart < 0.15
    assert free > 2 * held
