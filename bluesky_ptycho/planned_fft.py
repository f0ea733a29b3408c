"""Fourier transforms on the CPU whose way is planned once: FFTW's where pyFFTW is installed, else SciPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def has_fftw() -> bool:
    """Whether pyFFTW can be imported; one that lacks its library, or was built for another NumPy, counts as none."""
    try:
        import pyfftw  # noqa: F401
    except Exception:
        return False
    return True


class PlannedFFT:
    """In-place FFTs of one buffer, forward and back, unnormalised.

    Uses pyFFTW where it can be imported (an extra), else scipy.fft. One object serves one thread.

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
        if not has_fftw():
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
