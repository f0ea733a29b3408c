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
def blend(probes: Any, image: Any, r: int, c: int, stored: Any, of_product: float, of_stored: float, out: Any) -> None:
    """Write ``of_product`` probe times object window plus ``of_stored * stored``; all waves (m, ny, nx)."""
    modes, ny, nx = probes.shape
    a, b = np.float32(of_product), np.float32(of_stored)
    for m in range(modes):
        for y in range(ny):
            window = image[r + y, c : c + nx]
            for x in range(nx):
                out[m, y, x] = a * probes[m, y, x] * window[x] + b * stored[m, y, x]


@_jit
def relay(probes: Any, image: Any, r: int, c: int, stored: Any, keep: Any, give: Any, waves: Any) -> None:
    """Replace `stored` and `waves` (m, ny, nx) by `reference.relay`'s combinations; `keep`, `give` (3,) float32."""
    modes, ny, nx = probes.shape
    k0, k1, k2, g0, g1, g2 = keep[0], keep[1], keep[2], give[0], give[1], give[2]
    for m in range(modes):
        for y in range(ny):
            window = image[r + y, c : c + nx]
            for x in range(nx):
                product, s, w = probes[m, y, x] * window[x], stored[m, y, x], waves[m, y, x]
                stored[m, y, x] = k0 * s + k1 * w + k2 * product
                waves[m, y, x] = g0 * s + g1 * w + g2 * product


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
    add: bool,
) -> None:
    """Add a frame's object gradient and weights to the sums; write its probe gradients into `out`, or `add` them.

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
            if not add:
                q[:] = 0
            for x in range(nx):
                pr, pi, a, b = p[2 * x], p[2 * x + 1], o[2 * x], o[2 * x + 1]
                change_r = w[2 * x] - (pr * a - pi * b)
                change_i = w[2 * x + 1] - (pr * b + pi * a)
                g[2 * x] += pr * change_r + pi * change_i
                g[2 * x + 1] += pr * change_i - pi * change_r
                q[2 * x] += a * change_r + b * change_i
                q[2 * x + 1] += a * change_i - b * change_r
                light[x] += pr * pr + pi * pi
        t = transmission[y]
        for x in range(nx):
            t[x] += o[2 * x] * o[2 * x] + o[2 * x + 1] * o[2 * x + 1]


@_jit
def add_lanes(gradient: Any, weight: Any, first: int, last: int) -> float:
    """Add rows `first` to `last` of all lanes up into the first lane, the others become 0; return the largest weight.

    `gradient` (lanes, m, rows, cols), `weight` (lanes, rows, cols).
    """
    lanes, modes, _, cols = gradient.shape
    peak = np.float32(0)
    for y in range(first, last):
        total = weight[0, y]
        for lane in range(1, lanes):
            other = weight[lane, y]
            for x in range(cols):
                total[x] += other[x]
                other[x] = 0
            for m in range(modes):
                g, other_g = gradient[0, m, y], gradient[lane, m, y]
                for x in range(cols):
                    g[x] += other_g[x]
                    other_g[x] = 0
        for x in range(cols):
            peak = max(peak, total[x])
    return float(peak)


@_jit
def direction(
    gradient: Any, weight: Any, regularisation: float, peak: float, out: Any, first: int, last: int
) -> tuple[float, float]:
    """Write rows `first` to `last` of `reference.direction` into `out` (m, rows, cols); return slope and curvature.

    `gradient` (m, rows, cols); `weight` (rows, cols), whose largest value is `peak`.
    """
    modes, _, cols = gradient.shape
    keep, floor = np.float32(1 - regularisation), np.float32(regularisation * peak + 1e-9)
    one, slope, curvature = np.float32(1), 0.0, 0.0
    for m in range(modes):
        for y in range(first, last):
            g, d, total = gradient[m, y], out[m, y], weight[y]
            along, bend = np.float32(0), np.float32(0)
            for x in range(cols):
                d[x] = g[x] * (one / (keep * total[x] + floor))
                along += g[x].real * d[x].real + g[x].imag * d[x].imag
                bend += total[x] * (d[x].real * d[x].real + d[x].imag * d[x].imag)
            slope += float(along)
            curvature += float(bend)
    return slope, curvature


@_jit
def advance(target: Any, velocity: Any, found: Any, step: float, momentum: float, first: int, last: int) -> None:
    """Do `reference.advance` in place to rows `first` to `last`; all (m, rows, cols)."""
    modes, _, cols = target.shape
    size, mu = np.float32(step), np.float32(momentum)
    for m in range(modes):
        for y in range(first, last):
            t, v, d = target[m, y], velocity[m, y], found[m, y]
            for x in range(cols):
                wish = d[x] * size
                v[x] = v[x] * mu + wish
                t[x] += v[x] * mu + wish


@_jit
def couple(probes: Any, probe_changes: Any, image: Any, change: Any, r: int, c: int) -> float:
    """Return Re sum conj(dO P) (O dP) of one frame: how much the object's and the probe's change do the same.

    `probes`, `probe_changes` (m, ny, nx); `image`, `change` the whole object and its change.
    """
    modes, ny, nx = probes.shape
    total = 0.0
    for m in range(modes):
        for y in range(ny):
            o, d = image[r + y, c : c + nx], change[r + y, c : c + nx]
            row = np.float32(0)
            for x in range(nx):
                a, b = d[x] * probes[m, y, x], o[x] * probe_changes[m, y, x]
                row += a.real * b.real + a.imag * b.imag
            total += float(row)
    return total


@_jit
def shift_sums(probes: Any, image: Any, r: int, c: int, waves: Any, out: Any) -> None:
    """Write what changed exit waves ask of a frame's position into `out` (4,): see `reference.shift_sums`."""
    modes, ny, nx = probes.shape
    rows, cols = image.shape
    first, last = max(c - 1, 0), min(c + 1, cols - nx)
    half = np.float32(0.5)
    sums = (0.0, 0.0, 0.0, 0.0)
    for m in range(modes):
        for y in range(ny):
            o = image[r + y, c : c + nx]
            left, right = image[r + y, first : first + nx], image[r + y, last : last + nx]
            below, above = image[max(r + y - 1, 0), c : c + nx], image[min(r + y + 1, rows - 1), c : c + nx]
            s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for x in range(nx):
                p = probes[m, y, x]
                change = waves[m, y, x] - p * o[x]
                dy, dx = p * (above[x] - below[x]) * half, p * (right[x] - left[x]) * half
                s0 += dy.real * change.real + dy.imag * change.imag
                s1 += dy.real * dy.real + dy.imag * dy.imag
                s2 += dx.real * change.real + dx.imag * change.imag
                s3 += dx.real * dx.real + dx.imag * dx.imag
            sums = (sums[0] + float(s0), sums[1] + float(s1), sums[2] + float(s2), sums[3] + float(s3))
    out[0], out[1], out[2], out[3] = sums
