"""The backends that are here; array-api-strict stands in for a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_ptycho.backend import Backend, get_backend


class StrictBackend(Backend):
    """An array module that has nothing but the array API standard."""

    name = "array-api-strict"
    threaded = False

    def __init__(self):
        super().__init__(pytest.importorskip("array_api_strict"))

    def to_device(self, array):
        return array if isinstance(array, self.xp._array_object.Array) else self.xp.asarray(np.asarray(array))

    def fft2(self, a):
        return self.xp.fft.fftn(a, axes=(-2, -1))

    def ifft2(self, a):
        return self.xp.fft.ifftn(a, axes=(-2, -1), norm="forward")


class UnfusedBackend(Backend):
    """NumPy through the same code as a device, without the fused kernels."""

    name = "numpy, unfused"
    threaded = False


BACKENDS = [
    pytest.param(lambda: get_backend("numpy"), id="numpy"),
    pytest.param(UnfusedBackend, id="numpy-unfused"),
    pytest.param(StrictBackend, id="array-api-strict"),
    pytest.param(lambda: get_backend("cupy"), id="cupy", marks=pytest.mark.gpu),
]
