"""Kernels of the staged chain from raw words to the image, channel by channel: numba, no interpreter lock.

They equal the steps of the same name in the NumPy modules, which the tests compare them with. Channels are
taken as they lie in the image. For the lower half that is the readout backwards, which changes neither a
parabola, nor a sum of cosines over the rows, nor a tone of any phase.

All that is done to a channel is done while its samples lie in the nearest cache, slot by slot ``(12, rows)``: what
is the same for all slots of a row, or a sum over them, is then worked out for many rows at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import kernel
from .layouts import ADC_MASK, DAMAGED_BIT, N_CHANNELS, N_SLOTS, OVERSCAN_SLOTS

DAMAGED = 2
"""State of a pixel as in :mod:`bluesky_ptycho.preprocess.kernels`."""

_GROUPS = N_CHANNELS // 2
_FIRST, _LAST = OVERSCAN_SLOTS
_LIT = _LAST - _FIRST - 1
_FLAGGED = np.uint16(min(ADC_MASK, DAMAGED_BIT))
TILE = 16
"""Rows whose samples of one slot fill a line of the cache."""
AT_ONCE = 24
"""Channels whose samples fit into the cache next to the processor."""
_COLUMNS = AT_ONCE * N_SLOTS

_jit = kernel(error_model="numpy")
_jit_sum = kernel(error_model="numpy", fastmath={"reassoc", "contract"})


@_jit
def subtract_level(raw: Any, dark: Any, rows: Any, level: Any, out: Any) -> None:
    """Write ADU ``(rows, W) float32`` of a raw frame ``(H, W)`` without dark and `level` (rows, groups)."""
    for y in range(len(rows)):
        line, zero, target, base = raw[rows[y]], dark[rows[y]], out[y], level[y]
        for x in range(_GROUPS * N_SLOTS):
            target[x] = np.float32(line[x] & ADC_MASK) - zero[x]
        for g in range(_GROUPS):
            for slot in range(N_SLOTS):
                target[g * N_SLOTS + slot] -= base[g]


@_jit
def flag_overscan(raw: Any, gain_bits: Any, rows: Any, state: Any, flagged_rows: Any) -> None:
    """Mark overscan samples that are lost or saturated as DAMAGED in `state` (rows, W)."""
    for y in range(len(rows)):
        line = raw[rows[y]]
        for g in range(_GROUPS):
            for x in (g * N_SLOTS + _FIRST, g * N_SLOTS + _LAST):
                if np.uint16(line[x] ^ gain_bits) >= _FLAGGED:
                    state[y, x] |= DAMAGED
                    flagged_rows[y] = 1


@_jit
def split_channels(
    raw: Any, dark: Any, rows: Any, first: int, state: Any, flagged_rows: Any, tile: Any, values: Any, good: Any
) -> None:  # fmt: skip
    """Write ADU without dark of _COLUMNS columns from `first` on by column and row, and uint8, which are `good`.

    `rows`, `state` (rows, W) and `flagged_rows` (rows,) are those of a half, `values` and `good` (_COLUMNS, rows).
    `tile` (TILE * _COLUMNS,) float32 is scratch.
    """
    n_rows = values.shape[1]
    good[:] = 1
    for begin in range(0, n_rows, TILE):
        n = min(TILE, n_rows - begin)
        for r in range(n):
            row, target = rows[begin + r], tile[r * _COLUMNS :]
            line, zero = raw[row, first : first + _COLUMNS], dark[row, first : first + _COLUMNS]
            for x in range(_COLUMNS):
                target[x] = np.float32(line[x] & ADC_MASK) - zero[x]
            if flagged_rows[begin + r]:
                for x in range(_COLUMNS):
                    good[x, begin + r] = state[begin + r, first + x] == 0
        for x in range(_COLUMNS):
            column = values[x][begin : begin + n]
            if n == TILE:  # a number that the compiler knows
                for r in range(TILE):
                    column[r] = tile[r * _COLUMNS + x]
            else:
                for r in range(n):
                    column[r] = tile[r * _COLUMNS + x]


@_jit
def join_channels(values: Any, first: int, scale: Any, tile: Any, out: Any) -> None:
    """Write `values` as :func:`split_channels` gives them, times `scale`, to the rows of a half.

    Of each channel the slots from `first` on, but as many at the end, go to adjacent columns of `out`.
    """
    n_rows, n_slots = values.shape[1], N_SLOTS - 2 * first
    for begin in range(0, n_rows, TILE):
        n = min(TILE, n_rows - begin)
        for x in range(_COLUMNS):
            column = values[x][begin : begin + n]
            if n == TILE:
                for r in range(TILE):
                    tile[r * _COLUMNS + x] = column[r]
            else:
                for r in range(n):
                    tile[r * _COLUMNS + x] = column[r]
        for r in range(n):
            line, target = tile[r * _COLUMNS :], out[begin + r]
            for g in range(AT_ONCE):
                if first == _FIRST + 1:  # numbers that the compiler knows
                    for i in range(_LIT):
                        target[g * _LIT + i] = line[g * N_SLOTS + _FIRST + 1 + i] * scale
                else:
                    for i in range(n_slots):
                        target[g * n_slots + i] = line[g * N_SLOTS + first + i] * scale


@_jit_sum
def product(one: Any, other: Any) -> Any:
    """Return the sum of the products of two rows in the type of the first, in the order that suits the processor."""
    total = one.dtype.type(0)
    for r in range(len(one)):
        total += one[r] * other[r]
    return total


@_jit
def fit_parabola(values: Any, good: Any, first: int, last: int, rows: Any, out: Any) -> bool:
    """Write the parabola through a channel's good overscan samples of the rows `first` to `last` to `out` (rows,).

    With fewer than three rows of them it is 0, and False is returned. `rows` (2, rows) is scratch.
    """
    n, total = rows[0], rows[1]
    n[:] = 0
    total[:] = 0
    for slot in (_FIRST, _LAST):
        samples, usable = values[slot], good[slot]
        for r in range(first, last):
            total[r] += samples[r] if usable[r] != 0 else np.float32(0)
            n[r] += np.float32(usable[r])
    powers, sums = np.empty((5, len(out))), np.empty(8)
    for r in range(len(out)):
        time, power = r * (2.0 / (len(out) - 1)) - 1.0, 1.0
        for k in range(5):
            powers[k, r] = power
            power *= time
    for k in range(5):
        sums[k] = product(powers[k], n)
    for k in range(3):
        sums[5 + k] = product(powers[k], total)
    a, b, c, found = _solve(sums)
    for r in range(len(out)):
        out[r] = np.float32(a + b * powers[1, r] + c * powers[2, r])
    return found


@_jit
def _solve(s: Any) -> Any:
    """Solve the normal equations of a parabola from its sums of t**0..4 and of v t**0..2."""
    # Cofactors of the symmetric matrix [[s0 s1 s2] [s1 s2 s3] [s2 s3 s4]].
    c00, c01, c02 = s[2] * s[4] - s[3] * s[3], s[2] * s[3] - s[1] * s[4], s[1] * s[3] - s[2] * s[2]
    c11, c12, c22 = s[0] * s[4] - s[2] * s[2], s[1] * s[2] - s[0] * s[3], s[0] * s[2] - s[1] * s[1]
    det = s[0] * c00 + s[1] * c01 + s[2] * c02
    if det <= 1e-12 * s[0] ** 3:
        return 0.0, 0.0, 0.0, False
    a = (c00 * s[5] + c01 * s[6] + c02 * s[7]) / det
    b = (c01 * s[5] + c11 * s[6] + c12 * s[7]) / det
    c = (c02 * s[5] + c12 * s[6] + c22 * s[7]) / det
    return a, b, c, True


@_jit
def average_background(values: Any, good: Any, level: Any, limit: Any, most_lit: Any, means: Any) -> None:
    """Write the mean of each row's samples of a channel that are within `limit` of `level`, less that; 0 without any.

    Where more than `most_lit` image samples are above it, only the overscan counts.
    """
    none, one = np.float32(0), np.float32(1)
    for r in range(len(means)):
        total, n, lit = none, none, none
        for slot in range(_FIRST + 1, _LAST):
            value = values[slot, r] - level[r]
            usable = good[slot, r] != 0
            kept = usable & (abs(value) < limit)
            total += value if kept else none
            n += one if kept else none
            lit += one if usable & (value >= limit) else none
        total = none if lit > most_lit else total
        n = none if lit > most_lit else n
        for slot in (_FIRST, _LAST):
            value = values[slot, r] - level[r]
            kept = (good[slot, r] != 0) & (abs(value) < limit)
            total += value if kept else none
            n += one if kept else none
        means[r] = total / max(n, one)


@_jit
def add_drift(means: Any, cosines: Any, level: Any) -> None:
    """Add the cosines ``(terms, rows)`` in `means` (rows,) to `level` (rows,)."""
    for k in range(len(cosines)):
        cosine = cosines[k]
        amplitude = np.float32(2) / np.float32(len(means)) * product(cosine, means)
        for r in range(len(level)):
            level[r] += amplitude * cosine[r]


@_jit
def subtract_rows(values: Any, level: Any) -> None:
    """Subtract a channel's background `level` (rows,) from all its slots."""
    for slot in range(N_SLOTS):
        samples = values[slot]
        for r in range(len(level)):
            samples[r] -= level[r]


