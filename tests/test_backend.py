"""Backends by name."""

import pytest

from bluesky_ptycho import backend
from bluesky_ptycho.backend import Backend, get_backend
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


@pytest.mark.gpu
def test_auto_takes_the_device():
    assert get_backend("auto").name == "cupy"
