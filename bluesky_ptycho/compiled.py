"""How kernels are compiled for the CPU, stated once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles with numba, to run without the interpreter lock.

    The machine code is kept for the next process where numba finds a place to write it; where it
    finds none, each process compiles anew.

    Parameters
    ----------
    **options
        Further options of :func:`numba.njit`.
    """

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # neither the package's nor the user's cache directory can be written to
            return numba.njit(nogil=True, **options)(function)  # type: ignore[no-any-return]

    return compiled
