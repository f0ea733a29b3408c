"""Fourier transforms on the CPU whose way is planned once: FFTW's where pyFFTW is installed, else SciPy's."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PlannedFFT:
    """In-place FFTs of one buffer, forward and back, unnormalised.

    Uses pyFFTW where it is installed (an extra), else scipy.fft. One object serves one thread.

    Parameters
    ----------
    shape : tuple of int
        Shape of the buffer; the last two axes are transformed.

    Attributes
    ----------
    buffer : ndarray complex64
        What :meth:`forward` and :meth:`inverse` transform.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.buffer: NDArray[np.complex64]
        self.forward: Callable[[], Any]
        self.inverse: Callable[[], Any]
        if importlib.util.find_spec("pyfftw") is None:
            import scipy.fft

            self.buffer = np.zeros(shape, np.complex64)
            self.forward = lambda: np.copyto(self.buffer, scipy.fft.fft2(self.buffer))
            self.inverse = lambda: np.copyto(self.buffer, scipy.fft.ifft2(self.buffer, norm="forward"))
            return
        import pyfftw

        from .fftw_plans import planned

        self.buffer = pyfftw.zeros_aligned(shape, np.complex64)
        forward, inverse = planned(self.buffer)
        self.buffer[:] = 0  # planning scribbles over it
        self.forward, self.inverse = forward.execute, inverse.execute
