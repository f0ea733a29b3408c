"""Kernels of the staged chain from raw words to the image: one step each, numba, no interpreter lock.

They equal the steps of the same name in the NumPy modules, which the tests compare them with. Channels are
taken as they lie in the image. For the lower half that is the readout backwards, which changes neither a
parabola, nor a sum of cosines over the rows, nor a tone of any phase.
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
_FLAGGED = np.uint16(min(ADC_MASK, DAMAGED_BIT))

_jit = kernel(error_model="numpy")


@_jit
def subtract_dark(raw: Any, dark: Any, rows: Any, out: Any) -> None:
    """Write ADU without dark ``(rows, W) float32`` of a raw frame ``(H, W)``; NaN where the dark is."""
    for y in range(len(rows)):
        line, zero, target = raw[rows[y]], dark[rows[y]], out[y]
        for x in range(len(target)):
            target[x] = np.float32(line[x] & ADC_MASK) - zero[x]


@_jit
def flag_overscan(raw: Any, gain_bits: Any, rows: Any, state: Any) -> None:
    """Mark overscan samples that are lost or saturated as DAMAGED in `state` (rows, W)."""
    for y in range(len(rows)):
        line = raw[rows[y]]
        for g in range(_GROUPS):
            for x in (g * N_SLOTS + _FIRST, g * N_SLOTS + _LAST):
                if np.uint16(line[x] ^ gain_bits) >= _FLAGGED:
                    state[y, x] |= DAMAGED


@_jit
def subtract_rows(values: Any, background: Any) -> None:
    """Subtract a background ``(rows, groups)`` from all slots of a group."""
    for y in range(len(values)):
        line, level = values[y], background[y]
        for g in range(_GROUPS):
            for slot in range(N_SLOTS):
                line[g * N_SLOTS + slot] -= level[g]


@_jit
def fit_parabolas(values: Any, state: Any, skip: int, out: Any) -> None:
    """Fit a parabola over the rows to the overscan of each half's groups; write it to `out` (rows, groups).

    Groups with fewer than three rows of good samples are marked as damaged.
    """
    n_rows = len(values) // 2
    sums = np.empty((8, _GROUPS), dtype=np.float64)
    for half in range(2):
        sums[:] = 0
        for r in range(n_rows):
            y = half * n_rows + r
            since_edge = r if half == 0 else n_rows - 1 - r
            if since_edge < skip:
                continue
            t = 2.0 * r / (n_rows - 1) - 1.0
            line, flags = values[y], state[y]
            for g in range(_GROUPS):
                a, b = g * N_SLOTS + _FIRST, g * N_SLOTS + _LAST
                n, total = 0.0, 0.0
                for x in (a, b):
                    if flags[x] == 0 and line[x] == line[x]:
                        n += 1.0
                        total += line[x]
                sums[0, g] += n
                sums[1, g] += n * t
                sums[2, g] += n * t * t
                sums[3, g] += n * t * t * t
                sums[4, g] += n * t * t * t * t
                sums[5, g] += total
                sums[6, g] += total * t
                sums[7, g] += total * t * t
        for g in range(_GROUPS):
            a, b, c, found = _solve(sums[:, g])
            for r in range(n_rows):
                y = half * n_rows + r
                if found:
                    t = 2.0 * r / (n_rows - 1) - 1.0
                    out[y, g] = np.float32(a + t * (b + t * c))
                    continue
                out[y, g] = np.float32(0)
                for x in range(g * N_SLOTS, (g + 1) * N_SLOTS):
                    state[y, x] |= DAMAGED


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
def average_background(values: Any, level: Any, state: Any, limit: Any, most_lit: Any, means: Any) -> None:
    """Subtract `level` and write the mean of each row's and group's samples below `limit`; 0 where there are none.

    Where more than `most_lit` image samples are above it, only the overscan counts. `level` and `means` are
    ``(rows, groups)``.
    """
    none, one = np.float32(0), np.float32(1)
    for y in range(len(values)):
        line, flags, base = values[y], state[y], level[y]
        for g in range(_GROUPS):
            total, n, lit = none, none, none
            for slot in range(_FIRST + 1, _LAST):
                x = g * N_SLOTS + slot
                value = line[x] - base[g]
                line[x] = value
                good = one if flags[x] == 0 else none
                kept = good if abs(value) < limit else none
                lit += good if value >= limit else none
                total += value if kept > none else none
                n += kept
            dark = none if lit > most_lit else one
            total, n = dark * total, dark * n
            for x in (g * N_SLOTS + _FIRST, g * N_SLOTS + _LAST):
                value = line[x] - base[g]
                line[x] = value
                kept = one if (flags[x] == 0) & (abs(value) < limit) else none
                total += value if kept > none else none
                n += kept
            means[y, g] = total / max(n, one)


@_jit
def remove_tone(values: Any, state: Any, limit: Any, min_share: Any, cosine: Any, sine: Any, first: int) -> None:
    """Subtract a tone from one group's samples ``values[:, first : first + 12]``; tables ``(rows, 12)``."""
    n_rows = len(values)
    in_phase, quadrature, n = np.float32(0), np.float32(0), 0
    for y in range(n_rows):
        for slot in range(N_SLOTS):
            value = values[y, first + slot]
            if state[y, first + slot] == 0 and abs(value) < limit:
                in_phase += value * cosine[y, slot]
                quadrature += value * sine[y, slot]
                n += 1
    if n <= min_share * n_rows * N_SLOTS:
        return
    in_phase *= np.float32(2) / n
    quadrature *= np.float32(2) / n
    for y in range(n_rows):
        for slot in range(N_SLOTS):
            values[y, first + slot] -= in_phase * cosine[y, slot] + quadrature * sine[y, slot]


@_jit
def make_image(values: Any, state: Any, columns: Any, scale: Any, image: Any, lost: Any) -> None:
    """Write photons and what is lost of a single exposure; ``(rows, columns)`` float32 and uint8."""
    for y in range(len(image)):
        line, flags = values[y], state[y]
        for i in range(len(columns)):
            x = columns[i]
            lost[y, i] = flags[x]
            image[y, i] = line[x] * scale if flags[x] < DAMAGED else np.float32(0)
