"""Kernels of the staged chain that make the image, count single photons, and resample along the rows.

They equal the steps of the same name in the NumPy modules, which the tests compare them with. They run without
the interpreter lock, and lie in one file as those of :mod:`bluesky_ptycho.preprocess.kernels` do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compiled import kernel
from .layouts import ADC_MASK, N_CHANNELS, N_SLOTS, OVERSCAN_SLOTS
from .single_photons import CELL, NEAR, WIDE

DAMAGED = 2
"""State of a pixel as in :mod:`bluesky_ptycho.preprocess.kernels`."""

_GROUPS = N_CHANNELS // 2
_FIRST, _LAST = OVERSCAN_SLOTS
_LIT = _LAST - _FIRST - 1
_LOG_SERIES = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip

_jit = kernel(error_model="numpy")


@_jit
def image_of_raw(
    raw: Any, dark: Any, rows: Any, level: Any, state: Any, flagged_rows: Any, scale: Any, adu: Any, image: Any,
    lost: Any,
) -> None:  # fmt: skip
    """Write photons of some rows of a single exposure straight from its raw frame and its background `level`.

    What is lost is written for the flagged rows only. `adu` (W,) float32 is scratch.
    """
    for y in range(len(rows)):
        line, zero, base, target = raw[rows[y]], dark[rows[y]], level[y], image[y]
        for x in range(_GROUPS * N_SLOTS):
            adu[x] = np.float32(line[x] & ADC_MASK) - zero[x]
        for g in range(_GROUPS):
            for i in range(_LIT):
                target[g * _LIT + i] = (adu[g * N_SLOTS + _FIRST + 1 + i] - base[g]) * scale
        if not flagged_rows[y]:
            continue
        flags, kept = state[y], lost[y]
        for g in range(_GROUPS):
            for i in range(_LIT):
                flag = flags[g * N_SLOTS + _FIRST + 1 + i]
                kept[g * _LIT + i] = flag
                if flag >= DAMAGED:
                    target[g * _LIT + i] = np.float32(0)


@_jit
def count_cells(
    image: Any, lost: Any, flagged_rows: Any, first: Any, single: Any, worth: Any, row: Any, light: Any, valid: Any
) -> None:  # fmt: skip
    """Write the photons of a row of cells at the first threshold, and how many valid pixels each has.

    What is lost becomes 0 in `image` (CELL, columns). `row` (columns,) is scratch.
    """
    valid[:] = CELL * CELL
    row[:] = 0
    for y in range(CELL):
        line = image[y]
        if flagged_rows[y]:
            flags = lost[y]
            for x in range(len(row)):
                if flags[x]:
                    line[x] = np.float32(0)
                    valid[x // CELL] -= np.float32(1)
        for x in range(len(row)):
            value = line[x] if line[x] >= single else worth
            row[x] += value if line[x] >= first else np.float32(0)
    for c in range(len(light)):
        total = np.float32(0)
        for i in range(CELL):
            total += row[c * CELL + i]
        light[c] = total


@_jit
def slide(cells: Any, r: int, reach: int, columns: Any) -> None:
    """Move `columns`, the sums of the rows of cells up to `reach` from one, on to row `r`; WIDE zeros on each side."""
    if 0 <= r + reach < len(cells):
        entering = cells[r + reach]
        for c in range(len(entering)):
            columns[WIDE + c] += entering[c]
    if r - reach > 0:
        leaving = cells[r - reach - 1]
        for c in range(len(leaving)):
            columns[WIDE + c] -= leaving[c]


@_jit
def run_along(columns: Any, running: Any) -> None:
    """Write the running sums of four rows `columns` to `running`, which has one more of each.

    In float64 running sums of whole numbers and large ones lose nothing. Four at a time wait for each other less.
    """
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(columns.shape[1]):
        a += columns[0, i]
        b += columns[1, i]
        c += columns[2, i]
        d += columns[3, i]
        running[0, i + 1] = a
        running[1, i + 1] = b
        running[2, i + 1] = c
        running[3, i + 1] = d


@_jit
def log(value: Any) -> Any:
    """Return the natural logarithm of a positive float32, without a branch: many are worked out at once.

    The polynomial is that of Cephes' ``logf``; its error is a unit in the last place.
    """
    bits = np.float32(value).view(np.int32)
    exponent = np.float32((bits >> np.int32(23)) - np.int32(127))
    part = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32)
    upper = part > np.float32(math.sqrt(2))
    x = (np.float32(0.5) * part if upper else part) - np.float32(1)
    exponent += np.float32(1) if upper else np.float32(0)
    series = np.float32(0)
    for coefficient in _LOG_SERIES:
        series = series * x + np.float32(coefficient)
    square = x * x
    rest = series * x * square + np.float32(-2.12194440e-4) * exponent - np.float32(0.5) * square
    return x + rest + np.float32(0.693359375) * exponent


@_jit
def choose_thresholds(
    running: Any, first_false: Any, variance: Any, borrowed: Any, darkest: Any, limits: Any, worths: Any,
    thresholds: Any, worth: Any,
) -> None:  # fmt: skip
    """Write the threshold of each cell of a row from the light around it, and what a single photon is worth.

    `running` holds running sums of light and pixels near by and of light and pixels far around, see
    :meth:`SinglePhotons.light`.
    """
    low, high = limits[0], limits[1]
    steps = np.float32(len(worths) - 1) / (high - low)
    for c in range(len(thresholds)):
        near = np.float32(running[0, c + WIDE + NEAR + 1] - running[0, c + WIDE - NEAR])
        pixels = np.float32(running[1, c + WIDE + NEAR + 1] - running[1, c + WIDE - NEAR])
        wide = np.float32(running[2, c + 2 * WIDE + 1] - running[2, c])
        wide_pixels = np.float32(running[3, c + 2 * WIDE + 1] - running[3, c])
        lent = max(wide / max(wide_pixels, np.float32(1)) - first_false, darkest)
        seen = max(near - pixels * first_false, np.float32(0))
        mean = max((seen + borrowed) / (pixels + borrowed / lent), darkest)
        thresholds[c] = min(max(np.float32(0.5) - variance * log(mean), low), high)
    for c in range(len(thresholds)):
        place = (thresholds[c] - low) * steps
        index = min(int(place), len(worths) - 2)
        worth[c] = worths[index] + (place - np.float32(index)) * (worths[index + 1] - worths[index])


@_jit
def count_singles(image: Any, thresholds: Any, worth: Any, single: Any, row: Any, counted: Any) -> None:
    """Write photons of a row of cells to `counted`: nothing below a cell's threshold, a single one at its worth.

    `row` (2, columns) is scratch.
    """
    limit, one = row[0], row[1]
    for c in range(len(thresholds)):
        for i in range(CELL):
            limit[c * CELL + i], one[c * CELL + i] = thresholds[c], worth[c]
    for y in range(CELL):
        line, target = image[y], counted[y]
        for x in range(len(limit)):
            value = one[x] if line[x] < single else line[x]
            target[x] = value if line[x] >= limit[x] else np.float32(0)


@_jit
def give_row(line: Any, first: int, weights: Any, rows_done: Any) -> None:
    """Add a raw row to the solver rows from `first` on that have a share in it."""
    for j in range(len(weights)):
        weight = weights[j]
        if weight != 0:
            target = rows_done[first + j]
            for x in range(len(line)):
                target[x] += weight * line[x]


@_jit
def give_rows(image: Any, first_to: Any, give: Any, rows_done: Any) -> None:
    """Resample an image along the rows.

    Parameters
    ----------
    first_to, give : (rows,), (rows, reach)
        Where each raw row's photons go.
    rows_done : (boxes, columns) float32
        The result.
    """
    rows_done[:] = 0
    for y in range(len(image)):
        give_row(image[y], first_to[y], give[y], rows_done)


@_jit
def count_frame(
    source: Any, image: Any, keep: bool, lost: Any, flagged_rows: Any, first: Any, light_constants: Any, limits: Any,
    worths: Any, factor: Any, first_to: Any, give: Any, scratch: Any, rows_done: Any,
) -> None:  # fmt: skip
    """Count single photons, each pixel with its own threshold, and resample along the rows.

    It goes down the image once, the threshold of a row of cells as soon as the light around is known: what lies
    between is still in the cache.

    Parameters
    ----------
    source : tuple
        Raw frame ``(H, W)``, dark, rows, level, state, and scale, as :func:`image_of_raw` takes them; of no rows
        where `image` is there already.
    image : (rows, columns) float32
        Where it is still to be made, of as many rows as there is room for, at least those of WIDE + 1 cells.
    keep : bool
        Whether the counted photons are to be left in `image`, which is there already.
    lost, flagged_rows : (rows, columns), (rows,) uint8
    first : (3,) float32
        Threshold to begin with, what counts as several photons, what one is worth.
    light_constants : (4,) float32
        False photons per pixel, variance of the noise, photons that are lent, the darkest light.
    limits, worths
        As :func:`choose_thresholds` takes them.
    factor : (rows, columns) float32
        By which photons are scaled; may be of no rows.
    first_to, give, rows_done
        As :func:`give_rows` takes them.
    scratch : tuple
        As :func:`count_scratch` makes it.
    """
    raw, dark, rows, level, state, scale = source
    adu, row, light, valid, columns, running, chosen, counted = scratch
    begin, single, worth = first[0], first[1], first[2]
    first_false, variance, borrowed, darkest = (
        light_constants[0], light_constants[1], light_constants[2], light_constants[3],
    )  # fmt: skip
    n, n_kept = len(light), len(image) // CELL
    columns[:] = 0
    rows_done[:] = 0
    for r in range(-WIDE, n):
        below = r + WIDE
        if below < n:
            y, slot = below * CELL, below % n_kept * CELL
            here, block = slice(y, y + CELL), image[slot : slot + CELL]
            if len(raw):
                image_of_raw(
                    raw, dark, rows[here], level[here], state[here], flagged_rows[here], scale, adu, block, lost[here]
                )  # fmt: skip
            count_cells(block, lost[here], flagged_rows[here], begin, single, worth, row[0], light[below], valid[below])
        slide(light, r, NEAR, columns[0])
        slide(valid, r, NEAR, columns[1])
        slide(light, r, WIDE, columns[2])
        slide(valid, r, WIDE, columns[3])
        if r < 0:
            continue
        run_along(columns, running)
        choose_thresholds(
            running, first_false, variance, borrowed, darkest, limits, worths, chosen[0], chosen[1]
        )  # fmt: skip
        y, slot = r * CELL, r % n_kept * CELL
        count_singles(image[slot : slot + CELL], chosen[0], chosen[1], single, row, counted)
        for i in range(CELL):
            line = counted[i]
            if len(factor):
                for x in range(len(line)):
                    line[x] *= factor[y + i, x]
            if keep:
                for x in range(len(line)):
                    image[y + i, x] = line[x]
            give_row(line, first_to[y + i], give[y + i], rows_done)


@_jit
def give_excess(
    image: Any, lost: Any, noise: Any, single: Any, factor: Any, first_to: Any, give: Any, rows_done: Any
) -> None:  # fmt: skip
    """Resample along the rows what photons have more in variance than those of the longest exposure.

    `image`, `lost` and `noise` (rows, columns), which is as :func:`~bluesky_ptycho.preprocess.kernels.merge_pixel`
    gives it and becomes the excess. `single` is a photon of one of the longest exposures before `factor`
    (rows, columns), which may be of no rows; the others are as :func:`give_rows` takes them.
    """
    for y in range(len(image)):
        line, flags, excess = image[y], lost[y], noise[y]
        for x in range(len(line)):
            one = single * excess[x] * (factor[y, x] if len(factor) else np.float32(1))
            more = max(line[x], one) * (excess[x] - np.float32(1))
            excess[x] = more if flags[x] == 0 else np.float32(0)
    give_rows(noise, first_to, give, rows_done)


def count_scratch(image_shape: tuple[int, int], width: int) -> tuple[Any, ...]:
    """Return the buffers that :func:`count_frame` works in, for frames of `width` columns."""
    rows, columns = image_shape[0] // CELL, image_shape[1] // CELL
    return (
        np.empty(width, dtype=np.float32),
        np.empty((2, image_shape[1]), dtype=np.float32),
        np.empty((rows, columns), dtype=np.float32),
        np.empty((rows, columns), dtype=np.float32),
        np.empty((4, columns + 2 * WIDE)),
        np.zeros((4, columns + 2 * WIDE + 1)),
        np.empty((2, columns), dtype=np.float32),
        np.empty((CELL, image_shape[1]), dtype=np.float32),
    )
