"""Fused CPU kernels: one frame each, no interpreter lock, the same names as in `reference`.

Importing this module imports numba (about half a second) and compiles nothing; compiled code is
made by the solver's ``warm_up``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import kernel

_jit = kernel(fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")


@_jit
def shift_probe(padded: Any, taps: Any, row: Any, out: Any, add: bool) -> None:
    """Filter `padded` into `out`, seen as float32 pairs; with `add` on top of what is there.

    `padded` (m, ny + 7, 2 * (nx + 7)) has the N_TAPS - 1 extra rows and columns around it that the
    first tap asks for; `taps` (2, 8); `row` (2 * (nx + 7),) is scratch; `out` (m, ny, 2 * nx).
    """
    modes, ny, width = out.shape
    y0, y1, y2, y3, y4, y5, y6, y7 = (
        taps[0, 0], taps[0, 1], taps[0, 2], taps[0, 3], taps[0, 4], taps[0, 5], taps[0, 6], taps[0, 7],
    )  # fmt: skip
    x0, x1, x2, x3, x4, x5, x6, x7 = (
        taps[1, 0], taps[1, 1], taps[1, 2], taps[1, 3], taps[1, 4], taps[1, 5], taps[1, 6], taps[1, 7],
    )  # fmt: skip
    for m in range(modes):
        for y in range(ny):
            a = padded[m, y : y + 8]
            for x in range(width + 14):
                row[x] = (
                    y0 * a[7, x] + y1 * a[6, x] + y2 * a[5, x] + y3 * a[4, x]
                    + y4 * a[3, x] + y5 * a[2, x] + y6 * a[1, x] + y7 * a[0, x]
                )  # fmt: skip
            o = out[m, y]
            if not add:
                o[:] = 0
            for x in range(width):
                o[x] += (
                    x0 * row[x + 14] + x1 * row[x + 12] + x2 * row[x + 10] + x3 * row[x + 8]
                    + x4 * row[x + 6] + x5 * row[x + 4] + x6 * row[x + 2] + x7 * row[x]
                )  # fmt: skip


@_jit
def exit_waves(probes: Any, image: Any, r: int, c: int, out: Any) -> None:
    """Write probe times object window; `probes`, `out` (m, ny, nx), `image` the whole object."""
    modes, ny, nx = probes.shape
    for m in range(modes):
        for y in range(ny):
            window = image[r + y, c : c + nx]
            for x in range(nx):
                out[m, y, x] = probes[m, y, x] * window[x]


@_jit
def project_modulus(far: Any, amplitude: Any, row: Any) -> float:
    """Scale `far` (m, ny, nx) in place to `amplitude` (ny, nx); `row` (nx,) float32 is scratch; return the error."""
    modes, ny, nx = far.shape
    inverse_pixels = np.float32(1.0 / (ny * nx))
    scale = np.sqrt(inverse_pixels)
    zero, one, tiny = np.float32(0), np.float32(1), np.float32(1e-9)
    total = 0.0
    for y in range(ny):
        for x in range(nx):
            wave = far[0, y, x]
            row[x] = wave.real * wave.real + wave.imag * wave.imag
        for m in range(1, modes):
            for x in range(nx):
                wave = far[m, y, x]
                row[x] += wave.real * wave.real + wave.imag * wave.imag
        error = zero
        for x in range(nx):
            modulus = np.sqrt(row[x]) * scale
            wanted = amplitude[y, x]
            valid = wanted >= zero
            difference = wanted - modulus if valid else zero
            error += difference * difference
            row[x] = (wanted / (modulus + tiny) if valid else one) * inverse_pixels
        total += float(error)
        for m in range(modes):
            for x in range(nx):
                far[m, y, x] *= row[x]
    return total


@_jit
def pie_gradients(
    probes: Any,
    image: Any,
    r: int,
    c: int,
    waves: Any,
    gradient: Any,
    illumination: Any,
    transmission: Any,
    out: Any,
    first: int,
) -> None:
    """Add a frame's object gradient and weights to the sums; write its probe gradients into `out`.

    Complex arrays are seen as float32 pairs, which compiles to twice as fast a loop here: `probes`,
    `waves` (m, ny, 2 nx); `image`, `gradient` (rows, 2 cols); `illumination` (rows, cols);
    `transmission` (ny, nx). `out` is larger than a probe where a filter follows; `first` is the row
    and column at which the gradients begin.
    """
    modes, ny, width = probes.shape
    nx = width // 2
    for y in range(ny):
        o = image[r + y, 2 * c : 2 * c + width]
        g = gradient[r + y, 2 * c : 2 * c + width]
        light = illumination[r + y, c : c + nx]
        for m in range(modes):
            p = probes[m, y]
            w = waves[m, y]
            q = out[m, first + y, 2 * first : 2 * first + width]
            for x in range(nx):
                pr, pi, a, b = p[2 * x], p[2 * x + 1], o[2 * x], o[2 * x + 1]
                change_r = w[2 * x] - (pr * a - pi * b)
                change_i = w[2 * x + 1] - (pr * b + pi * a)
                g[2 * x] += pr * change_r + pi * change_i
                g[2 * x + 1] += pr * change_i - pi * change_r
                q[2 * x] = a * change_r + b * change_i
                q[2 * x + 1] = a * change_i - b * change_r
                light[x] += pr * pr + pi * pi
        t = transmission[y]
        for x in range(nx):
            t[x] += o[2 * x] * o[2 * x] + o[2 * x + 1] * o[2 * x + 1]


@_jit
def weighted_step(
    target: Any, velocity: Any, gradient: Any, weight: Any, step: float, regularisation: float, momentum: float
) -> None:
    """Step `target` and `velocity` (m, rows, cols) in place.

    `gradient` (lanes, m, rows, cols) and `weight` (lanes, rows, cols) are added up over the lanes
    and cleared.
    """
    lanes, modes, rows, cols = gradient.shape
    peak = np.float32(0)
    for y in range(rows):
        total = weight[0, y]
        for lane in range(1, lanes):
            other = weight[lane, y]
            for x in range(cols):
                total[x] += other[x]
                other[x] = 0
        for x in range(cols):
            peak = max(peak, total[x])
    keep = np.float32(1 - regularisation)
    floor = np.float32(regularisation * peak + 1e-9)
    size, mu = np.float32(step), np.float32(momentum)
    for y in range(rows):
        total = weight[0, y]
        for x in range(cols):
            total[x] = size / (keep * total[x] + floor)
        for m in range(modes):
            t, v, g = target[m, y], velocity[m, y], gradient[0, m, y]
            for lane in range(1, lanes):
                other_g = gradient[lane, m, y]
                for x in range(cols):
                    g[x] += other_g[x]
                    other_g[x] = 0
            for x in range(cols):
                wish = g[x] * total[x]
                v[x] = v[x] * mu + wish
                t[x] += v[x] * mu + wish
                g[x] = 0
        for x in range(cols):
            total[x] = 0
