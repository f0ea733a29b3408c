"""The fused FCCD chain on one frame: numba, no interpreter lock, no big temporaries.

One function, :func:`clean_frame`, equals the steps "flag_pixels" to "orient" of
:mod:`bluesky_ptycho.preprocess.steps`, which the tests compare it with. Everything lies in this one
file because numba's cache notices changes of a file only in that file's functions.

What makes it quick: a frame without damaged or saturated pixels is read once, row by row, in one
loop over contiguous columns (dark, background, scale, threshold, vertical sum); flagged rows
take a slower path; shorter exposures are touched only where a longer one is flagged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import kernel
from .layouts import ADC_MASK, DAMAGED_BIT, N_CHANNELS, N_SLOTS, OVERSCAN_SLOTS

SATURATED, DAMAGED, BAD = 1, 2, 4
"""Bits of a pixel's state; BAD is damage known from the darks."""
ANY = 255
"""No state is worse."""

_GROUPS = N_CHANNELS // 2
_FIRST, _LAST = OVERSCAN_SLOTS
_FLAGGED = np.uint16(min(ADC_MASK, DAMAGED_BIT))
_INF = np.float32(np.inf)
SWEPT = 3
"""Rows of the sorted windows that one sweep takes: with more of them the registers run short."""


_jit = kernel(error_model="numpy")


