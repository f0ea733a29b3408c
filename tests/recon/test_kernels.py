"""Fused kernels against their references, and the host engine's pieces."""

import numpy as np
import pytest

from bluesky_ptycho.recon import detection_kernels, kernels, reference
from bluesky_ptycho.recon.host_arrays import padded_like, pairs
from bluesky_ptycho.recon.subpixel import FIRST_TAP, N_TAPS, NO_SHIFT, PASS_BAND, shift_taps, split_corners

NY, NX, ROWS, COLS = 18, 14, 40, 37
R, C = 5, 9
PARTS = [(0, 13), (13, ROWS)]


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


def test_blend_and_relay(rng, modes):
    probes, image = complex_noise(rng, modes, NY, NX), complex_noise(rng, ROWS, COLS)
    stored, waves = complex_noise(rng, modes, NY, NX), complex_noise(rng, modes, NY, NX)
    product = reference.exit_waves(probes[None], image[None, R : R + NY, C : C + NX])[0]
    out = np.zeros_like(probes)
    kernels.blend(probes, image, R, C, stored, 2.0, -0.5, out)
    assert np.allclose(out, reference.blend(product, stored, 2.0, -0.5), atol=1e-5)
    keep, give = (0.7, -0.5, 0.4), (-1.0, 2.0, -0.3)
    expected = reference.relay(waves, stored, product, keep, give)
    kernels.relay(probes, image, R, C, stored, np.array(keep, np.float32), np.array(give, np.float32), waves)
    assert np.allclose(stored, expected[0], atol=1e-5)
    assert np.allclose(waves, expected[1], atol=1e-5)


SCALES = {"scale": 0.25, "back": 0.125}


@pytest.fixture
def pattern(rng):
    """Counts and their unit, some invalid, some 0."""
    counts = rng.integers(0, 2000, (NY, NX)).astype(np.uint16)
    counts[2, 3:9], counts[4], counts[7, 7] = 65535, 0, 0
    return counts, 1e-3


def amplitude_of(counts, unit):
    return np.where(counts == 65535, -1, counts * np.float32(unit)).astype(np.float32)[None]


def test_project_modulus(rng, modes, row, pattern):
    far = complex_noise(rng, modes, NY, NX)
    far[:, 6, 6], far[:, 7, 7] = 0, 0
    expected, error, *_ = reference.project_modulus(np, far[None], amplitude_of(*pattern), **SCALES)
    assert detection_kernels.project_modulus(far, *pattern, *SCALES.values(), row) == pytest.approx(
        float(error), rel=1e-5
    )
    assert np.allclose(far, expected[0], rtol=1e-4, atol=1e-7)
    assert np.isfinite(far).all()


EMPTY = np.zeros((0, 0), np.float32)
NO_WEIGHTS = np.zeros((0, 0), np.uint8)


