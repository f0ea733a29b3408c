"""Compilation of the simulator's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with numba, to run without the interpreter lock.

    The machine code is kept for the next process where numba finds a place to write it.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # neither the package's nor the user's cache directory can be written to
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]