@_jit
def assemble_frame(wire: Any, word_of_channel: Any, out: Any) -> None:
    """Wire order → assembled order; `wire` (H * W,), `out` (H, W), both uint16."""
    height, width = out.shape
    for row in range(height // 2):
        for slot in range(N_SLOTS):
            words = wire[(row * N_SLOTS + slot) * N_CHANNELS : (row * N_SLOTS + slot + 1) * N_CHANNELS]
            upper, lower = out[row], out[height - 1 - row]
            for group in range(_GROUPS):
                lower[width - 1 - group * N_SLOTS - slot] = words[word_of_channel[group]]
                upper[group * N_SLOTS + slot] = words[word_of_channel[_GROUPS + group]]


@_jit
def flag_pixels(raw: Any, gain_bits: Any, rows: Any, columns: Any, state: Any, flagged_rows: Any) -> None:
    """Set SATURATED (with its eight neighbours) and DAMAGED in `state` (rows, W); `raw` (H, W) uint16."""
    width = raw.shape[1]
    n_rows, n_columns = len(rows), len(columns)
    for y in range(n_rows):
        line = raw[rows[y]]
        hits = np.uint16(0)
        for x in range(width):
            word = np.uint16(line[x] ^ gain_bits)
            hits |= np.uint16(word >= _FLAGGED)
        if not hits:
            continue
        for i in range(n_columns):
            word = np.uint16(line[columns[i]] ^ gain_bits)
            if word < _FLAGGED:
                continue
            if word != ADC_MASK:
                state[y, columns[i]] |= DAMAGED
                flagged_rows[y] = 1
                continue
            for near_y in range(max(y - 1, 0), min(y + 2, n_rows)):
                flagged_rows[near_y] = 1
                for near in range(max(i - 1, 0), min(i + 2, n_columns)):
                    state[near_y, columns[near]] |= SATURATED


@_jit
def read_overscan(raw: Any, zero: Any, gain_bits: Any, first_row: int, words: Any, lower: Any) -> None:
    """Fill `lower` (rows, groups) with the lesser overscan slot without its dark `zero`; lost values are infinite.

    `zero` (rows, 2, groups) float32 holds the dark of both slots, `words` (2, groups) uint16 is scratch.
    """
    first, last = words[0], words[1]
    for r in range(len(lower)):
        line, zero_first, zero_last, lesser = raw[first_row + r], zero[r, 0], zero[r, 1], lower[r]
        for g in range(_GROUPS):
            first[g] = line[g * N_SLOTS + _FIRST]
            last[g] = line[g * N_SLOTS + _LAST]
        for g in range(_GROUPS):
            a = np.float32(first[g] & ADC_MASK) - zero_first[g]
            b = np.float32(last[g] & ADC_MASK) - zero_last[g]
            a = a if (np.uint16(first[g] ^ gain_bits) < _FLAGGED) & (a < _INF) else _INF  # NaN is not less
            b = b if (np.uint16(last[g] ^ gain_bits) < _FLAGGED) & (b < _INF) else _INF
            lesser[g] = a if a < b else b


@_jit
def exchange(sorted_rows: Any, old: Any, new: Any, before: Any) -> None:
    """Sweep SWEPT rows of the sorted windows of :func:`running_median`, all groups at once, without a branch.

    `sorted_rows` (rows * groups,) begins with the j-th smallest values. Without `old` the j-th is
    `kept`; with `new` in its place it is the middle one of new, the (j-1)-th and the j-th kept.
    """
    for g in range(_GROUPS):
        here, last = sorted_rows[g], before[g]
        for j in range(SWEPT):
            after = sorted_rows[(j + 1) * _GROUPS + g]
            kept = here if here < old[g] else after
            low = kept if kept < new[g] else new[g]
            sorted_rows[j * _GROUPS + g] = last if low < last else low
            here, last = after, kept
        before[g] = last


@_jit
def running_median(lower: Any, window: int, sorted_rows: Any, counts: Any, before: Any, out: Any) -> None:
    """Median over `window` rows of `lower` (rows, groups) into `out`, infinite values left out.

    `sorted_rows`, `counts` (groups,) and `before` (groups,) are scratch. Every group keeps a sorted window,
    full of infinite values at first; what lies behind the window's length stays infinite.
    """
    n_rows = len(lower)
    half = window // 2
    n_swept = len(sorted_rows) - _GROUPS
    sorted_rows[:] = _INF
    counts[:] = 0
    for r in range(n_rows):
        new = lower[r]
        old = lower[r - window] if r >= window else sorted_rows[n_swept:]
        incomplete = np.int32(0)
        for g in range(_GROUPS):
            counts[g] += np.int32(new[g] < _INF) - np.int32(old[g] < _INF)
            incomplete |= counts[g] ^ np.int32(window)
        before[:] = -_INF
        for first in range(0, n_swept, SWEPT * _GROUPS):
            exchange(sorted_rows[first:], old, new, before)
        if r < window - 1:
            continue
        line = out[r - half]
        if not incomplete:
            for g in range(_GROUPS):
                line[g] = sorted_rows[half * _GROUPS + g]
            continue
        for g in range(_GROUPS):
            n = counts[g]
            low, high = sorted_rows[(n - 1) // 2 * _GROUPS + g], sorted_rows[n // 2 * _GROUPS + g]
            line[g] = np.float32(0.5) * (low + high) if n else np.nan
    for r in range(half):
        for g in range(_GROUPS):
            out[r, g] = out[half, g]
            out[n_rows - 1 - r, g] = out[n_rows - 1 - half, g]


@_jit
def find_background(
    raw: Any, zero: Any, gain_bits: Any, rows: Any, window: int, limits: Any, bias: Any, scratch: Any, state: Any,
    flagged_rows: Any, out: Any,
) -> None:  # fmt: skip
    """Write the background of each row and channel, ``(rows, groups)``.

    `zero` (rows, 2, groups) is the dark of the overscan slots; `bias` (2, groups) is the minimum's.
    """
    words, lower, sorted_rows, counts, before = scratch
    n_rows = len(rows) // 2
    low, high = limits[0], limits[1]
    for half in range(2):
        first = half * n_rows
        block = out[first : first + n_rows]
        read_overscan(raw, zero[first : first + n_rows], gain_bits, rows[first], words, lower)
        running_median(lower, window, sorted_rows, counts, before, block)
        for r in range(n_rows):
            line, known_bias, unknown = block[r], bias[half], False
            for g in range(_GROUPS):
                value = line[g]
                unknown |= value != value  # noqa: PLR0124 (NaN: no overscan was left)
                clamped = low if value < low else value  # NaN stays
                line[g] = (high if clamped > high else clamped) - known_bias[g]
            if not unknown:
                continue
            flagged_rows[first + r] = 1
            for g in range(_GROUPS):
                if line[g] != line[g]:
                    for x in range(g * N_SLOTS, (g + 1) * N_SLOTS):
                        state[first + r, x] |= DAMAGED


@_jit
def add_clean_row(line: Any, zero: Any, background: Any, scale: Any, floor: Any, factor: Any, sums: Any) -> None:
    """Add the photons of a row without flags to `sums`, all columns at once; `factor` may be empty."""
    if len(factor):
        for x in range(len(line)):
            value = ((np.float32(line[x] & ADC_MASK) - zero[x]) - background[x]) * scale
            sums[x] += value * factor[x] if value >= floor else np.float32(0)
        return
    for x in range(len(line)):
        value = ((np.float32(line[x] & ADC_MASK) - zero[x]) - background[x]) * scale
        sums[x] += value if value >= floor else np.float32(0)


@_jit
def sum_exposures(values: Any, states: Any, x: int, groups: Any, step: int, worst: int) -> Any:
    """Return the sum and number of those exposures of the group `step` whose state is `worst` at most."""
    total, count = np.float32(0), np.float32(0)
    for i in range(groups.shape[1]):  # to take a row of `groups` would cost more than all the rest
        k = groups[step, i]
        if k >= 0 and states[k, x] <= worst:
            total += values[k, x]
            count += np.float32(1)
    return total, count


@_jit
def merge_pixel(values: Any, states: Any, x: int, groups: Any, factors: Any) -> Any:
    """Merge the exposures of pixel `x` of a row; return ADU, the state of the result (0: valid), and its noise.

    `values`, `states` (K, W); `groups` (n_groups + 1, K) holds in row i the exposures of equal time, -1 behind them.
    The noise is the variance over that of as many photons in all repeats of the longest time.
    """
    bright, one = False, np.float32(1)
    for step in range(len(factors)):  # the longest time that is valid; a shorter one only where a longer is saturated
        if step > 0 and not bright:
            break
        total, count = sum_exposures(values, states, x, groups, step, 0)
        if count > 0:
            repeats = sum_exposures(values, states, x, groups, 0, ANY)[1]
            return (total / count) * factors[step], 0, factors[step] * repeats / count
        for i in range(groups.shape[1]):
            k = groups[step, i]
            bright |= k >= 0 and states[k, x] == SATURATED
    if not bright:
        known_bad = True
        for i in range(groups.shape[1]):
            k = groups[0, i]
            known_bad &= k < 0 or states[k, x] >= BAD
        return np.float32(0), BAD if known_bad else DAMAGED, one
    value = np.float32(0)
    for step in range(len(factors)):  # the shortest time that is not damaged
        total, count = sum_exposures(values, states, x, groups, step, SATURATED)
        if count > 0:
            value = (total / count) * factors[step]
    return value, SATURATED, one


@_jit
def repeats_of(groups: Any, step: int) -> int:
    """Return how many exposures the group `step` has."""
    count = 0
    for i in range(groups.shape[1]):
        count += groups[step, i] >= 0
    return count


@_jit
def sum_longest(values: Any, states: Any, x: int, groups: Any, repeats: int) -> Any:
    """Return the sum of the first group's `repeats` exposures of pixel `x`, and the state of all: 0 if all are good."""
    total, state = np.float32(0), np.uint8(0)
    for i in range(repeats):
        k = groups[0, i]
        total += values[k, x]
        state |= states[k, x]
    return total, state


@_jit
def merge_image(
    values: Any, states: Any, columns: Any, groups: Any, factors: Any, scale: Any, image: Any, lost: Any, noise: Any
) -> None:  # fmt: skip
    """Merge the exposures ``(K, rows, W)`` of a scan point to photons, what is lost, and noise ``(rows, columns)``."""
    repeats = repeats_of(groups, 0)
    n = np.float32(repeats)
    for y in range(len(image)):
        line, flags = values[:, y], states[:, y]
        for i in range(len(columns)):
            x = columns[i]
            total, state = sum_longest(line, flags, x, groups, repeats)
            if state == 0:
                image[y, i], lost[y, i], noise[y, i] = (total / n) * scale, 0, np.float32(1)
                continue
            value, merged, worse = merge_pixel(line, flags, x, groups, factors)
            image[y, i], lost[y, i], noise[y, i] = value * scale, merged, worse


@_jit
def subtract_row(line: Any, dark: Any, background: Any, values: Any) -> None:
    """Write the ADU of a raw row without dark and the background ``(groups,)`` of its channels."""
    for g in range(len(background)):
        for x in range(g * N_SLOTS, (g + 1) * N_SLOTS):
            values[x] = np.float32(line[x] & ADC_MASK) - dark[x] - background[g]


@_jit
def add_flagged_row(
    values: Any, states: Any, groups: Any, factors: Any, scale: Any, floor: Any, factor: Any, box_columns: Any,
    sums: Any, excess: Any, invalid: Any, lost: Any,
) -> None:  # fmt: skip
    """Add the photons of a row pixel by pixel to `sums`; mark and count what no exposure has.

    `excess` is as :func:`~bluesky_ptycho.preprocess.stack.weight_of` takes it.
    """
    repeats = repeats_of(groups, 0)
    n = np.float32(repeats)
    for column in box_columns:
        if column < 0:
            continue
        value, state = sum_longest(values, states, column, groups, repeats)
        value, merged, worse = value / n, 0, np.float32(1)
        if state:
            value, merged, worse = merge_pixel(values, states, column, groups, factors)
        value *= scale
        scaled = factor[column] if len(factor) else np.float32(1)
        photons = value * scaled if value >= floor else np.float32(0)
        sums[column] += photons
        if merged == 0:
            excess[column] += max(photons, worse / n * scaled) * (worse - np.float32(1))
        if merged:
            invalid[column] = True
            lost[0] += merged == DAMAGED
            lost[1] += merged == SATURATED


@_jit
def finish_boxes(
    sums: Any, excess: Any, invalid: Any, box_columns: Any, binning: int, known_valid: Any, column_out: int,
    worst: Any, photons: Any, mask: Any, weight: Any,
) -> None:  # fmt: skip
    """Close a row of boxes: sum its columns, and write it where orientation puts it, down a column."""
    across, zero, one = len(known_valid), np.float32(0), np.float32(1)
    for bx in range(across):
        total, more, bad = zero, zero, not known_valid[bx]
        for i in range(binning):
            column = box_columns[bx * binning + i]
            if column >= 0:
                total += sums[column]
                more += excess[column]
                bad |= invalid[column]
        mask[across - 1 - bx, column_out] = not bad
        photons[across - 1 - bx, column_out] = zero if bad else total
        if len(weight):
            light = max(total, zero)
            share = one if bad or more <= 0 else light / (light + more)
            weight[across - 1 - bx, column_out] = max(share, one / worst)


@_jit
def copy_state(known_state: Any, state: Any) -> None:
    """Copy ``(K, rows, W)``; an assignment of arrays takes a second to compile."""
    n_exposures, n_rows, width = state.shape
    for k in range(n_exposures):
        for y in range(n_rows):
            for x in range(width):
                state[k, y, x] = known_state[k, y, x]


@_jit
def clean_frame(
    raw: Any, darks: Any, zero: Any, gain_bits: Any, rows: Any, columns: Any, window: int, limits: Any, bias: Any,
    groups: Any, factors: Any, scale: Any, floor: Any, factor: Any, start: Any, boxes: Any, box_columns: Any,
    binning: int, known_state: Any, known_rows: Any, known_valid: Any, state: Any, background: Any, scratch: Any,
    worst: Any, photons: Any, mask: Any, weight: Any, lost: Any,
) -> None:  # fmt: skip
    """Clean the K exposures of one scan point.

    Parameters
    ----------
    raw : (K, H, W) uint16
        Assembled frames.
    darks : (K, H, W) float32
        NaN on bad pixels.
    zero : (K, rows, 2, groups) float32
        That of the overscan slots, as :func:`read_overscan` takes it.
    rows, columns : (rows,), (columns,) intp
        Frame row and column of each row and column of the image.
    limits : (2,) float32
        Clamp of the background.
    bias : (K, 2, groups) float32
        What the lesser of two samples differs from their mean by.
    groups, factors
        As :func:`merge_pixel` takes them.
    factor : (rows, W) float32
        Beamstop correction, or of no rows.
    start, boxes : int
        First image row of the window; number of boxes down.
    box_columns : (boxes across * binning,) intp
        Frame column of each column of the window, -1 outside the image.
    known_state, known_rows, known_valid
        State (K, rows, W), flagged rows (rows,) and valid boxes as the darks give them.
    state, background, scratch
        Buffers: (K, rows, W) uint8, (K, rows, groups) float32, and find_background's.
    worst : float
        Largest noise of a raw pixel, as :func:`merge_pixel` gives it.
    photons, mask, weight : (ny, nx) float32, bool, float32
        Results, oriented; no weights are written to what has no pixels.
    lost : (2,) int64
        Raw pixels in the window that were damaged, saturated.
    """
    n_exposures, _, width = raw.shape
    n_rows = len(rows)
    flagged_rows = known_rows.copy()
    copy_state(known_state, state)
    n_longest = 0
    for group in range(len(factors)):
        if group > 0 and not flagged_rows.any():
            break  # nothing for the shorter exposures to fill in
        # What is wrong with a shorter exposure does not send rows the slow way.
        rows_to_flag = flagged_rows if group == 0 else known_rows.copy()
        for k in groups[group]:
            if k >= 0:
                n_longest += group == 0
                flag_pixels(raw[k], gain_bits, rows, columns, state[k], rows_to_flag)
                find_background(
                    raw[k], zero[k], gain_bits, rows, window, limits, bias[k], scratch, state[k], rows_to_flag,
                    background[k],
                )  # fmt: skip
    values = np.empty((n_exposures, width), dtype=np.float32)
    wide, sums, excess = np.empty(width, np.float32), np.empty(width, np.float32), np.zeros(width, np.float32)
    invalid = np.empty(width, dtype=np.bool_)
    no_factor = np.empty(0, dtype=np.float32)
    lost[:] = 0
    longest = groups[0, 0]
    for box in range(boxes[0]):
        sums[:] = 0
        excess[:] = 0
        invalid[:] = False
        for y in range(max(start + box * binning, 0), min(start + (box + 1) * binning, n_rows)):
            row_factor = factor[y] if len(factor) else no_factor
            if n_longest == 1 and not flagged_rows[y]:
                for x in range(width):
                    wide[x] = background[longest, y, x // N_SLOTS]
                add_clean_row(raw[longest, rows[y]], darks[longest, rows[y]], wide, scale, floor, row_factor, sums)
                continue
            for k in range(n_exposures):
                subtract_row(raw[k, rows[y]], darks[k, rows[y]], background[k, y], values[k])
            add_flagged_row(
                values, state[:, y], groups, factors, scale, floor, row_factor, box_columns, sums, excess, invalid, lost
            )
        finish_boxes(
            sums, excess, invalid, box_columns, binning, known_valid[box], boxes[0] - 1 - box, worst, photons, mask,
            weight,
        )  # fmt: skip


def make_scratch(window: int, n_rows: int) -> tuple[Any, ...]:
    """Return the buffers that :func:`find_background` works in, for `n_rows` image rows of a half."""
    swept = -(-window // SWEPT) * SWEPT
    return (
        np.empty((2, _GROUPS), dtype=np.uint16),
        np.empty((n_rows, _GROUPS), dtype=np.float32),
        np.empty((swept + 1) * _GROUPS, dtype=np.float32),
        np.empty(_GROUPS, dtype=np.int32),
        np.empty(_GROUPS, dtype=np.float32),
    )