@pytest.mark.parametrize("poisson", [False, True])
@pytest.mark.parametrize("extras", [False, True])
def test_project_model(rng, modes, row, pattern, poisson, extras):
    far = complex_noise(rng, modes, NY, NX)
    far[:, 6, 6], far[:, 7, 7] = 0, 0
    stored = rng.integers(1, 256, (NY, NX)).astype(np.uint8) if extras else NO_WEIGHTS
    weights, background = (stored / np.float32(255)) ** 2, rng.random((NY, NX)).astype(np.float32) if extras else EMPTY
    excess = np.zeros((2, NY, NX) if extras else (0, 0, 0), np.float32)
    gain, found, amplitude = 1.3, np.zeros(2), amplitude_of(*pattern)
    options = {"weights": weights[None], "background": background[None] / gain**2} if extras else {}
    expected, error, overlap, power = reference.project_modulus(
        np, far[None], amplitude, **SCALES, poisson=poisson, strength=0.6, **options
    )
    model = np.sum(np.abs(far) ** 2, axis=0) * SCALES["scale"] ** 2 + (background / gain**2 if extras else 0)
    total = detection_kernels.project_model(
        far, *pattern, stored, background, gain**-2, poisson, 0.6, *SCALES.values(), row, excess, found
    )
    assert total == pytest.approx(float(error), rel=1e-5)
    assert found == pytest.approx([overlap[0], power[0]], rel=1e-5)
    assert np.allclose(far, expected[0], rtol=1e-4, atol=1e-6)
    assert np.isfinite(far).all()
    if extras:
        expected = reference.excess(np, amplitude, model[None], weights[None], gain, poisson=poisson)
        assert np.allclose(excess, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("poisson", [False, True])
def test_step_of_the_noise_model_goes_down_the_gradient_of_its_likelihood(rng, poisson):
    """The modulus changes by minus the misfit's derivative over 2 (Poisson: 4)."""
    far = (rng.random((1, 1, 4, 4)) + 1).astype(np.complex64)
    amplitude = (np.abs(far[0]) * (1 + 0.05 * rng.standard_normal((1, 4, 4)))).astype(np.float32)
    moved, *_ = reference.project_modulus(np, far, amplitude, scale=1, back=1, poisson=poisson)
    m, a, h = np.abs(far[0]).astype(float), amplitude.astype(float), 1e-5

    def misfit(m):
        return m**2 - a**2 * np.log(m**2) if poisson else (a - m) ** 2

    slope = (misfit(m + h) - misfit(m - h)) / (2 * h)
    assert np.allclose((np.abs(moved[0]) - m), -slope / (4 if poisson else 2), rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("poisson", [False, True])
def test_curvature_is_the_likelihoods_near_its_minimum(rng, modes, poisson):
    far, change = complex_noise(rng, modes, NY, NX), complex_noise(rng, modes, NY, NX) * np.float32(0.1)
    unit, scale, background = 1e-4, 0.5, np.full((NY, NX), 0.3, np.float32)
    modulus = np.sqrt(np.sum(np.abs(far) ** 2, axis=0) * scale**2 + background)
    counts = np.rint(modulus / unit).astype(np.uint16)
    counts[3, 2:5] = 65535
    a, valid = counts * unit, counts != 65535

    def misfit(s):
        m2 = np.sum(np.abs(far + s * change) ** 2, axis=0) * scale**2 + background
        terms = 0.5 * (m2 - a**2 * np.log(m2)) if poisson else (np.sqrt(m2) - a) ** 2
        return terms[valid].sum(dtype=float)

    h = 0.02
    numeric = (misfit(h) - 2 * misfit(0) + misfit(-h)) / h**2 / 2
    options = {"scale": scale, "poisson": poisson, "weights": None}
    expected = reference.curvature(
        np, far[None], change[None], amplitude_of(counts, unit), background=background[None], **options
    )
    assert float(expected) == pytest.approx(numeric, rel=0.02)
    found = detection_kernels.curvature(far, change, counts, unit, NO_WEIGHTS, background, 1.0, poisson, scale)
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_couple(rng, modes):
    probes, changes = complex_noise(rng, modes, NY, NX), complex_noise(rng, modes, NY, NX)
    image, change = complex_noise(rng, ROWS, COLS), complex_noise(rng, ROWS, COLS)
    window = np.s_[R : R + NY, C : C + NX]
    expected = np.vdot(change[window] * probes, image[window] * changes).real
    assert kernels.couple(probes, changes, image, change, R, C) == pytest.approx(expected, rel=1e-4)


def test_shift_sums(rng, modes):
    """Exit waves of a window that lies further on ask for just that shift."""
    probes, waves = complex_noise(rng, modes, NY, NX), complex_noise(rng, modes, NY, NX)
    image = complex_noise(rng, ROWS, COLS)
    cut = [image[R + dy : R + dy + NY, C + dx : C + dx + NX] for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))]
    slopes = (0.5 * (cut[1] - cut[0]), 0.5 * (cut[3] - cut[2]))
    expected = reference.shift_sums(
        np, probes[None], tuple(s[None] for s in slopes), (waves - reference.exit_waves(probes[None], cut[4][None]))
    )
    found = np.zeros(4, np.float32)
    kernels.shift_sums(probes, image, R, C, waves, found)
    assert np.allclose(found, expected[0], rtol=1e-3)
    y, x = np.mgrid[:ROWS, :COLS]
    smooth = np.exp(0.03j * y - 0.05j * x).astype(np.complex64)
    moved = np.exp(0.03j * (y + 0.2) - 0.05j * (x - 0.4)).astype(np.complex64)[R : R + NY, C : C + NX]
    kernels.shift_sums(probes, smooth, R, C, probes * moved, found)
    # Both derivatives of this object are the same but for a factor, so one sum of the two shifts is determined.
    assert found[0] / found[1] == pytest.approx(0.2 + 0.4 * 0.05 / 0.03, rel=0.01)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("first", [0, 3])
