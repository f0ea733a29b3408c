"""Correction of stage positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def correct_positions(positions_m: NDArray[np.float64], matrix: Sequence[float] | None) -> NDArray[np.float64]:
    """Apply a 2×2 matrix, which acts on column vectors (x, y), to positions.

    Parameters
    ----------
    positions_m : ndarray (n, 2) float64
        Stage positions ``(y, x)`` in m.
    matrix : sequence of 4 floats or None
        xx, xy, yx, yy: ``x' = xx x + xy y``, ``y' = yx x + yy y``.

    Returns
    -------
    ndarray (n, 2) float64
        Positions ``(y, x)`` in m; the same object where `matrix` is None.
    """
    if matrix is None:
        return positions_m
    xx, xy, yx, yy = matrix
    y, x = positions_m[:, 0], positions_m[:, 1]
    return np.stack([yx * x + yy * y, xx * x + xy * y], axis=1)
