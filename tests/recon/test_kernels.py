"""Fused kernels against their references, and the host engine's pieces."""

import numpy as np
import pytest

from bluesky_ptycho.recon import kernels, reference
from bluesky_ptycho.recon.engine import padded_like, pairs
from bluesky_ptycho.recon.subpixel import FIRST_TAP, N_TAPS, NO_SHIFT, PASS_BAND, shift_taps, split_corners

NY, NX, ROWS, COLS = 18, 14, 40, 37
R, C = 5, 9


def complex_noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture(params=[1, 3])
def modes(request):
    return request.param


@pytest.fixture
def row():
    return np.zeros(2 * (NX + N_TAPS - 1), np.float32)


@pytest.mark.parametrize("adjoint", [False, True])
def test_shift_probe(rng, modes, row, adjoint):
    probe, taps = complex_noise(rng, modes, NY, NX), shift_taps(rng.random((1, 2)))
    first = -FIRST_TAP if adjoint else N_TAPS - 1 + FIRST_TAP
    padded = padded_like(probe.shape)
    padded[:, first : first + NY, first : first + NX] = probe
    order = np.ascontiguousarray(taps[0][:, ::-1]) if adjoint else taps[0]
    expected = reference.shift_probe(np, probe, taps, adjoint=adjoint)[0]
    out = complex_noise(rng, modes, NY, NX)
    before = out.copy()
    kernels.shift_probe(pairs(padded), order, row, pairs(out), True)
    assert np.allclose(out, before + expected, atol=1e-5)
    kernels.shift_probe(pairs(padded), order, row, pairs(out), False)
    assert np.allclose(out, expected, atol=1e-5)


def test_exit_waves(rng, modes):
    probes, image = complex_noise(rng, modes, NY, NX), complex_noise(rng, ROWS, COLS)
    out = np.zeros_like(probes)
    kernels.exit_waves(probes, image, R, C, out)
    assert np.allclose(out, reference.exit_waves(probes[None], image[None, R : R + NY, C : C + NX])[0], atol=1e-6)


def test_project_modulus(rng, modes, row):
    far, amplitude = complex_noise(rng, modes, NY, NX), rng.random((NY, NX)).astype(np.float32)
    amplitude[2, 3:9], amplitude[4], far[:, 6, 6], far[:, 7, 7] = -1, 0, 0, 0
    amplitude[7, 7] = 0
    expected, error = reference.project_modulus(np, far[None], amplitude[None])
    assert kernels.project_modulus(far, amplitude, row) == pytest.approx(float(error), rel=1e-5)
    assert np.allclose(far, expected[0], rtol=1e-4, atol=1e-7)
    assert np.isfinite(far).all()


@pytest.mark.parametrize("first", [0, 3])
def test_pie_gradients(rng, modes, first):
    probes, waves = complex_noise(rng, modes, NY, NX), complex_noise(rng, modes, NY, NX)
    image, gradient = complex_noise(rng, ROWS, COLS), complex_noise(rng, ROWS, COLS)
    light, transmission = rng.random((ROWS, COLS)).astype(np.float32), rng.random((NY, NX)).astype(np.float32)
    window = np.s_[R : R + NY, C : C + NX]
    g, w, q, t = reference.pie_gradients(np, probes[None], image[window][None], waves[None])
    expected_gradient, expected_light, expected_transmission = gradient.copy(), light.copy(), transmission + t[0]
    expected_gradient[window] += g[0]
    expected_light[window] += w[0]
    out = waves if first == 0 else np.zeros((modes, NY + 7, NX + 7), np.complex64)
    kernels.pie_gradients(
        pairs(probes), pairs(image), R, C, pairs(waves), pairs(gradient), light, transmission, pairs(out), first
    )
    assert np.allclose(gradient, expected_gradient, atol=1e-4)
    assert np.allclose(light, expected_light, atol=1e-4)
    assert np.allclose(transmission, expected_transmission, atol=1e-4)
    assert np.allclose(out[:, first : first + NY, first : first + NX], q[0], atol=1e-4)


@pytest.mark.parametrize("lanes", [1, 2])
def test_weighted_step(rng, modes, lanes):
    target, velocity = complex_noise(rng, modes, ROWS, COLS), complex_noise(rng, modes, ROWS, COLS)
    gradient = complex_noise(rng, lanes, modes, ROWS, COLS)
    weight = rng.random((lanes, ROWS, COLS)).astype(np.float32)
    weight[:, 3], gradient[:, :, 3] = 0, 0  # a row that no frame has lit
    numbers = (0.4, 0.05, 0.9)
    moved, speed = reference.weighted_step(np, target, velocity, gradient.sum(axis=0), weight.sum(axis=0), *numbers)
    kernels.weighted_step(target, velocity, gradient, weight, *numbers)
    assert np.allclose(target, moved, atol=1e-5)
    assert np.allclose(velocity, speed, atol=1e-5)
    assert not gradient.any()
    assert not weight.any()


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.93])
def test_filter_follows_the_phase_ramp_in_its_pass_band(fraction):
    frequency = np.linspace(-PASS_BAND, PASS_BAND, 101)
    taps = shift_taps(np.array(fraction))
    response = np.exp(-2j * np.pi * frequency[:, None] * (np.arange(N_TAPS) + FIRST_TAP)) @ taps
    assert np.abs(response - np.exp(-2j * np.pi * frequency * fraction)).max() < 0.006


def test_corners_split_into_whole_pixels_and_fractions():
    corners = np.array([[3.25, -1.75], [4.0 - NO_SHIFT / 2, 7.0], [2.6, 5.0]])
    whole, fractions = split_corners(corners, subpixel=True)
    assert whole.tolist() == [[3, -2], [4, 7], [2, 5]]
    assert np.allclose(fractions, [[0.25, 0.25], [0, 0], [0.6, 0]])
    whole, fractions = split_corners(corners, subpixel=False)
    assert whole.tolist() == [[3, -2], [4, 7], [3, 5]]
    assert not fractions.any()