def test_pie_gradients(rng, modes, first, add):
    probes, waves = complex_noise(rng, modes, NY, NX), complex_noise(rng, modes, NY, NX)
    image, gradient = complex_noise(rng, ROWS, COLS), complex_noise(rng, ROWS, COLS)
    light, transmission = rng.random((ROWS, COLS)).astype(np.float32), rng.random((NY, NX)).astype(np.float32)
    window = np.s_[R : R + NY, C : C + NX]
    g, w, q, t = reference.pie_gradients(np, probes[None], image[window][None], waves[None])
    expected_gradient, expected_light, expected_transmission = gradient.copy(), light.copy(), transmission + t[0]
    expected_gradient[window] += g[0]
    expected_light[window] += w[0]
    side = 7 if first else 0
    out = complex_noise(rng, modes, NY + side, NX + side)
    before = out[:, first : first + NY, first : first + NX] * add
    kernels.pie_gradients(
        pairs(probes), pairs(image), R, C, pairs(waves), pairs(gradient), light, transmission, pairs(out), first, add
    )
    assert np.allclose(gradient, expected_gradient, atol=1e-4)
    assert np.allclose(light, expected_light, atol=1e-4)
    assert np.allclose(transmission, expected_transmission, atol=1e-4)
    assert np.allclose(out[:, first : first + NY, first : first + NX], before + q[0], atol=1e-4)


@pytest.mark.parametrize("lanes", [1, 2])
def test_direction(rng, modes, lanes):
    gradient = complex_noise(rng, lanes, modes, ROWS, COLS)
    weight = rng.random((lanes, ROWS, COLS)).astype(np.float32)
    weight[:, 3], gradient[:, :, 3] = 0, 0  # a row that no frame has lit
    summed, light = gradient.sum(axis=0), weight.sum(axis=0)
    expected, *along = reference.direction(np, summed, light, 0.05)
    out = np.zeros((modes, ROWS, COLS), np.complex64)
    peak = max(kernels.add_lanes(gradient, weight, a, b) for a, b in PARTS)
    parts = [kernels.direction(gradient[0], weight[0], 0.05, peak, out, a, b) for a, b in PARTS]
    assert np.sum(parts, axis=0) == pytest.approx(along, rel=1e-4)
    assert np.allclose(out, expected, atol=1e-5)
    assert np.allclose(gradient[0], summed, atol=1e-5)
    assert not gradient[1:].any()
    assert not weight[1:].any()


def test_advance(rng, modes):
    target, velocity, found = (complex_noise(rng, modes, ROWS, COLS) for _ in range(3))
    moved, speed = reference.advance(target, velocity, found, 0.4, 0.9)
    for a, b in PARTS:
        kernels.advance(target, velocity, found, 0.4, 0.9, a, b)
    assert np.allclose(target, moved, atol=1e-5)
    assert np.allclose(velocity, speed, atol=1e-5)


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