@_jit
def add_background(samples: Any, good: Any, limit: Any, totals: Any, n: Any) -> None:
    """Add one slot's samples below `limit` to the rows' `totals`, and their number to `n`; all are (rows,)."""
    for r in range(len(samples)):
        kept = (good[r] != 0) & (abs(samples[r]) < limit)
        totals[r] += samples[r] if kept else np.float32(0)
        n[r] += np.float32(1) if kept else np.float32(0)


@_jit
def remove_tone(values: Any, good: Any, limit: Any, min_share: Any, cosine: Any, sine: Any, rows: Any) -> None:
    """Subtract a tone from one channel's samples; tables like them ``(12, rows)``, `rows` (2, rows) is scratch."""
    kept, n = rows[0], rows[1]
    n[:] = 0
    in_phase, quadrature = np.float32(0), np.float32(0)
    for slot in range(N_SLOTS):
        kept[:] = 0
        add_background(values[slot], good[slot], limit, kept, n)
        in_phase += product(kept, cosine[slot])
        quadrature += product(kept, sine[slot])
    count = np.float32(0)
    for r in range(len(n)):
        count += n[r]
    if count <= min_share * values.size:
        return
    in_phase *= np.float32(2) / count
    quadrature *= np.float32(2) / count
    for slot in range(N_SLOTS):
        samples, c, s = values[slot], cosine[slot], sine[slot]
        for r in range(len(n)):
            samples[r] -= in_phase * c[r] + quadrature * s[r]


