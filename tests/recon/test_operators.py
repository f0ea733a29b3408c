"""Adjoints and energies of the operators, on each backend that is here."""

import numpy as np
import pytest

from bluesky_ptycho.recon import reference
from bluesky_ptycho.recon.subpixel import shift_taps

from .backends import BACKENDS


def complex_noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("make", BACKENDS)
def test_transform_keeps_energy_and_its_inverse_undoes_it(make, rng):
    backend = make()
    wave = complex_noise(rng, 3, 2, 16, 12)
    far = backend.to_host(backend.fft2(backend.to_device(wave)))
    assert far.dtype == np.complex64
    assert (np.abs(far) ** 2).sum() == pytest.approx(16 * 12 * (np.abs(wave) ** 2).sum(), rel=1e-5)
    back = backend.to_host(backend.ifft2(backend.to_device(far))) / (16 * 12)
    assert np.allclose(back, wave, atol=1e-5)


@pytest.mark.parametrize("make", BACKENDS)
def test_scatter_add_is_the_adjoint_of_gather_even_where_windows_overlap(make, rng):
    backend = make()
    image, windows = complex_noise(rng, 20, 24), complex_noise(rng, 4, 8, 6)
    corners = np.array([[0, 0], [3, 2], [3, 2], [12, 18]])
    taken = backend.to_host(backend.gather(backend.to_device(image), corners, (8, 6)))
    target = backend.to_device(np.zeros_like(image))
    backend.scatter_add(target, corners, backend.to_device(windows))
    assert np.vdot(windows, taken) == pytest.approx(np.vdot(backend.to_host(target), image), rel=1e-5)


@pytest.mark.parametrize("make", BACKENDS)
def test_adjoint_of_the_subpixel_shift(make, rng):
    backend = make()
    taps = shift_taps(rng.random((3, 2)))
    a, b = complex_noise(rng, 3, 2, 16, 16), complex_noise(rng, 3, 2, 16, 16)

    def shift(values, adjoint):
        taps_there = backend.to_device(taps)
        return backend.to_host(
            reference.shift_probe(backend.xp, backend.to_device(values), taps_there, adjoint=adjoint)
        )

    assert np.vdot(b, shift(a, False)) == pytest.approx(np.vdot(shift(b, True), a), rel=1e-4)


def test_subpixel_shift_moves_towards_larger_coordinates():
    y, x = np.mgrid[:32, :32] - 16
    blob = np.exp(-(x**2 + y**2) / 18).astype(np.complex64)[None]
    moved = reference.shift_probe(np, blob, shift_taps(np.array([[0.25, 0.7]])))[0, 0]
    exact = np.exp(-((x - 0.7) ** 2 + (y - 0.25) ** 2) / 18)
    assert np.abs(moved - exact).max() < 0.01


@pytest.mark.parametrize("make", BACKENDS)
def test_projection_gives_the_measured_modulus_and_keeps_phases(make, rng):
    backend = make()
    far, amplitude = complex_noise(rng, 2, 3, 8, 8), rng.random((2, 8, 8)).astype(np.float32)
    amplitude[0, 0, 0] = -1  # not valid
    amplitude[1, 2, 2] = 0
    result, error, *_ = reference.project_modulus(
        backend.xp, backend.to_device(far), backend.to_device(amplitude), scale=1 / 8, back=1 / 64
    )
    result = backend.to_host(result) * 64  # the inverse transform's factor is folded in
    modulus = np.sqrt((np.abs(result) ** 2).sum(axis=1)) / 8
    valid = amplitude >= 0
    assert np.allclose(modulus[valid], amplitude[valid], atol=1e-5)
    assert np.allclose(result[0, :, 0, 0], far[0, :, 0, 0], rtol=1e-5)
    lit = np.broadcast_to((valid & (amplitude > 0))[:, None], far.shape)
    assert np.allclose(np.angle(result[lit] * far[lit].conj()), 0, atol=1e-4)
    before = np.sqrt((np.abs(far) ** 2).sum(axis=1)) / 8
    assert float(error) == pytest.approx(((amplitude - before)[valid] ** 2).sum(), rel=1e-4)
