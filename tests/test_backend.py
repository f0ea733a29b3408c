"""Backends by name; planned transforms with and without pyFFTW."""

import importlib.util

import numpy as np
import pytest

from bluesky_ptycho import backend
from bluesky_ptycho.backend import Backend, PlannedFFT, get_backend
from bluesky_ptycho.errors import SettingsError


def test_backends_are_had_by_name():
    assert get_backend("numpy").name == "numpy"
    mine = Backend()
    assert get_backend(mine) is mine
    with pytest.raises(SettingsError, match="backend is 'torch'; expected one of 'auto', 'numpy', 'cupy'"):
        get_backend("torch")


def test_without_a_device_auto_is_numpy_and_cupy_is_refused(monkeypatch):
    monkeypatch.setattr(backend, "cupy_usable", lambda: False)
    assert get_backend("auto").name == "numpy"
    with pytest.raises(SettingsError, match=r"cupy.*CUDA device"):
        get_backend("cupy")


@pytest.mark.parametrize("planned", [True, False], ids=["pyfftw", "scipy"])
def test_planned_transform_equals_numpys(monkeypatch, planned):
    if planned:
        pytest.importorskip("pyfftw")
    else:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyfftw" else find(name))
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal((2, 12, 10)) + 1j * rng.standard_normal((2, 12, 10))).astype(np.complex64)
    fft = PlannedFFT(wave.shape)
    assert not fft.buffer.any()
    fft.buffer[:] = wave
    fft.forward()
    assert fft.buffer.dtype == np.complex64
    assert np.allclose(fft.buffer, np.fft.fft2(wave), atol=1e-4)
    fft.inverse()
    assert np.allclose(fft.buffer / 120, wave, atol=1e-5)


@pytest.mark.gpu
def test_auto_takes_the_device():
    assert get_backend("auto").name == "cupy"
