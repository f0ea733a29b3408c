"""Kernels of the staged chain from the image to solver pixels: one step each, numba, no interpreter lock.

They equal the steps of the same name in the NumPy modules, which the tests compare them with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import kernel

DAMAGED, BAD = 2, 4
"""States of a pixel as in :mod:`bluesky_ptycho.preprocess.kernels`."""

_jit = kernel(error_model="numpy")


@_jit
def count_cells(
    image: Any, lost: Any, cell: int, first: Any, single: Any, worth: Any, row: Any, light: Any, valid: Any
) -> None:  # fmt: skip
    """Write the photons of each cell at the first threshold, and how many valid pixels it has.

    `row` (columns,) is scratch.
    """
    n_columns = light.shape[1] * cell
    valid[:] = cell * cell
    for r in range(len(light)):
        row[:] = 0
        for y in range(r * cell, (r + 1) * cell):
            line, flags, hits = image[y], lost[y], np.uint8(0)
            for x in range(n_columns):
                value = line[x] if line[x] >= single else worth
                row[x] += value if (line[x] >= first) & (flags[x] == 0) else np.float32(0)
                hits |= flags[x]
            if hits:
                for x in range(n_columns):
                    valid[r, x // cell] -= np.float32(flags[x] != 0)
        for c in range(light.shape[1]):
            total = np.float32(0)
            for x in range(c * cell, (c + 1) * cell):
                total += row[x]
            light[r, c] = total


@_jit
def sum_around(cells: Any, reach: int, columns: Any, out: Any) -> None:
    """Sum the square of cells up to `reach` from each into `out`, both ``(rows, columns)`` float32.

    `columns` (columns,) float64 is scratch: running sums of whole numbers and large ones lose nothing in it.
    """
    rows, n = cells.shape
    columns[:] = 0
    for r in range(-reach, rows):
        if r + reach < rows:
            columns += cells[r + reach]
        if r - reach > 0:
            columns -= cells[r - reach - 1]
        if r < 0:
            continue
        total = 0.0
        for c in range(-reach, n):
            if c + reach < n:
                total += columns[c + reach]
            if c - reach > 0:
                total -= columns[c - reach - 1]
            if c >= 0:
                out[r, c] = total


@_jit
def choose_thresholds(
    near: Any, pixels: Any, wide: Any, wide_pixels: Any, first_false: Any, variance: Any, borrowed: Any, darkest: Any,
    limits: Any, worths: Any, thresholds: Any, worth: Any,
) -> None:  # fmt: skip
    """Write the threshold of each cell from the light around it, and what a single photon is worth.

    `near`, `wide` and their `pixels` are sums over the cells around, see :meth:`SinglePhotons.light`.
    """
    rows, columns = near.shape
    low, high = limits[0], limits[1]
    steps = np.float32(len(worths) - 1) / (high - low)
    for i in range(rows):
        for k in range(columns):
            lent = max(wide[i, k] / max(wide_pixels[i, k], np.float32(1)) - first_false, darkest)
            seen = max(near[i, k] - pixels[i, k] * first_false, np.float32(0))
            mean = max((seen + borrowed) / (pixels[i, k] + borrowed / lent), darkest)
            threshold = min(max(np.float32(0.5) - variance * np.log(mean), low), high)
            place = (threshold - low) * steps
            index = min(int(place), len(worths) - 2)
            thresholds[i, k] = threshold
            worth[i, k] = worths[index] + (place - np.float32(index)) * (worths[index + 1] - worths[index])


@_jit
def count_singles(
    image: Any, lost: Any, cell: int, thresholds: Any, worth: Any, single: Any, factor: Any, row: Any
) -> None:
    """Set what lies below its cell's threshold to 0, a single photon to its worth; scale by `factor` (or none).

    `row` (2, columns) is scratch.
    """
    for y in range(len(image)):
        if y % cell == 0:
            for c in range(thresholds.shape[1]):
                for x in range(c * cell, (c + 1) * cell):
                    row[0, x], row[1, x] = thresholds[y // cell, c], worth[y // cell, c]
        line, flags = image[y], lost[y]
        for x in range(len(line)):
            value = row[1, x] if line[x] < single else line[x]
            line[x] = value if (line[x] >= row[0, x]) & (flags[x] == 0) else np.float32(0)
        if len(factor):
            for x in range(len(line)):
                line[x] *= factor[y, x]


@_jit
def apply_threshold(image: Any, lost: Any, floor: Any, reach: int, clip: bool, factor: Any, age: Any) -> None:
    """Zero what is below `floor` and not within `reach` of what is not; scale the rest by `factor` (or none).

    `age` (columns,) is scratch: rows since a pixel above the floor stood within reach to the left.
    """
    n_columns = image.shape[1]
    age[:] = reach + 1
    for y in range(len(image)):
        line = image[y]
        if reach > 1:
            since = reach + 1
            for x in range(n_columns):
                since = 0 if line[x] >= floor else since + 1
                age[x] = 0 if since < reach else age[x] + 1
        for x in range(n_columns):
            kept = age[x] < reach if reach > 1 else line[x] >= floor
            value = line[x] if kept and lost[y, x] == 0 else np.float32(0)
            line[x] = max(value, np.float32(0)) if clip else value
        if len(factor):
            for x in range(n_columns):
                line[x] *= factor[y, x]


@_jit
def resample(
    image: Any, first_to: Any, give: Any, first_from: Any, take: Any, rows_done: Any, clip: bool, photons: Any
) -> None:  # fmt: skip
    """Resample rows, then columns, and write the result transposed and flipped, as the solver wants it.

    Parameters
    ----------
    first_to, give : (rows,), (rows, reach)
        Where each raw row's photons go.
    first_from, take : (n,), (n, width)
        Where each solver column's photons come from.
    rows_done : (boxes, columns) float32
        Scratch.
    """
    rows_done[:] = 0
    for y in range(len(image)):
        line = image[y]
        for j in range(give.shape[1]):
            weight = give[y, j]
            if weight != 0:
                target = rows_done[first_to[y] + j]
                for x in range(len(line)):
                    target[x] += weight * line[x]
    down, across = len(rows_done), len(first_from)
    for i in range(down):
        line = rows_done[i]
        for k in range(across):
            total, first = np.float32(0), first_from[k]
            for j in range(take.shape[1]):
                total += take[k, j] * line[first + j]
            photons[across - 1 - k, down - 1 - i] = max(total, np.float32(0)) if clip else total


@_jit
def mark_lost(
    lost: Any, rows_from: Any, rows_to: Any, columns_from: Any, columns_to: Any, window: Any, photons: Any, mask: Any,
    counts: Any,
) -> None:  # fmt: skip
    """Invalidate the solver pixels that need a lost raw pixel, and count these by kind within the window.

    Parameters
    ----------
    lost : (rows, columns) uint8
        State of each raw pixel; BAD ones are not counted.
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