@_jit
def clean_channels(
    values: Any, good: Any, first_row: int, last_row: int, limit: Any, most_lit: Any, n_passes: int, cosines: Any,
    min_share: Any, first_tone: Any, reaches: Any, tables: Any, state: Any,
) -> bool:  # fmt: skip
    """Subtract from some channels the parabola of their overscan, drift, and tones; return whether all have overscan.

    Parameters
    ----------
    values, good : (_COLUMNS, rows) float32, uint8
        As :func:`split_channels` gives them; `values` are changed.
    first_row, last_row : int
        Rows whose overscan is fitted to.
    limit, most_lit, n_passes
        As :func:`average_background` takes them, and how often it is done.
    cosines : (terms, rows) float32
        The drift is made of.
    min_share : float32
        Samples that must be background for a tone to be removed.
    first_tone : (channels + 1,) intp
        Index of each channel's first tone.
    reaches, tables : (n,), (n, 2, 12, rows) float32
        Limit of background, cosine and sine of each tone, in the order of their removal.
    state : (rows, _COLUMNS) uint8
        Channels without overscan become DAMAGED.
    """
    n_rows = values.shape[1]
    level, means = np.empty(n_rows, dtype=np.float32), np.empty(n_rows, dtype=np.float32)
    rows = np.empty((2, n_rows), dtype=np.float32)
    all_fitted = True
    for g in range(AT_ONCE):
        mine, usable = values[g * N_SLOTS : (g + 1) * N_SLOTS], good[g * N_SLOTS : (g + 1) * N_SLOTS]
        if not fit_parabola(mine, usable, first_row, last_row, rows, level):
            all_fitted = False
            for y in range(n_rows):
                for x in range(g * N_SLOTS, (g + 1) * N_SLOTS):
                    state[y, x] |= DAMAGED
            continue
        for _ in range(n_passes):
            average_background(mine, usable, level, limit, most_lit, means)
            add_drift(means, cosines, level)
        subtract_rows(mine, level)
        for tone in range(first_tone[g], first_tone[g + 1]):
            remove_tone(mine, usable, reaches[tone], min_share, tables[tone, 0], tables[tone, 1], rows)
    return all_fitted
