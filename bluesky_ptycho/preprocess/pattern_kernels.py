"""Kernels of the staged chain from the image to solver pixels: one step each, numba, no interpreter lock.

They equal the steps of the same name in the NumPy modules, which the tests compare them with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import kernel
from .layouts import N_CHANNELS, N_SLOTS, OVERSCAN_SLOTS

DAMAGED, BAD = 2, 4
"""States of a pixel as in :mod:`bluesky_ptycho.preprocess.kernels`."""

_GROUPS = N_CHANNELS // 2
_FIRST, _LAST = OVERSCAN_SLOTS
_LIT = _LAST - _FIRST - 1
_TILE = 16
"""Boxes of a column that fill a line of the cache."""
AT_ONCE = 48
"""Boxes of a column that are resampled at once; those of all columns stay in the cache."""

_jit = kernel(error_model="numpy")


@_jit
def apply_threshold(
    image: Any, lost: Any, flagged_rows: Any, floor: Any, reach: int, clip: bool, factor: Any, age: Any
) -> None:  # fmt: skip
    """Zero what is below `floor` and not within `reach` of what is not; scale the rest by `factor` (or none).

    `age` (columns,) is scratch: rows since a pixel above the floor stood within reach to the left.
    """
    n_columns = image.shape[1]
    least = np.float32(0) if clip else -np.float32(np.inf)
    size = max(reach, 1)
    age[:] = size
    for y in range(len(image)):
        line = image[y]
        for x in range(n_columns):
            age[x] += np.int16(1)
        for shift in range(min(size, n_columns)):
            for x in range(n_columns - shift):
                age[shift + x] = np.int16(0) if line[x] >= floor else age[shift + x]
        for x in range(n_columns):
            line[x] = max(line[x], least) if age[x] < size else np.float32(0)
        if flagged_rows[y]:
            for x in range(n_columns):
                line[x] = line[x] if lost[y, x] == 0 else np.float32(0)
        if len(factor):
            for x in range(n_columns):
                line[x] *= factor[y, x]


@_jit
def take_columns(rows_done: Any, first_from: Any, take: Any, clip: bool, turned: Any, photons: Any) -> None:
    """Resample along the columns, and write the result transposed and flipped, as the solver wants it.

    Parameters
    ----------
    rows_done : (boxes, columns) float32
        Resampled along the rows.
    first_from, take : (n,), (n, width)
        Where each solver column's photons come from.
    turned : (columns, AT_ONCE) float32
        Scratch.
    """
    down, across = len(rows_done), len(first_from)
    least = np.float32(0) if clip else -np.float32(np.inf)
    for begin in range(0, down, AT_ONCE):
        size = min(AT_ONCE, down - begin)
        turn(rows_done[begin : begin + size], turned)
        for k in range(across):
            target = photons[across - 1 - k][down - begin - size : down - begin]
            target[:] = 0
            for j in range(take.shape[1]):
                weight = take[k, j]
                if weight != 0:
                    source = turned[first_from[k] + j]
                    for i in range(size):
                        target[i] += weight * source[i]
            for i in range(size):
                target[i] = max(target[i], least)


@_jit
def turn(rows: Any, turned: Any) -> None:
    """Write rows as columns, the last row first."""
    n_rows = len(rows)
    for begin in range(0, n_rows, _TILE):
        n = min(_TILE, n_rows - begin)
        for x in range(rows.shape[1]):
            column = turned[x][n_rows - begin - n : n_rows - begin]
            if n == _TILE:  # a number that the compiler knows
                for i in range(_TILE):
                    column[_TILE - 1 - i] = rows[begin + i, x]
            else:
                for i in range(n):
                    column[n - 1 - i] = rows[begin + i, x]


@_jit
def keep_lost(state: Any, flagged_rows: Any, image: Any, lost: Any) -> None:
    """Write what is lost of the flagged rows of a single exposure to `lost` (rows, columns); it is 0 in `image`."""
    for y in range(len(image)):
        if not flagged_rows[y]:
            continue
        for g in range(_GROUPS):
            for i in range(_LIT):
                flag = state[y, g * N_SLOTS + _FIRST + 1 + i]
                lost[y, g * _LIT + i] = flag
                if flag >= DAMAGED:
                    image[y, g * _LIT + i] = np.float32(0)


@_jit
def mark_lost(
    lost: Any, flagged_rows: Any, rows_from: Any, rows_to: Any, columns_from: Any, columns_to: Any, window: Any,
    photons: Any, mask: Any, counts: Any,
) -> None:  # fmt: skip
    """Invalidate the solver pixels that need a lost raw pixel, and count these by kind within the window.

    Parameters
    ----------
    lost : (rows, columns) uint8
        State of each raw pixel; BAD ones are not counted.
    flagged_rows : (rows,) uint8
        Only there `lost` is looked at.
    rows_from, rows_to, columns_from, columns_to
        First and behind-last solver row or column that needs each raw row or column.
    window : (4,)
        First row, behind-last row, first column, behind-last column.
    counts : (2,) int64
        Damaged and saturated pixels.
    """
    across, down = mask.shape
    counts[:] = 0
    for y in range(len(lost)):
        if not flagged_rows[y]:
            continue
        line, hits = lost[y], np.uint8(0)
        for x in range(len(line)):
            hits |= line[x]
        if not hits:
            continue
        for x in range(len(line)):
            if not line[x]:
                continue
            if line[x] < BAD and window[0] <= y < window[1] and window[2] <= x < window[3]:
                counts[0 if line[x] >= DAMAGED else 1] += 1
            for i in range(rows_from[y], rows_to[y]):
                for k in range(columns_from[x], columns_to[x]):
                    mask[across - 1 - k, down - 1 - i] = False
                    photons[across - 1 - k, down - 1 - i] = np.float32(0)
