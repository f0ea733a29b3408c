"""What is done to arrays so that eyes can read them; nothing here draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.colors import AsinhNorm, hsv_to_rgb
from numpy.typing import NDArray

from ..frames import Snapshot
from ..geometry import Canvas

MARGIN = 0.06
"""Fraction of the scanned region that is shown around it."""
PERCENTILES = (0.5, 99.5)
"""Of the scanned region, for the limits of grey values: a few hot pixels decide nothing."""
DARK = 0.02
"""Pixels with less than this part of the usual light are left empty: nothing was measured there."""
PROBE_POWER = 0.97
"""The probe is shown where this fraction of its power lies."""
LEAST_ABSOLUTE_STEPS = 15
LEAST_DEVIATION = 0.02
"""Radian; smaller deviations from the phase plane weigh no more than this one."""
LEAST_GAP = 0.25
"""Radian that no pixel at all may take, for a branch cut in the middle."""

Box = tuple[slice, slice]
Complex = NDArray[np.complexfloating[Any, Any]]
_UNITS = ((1e-3, "mm"), (1e-6, "µm"), (1e-9, "nm"))


def scanned_box(snapshot: Snapshot) -> Box:
    """Return rows and columns of the scanned region; the whole canvas if nothing was scanned."""
    if not len(snapshot.positions_m):
        rows, cols = snapshot.canvas.shape
        return slice(0, rows), slice(0, cols)
    return snapshot.canvas.scanned_box(snapshot.positions_m)


def shown_box(snapshot: Snapshot) -> Box:
    """Return the scanned region with a margin."""
    return with_margin(scanned_box(snapshot), snapshot.canvas.shape)


def hull(positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners ``(k, 2)`` of the convex hull of positions, in order; of few or aligned ones, themselves."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return np.asarray(positions_m[ConvexHull(positions_m).vertices])
    except (QhullError, ValueError):
        order = np.lexsort(positions_m.T[::-1])
        return np.asarray(positions_m[order])


def with_margin(box: Box, shape: tuple[int, int]) -> Box:
    """Return `box` with a margin, wide enough that a line scan still makes an image, within an image of `shape`."""
    extent = max(s.stop - s.start for s in box)
    low, high = [], []
    for s, n in zip(box, shape, strict=True):
        around = max(MARGIN * extent, (0.3 * extent - (s.stop - s.start)) / 2, 8)
        low.append(max(0, math.floor(s.start - around)))
        high.append(min(n, math.ceil(s.stop + around)))
    return slice(low[0], high[0]), slice(low[1], high[1])


def extent_um(canvas: Canvas, box: Box) -> tuple[float, float, float, float]:
    """Return ``(left, right, bottom, top)`` of a box in µm of the stage, as ``imshow`` takes it."""
    y, x = canvas.coordinates_m()
    half_y, half_x = (p / 2 for p in canvas.pixel_m)
    rows, cols = box
    edges = (x[cols][0] - half_x, x[cols][-1] + half_x, y[rows][0] - half_y, y[rows][-1] + half_y)
    return edges[0] * 1e6, edges[1] * 1e6, edges[2] * 1e6, edges[3] * 1e6


def usual_light(coverage: NDArray[np.floating[Any]]) -> float:
    """Return the median of the light on pixels that have some; 0 without light."""
    light = np.nan_to_num(coverage)
    lit = light[light > DARK * light.max()] if light.max() > 0 else light[:0]
    return float(np.median(lit)) if lit.size else 0.0


def lit_pixels(coverage: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return where enough light has been for the object to be known."""
    return np.asarray(np.nan_to_num(coverage) > DARK * usual_light(coverage))


def without_phase_ramp(image: Complex, box: Box) -> NDArray[np.complex128]:
    """Return an object without the phase plane that prevails in `box`.

    The plane has the least sum of absolute deviations: a region without sample, if there is a large
    one, becomes flat and 0.
    """
    flat = np.nan_to_num(image.astype(np.complex128))
    rows, cols = flat.shape
    for axis in (0, 1):
        inside = np.moveaxis(flat[box], axis, 0)
        slope = float(np.angle(np.sum(inside[1:] * inside[:-1].conj())))
        flat *= _plane(flat.shape, -slope if axis == 0 else 0.0, -slope if axis == 1 else 0.0, 0.0)
    flat *= np.exp(-1j * np.angle(flat[box].sum()))
    stride = max(1, math.isqrt(flat[box].size // 10_000))
    y, x = (g.ravel() for g in np.mgrid[:rows, :cols][:, box[0], box[1]][:, ::stride, ::stride])
    phase = np.angle(flat[box][::stride, ::stride]).ravel()
    design = np.stack([y, x, np.ones_like(y)], axis=1).astype(np.float64)
    fit: NDArray[Any] = np.zeros(3)
    for _ in range(LEAST_ABSOLUTE_STEPS):
        weight = 1 / np.maximum(np.abs(phase - design @ fit), LEAST_DEVIATION)
        fit = np.linalg.lstsq(design.T @ (design * weight[:, None]), design.T @ (phase * weight), rcond=None)[0]
    return np.asarray(flat * _plane(flat.shape, -fit[0], -fit[1], -fit[2]))


def _plane(shape: tuple[int, ...], slope_y: float, slope_x: float, offset: float) -> NDArray[np.complex128]:
    """Return exp(i · plane) with slopes in radian per pixel."""
    y, x = (np.arange(n) for n in shape)
    return np.asarray(np.exp(1j * (slope_y * y[:, None] + slope_x * x[None, :] + offset)))


def limits(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return the range of grey values that shows `values`; never empty."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, PERCENTILES))
    if high - low < 1e-6 * max(1.0, abs(high)):
        return low - 0.5, high + 0.5
    return low, high


def camera_norm(values: NDArray[np.floating[Any]]) -> AsinhNorm:
    """Return grey values for a camera's frame: even over its noise, and with room for what is bright."""
    if not values.size:
        return AsinhNorm(linear_width=1.0, vmin=0.0, vmax=1.0)
    low, high = (float(v) for v in np.percentile(values, (1, 99.9)))
    noise = max(float(np.median(np.abs(values - np.median(values)))), 1e-3 * (high - low), 1e-12)
    return AsinhNorm(linear_width=3 * noise, vmin=low, vmax=max(high, low + noise))


def round_ticks(norm: AsinhNorm, least: float = 0.06) -> list[float]:
    """Return round numbers to label the grey values of `norm` with, `least` of the scale or more apart."""
    low, high = (float(value) for value in norm.inverse(np.array([0.0, 1.0])))
    largest = max(abs(low), abs(high))
    powers = 10.0 ** np.arange(math.floor(math.log10(largest)), math.floor(math.log10(norm.linear_width)) - 2, -1)
    candidates = [0.0, *(sign * factor * power for factor in (1, 5, 2) for power in powers for sign in (1, -1))]
    places: dict[float, float] = {}
    for value in candidates:
        place = float(norm(value))
        if low <= value <= high and all(abs(place - other) >= least for other in places.values()):
            places[value] = place
    if len(places) < 4:  # a narrow range far from 0 has no round ones
        return [float(value) for value in norm.inverse(np.linspace(0, 1, 6))]
    return sorted(places)


def phase_arc(image: Complex) -> tuple[float, float]:
    """Return where on the circle the phases of an image begin and how far they reach, in radian.

    The beginning lies in the middle of the longest run of directions that no phase takes: a branch
    cut there tears nothing apart. The reach, without weak pixels, is from 0 to 2π.
    """
    strong = np.abs(image) > 0.2 * np.median(np.abs(image))
    phases = np.angle(image[strong])
    counts, _ = np.histogram(phases, bins=64, range=(-math.pi, math.pi))
    if phases.size < 2:
        return -math.pi, 0.0
    cut, gap = _widest_gap(counts > 2e-4 * phases.size)
    # The thickest spots are few pixels, and weak: they stay with the others, unless noise fills the whole circle.
    clean_cut, clean_gap = _widest_gap(np.histogram(np.angle(image), bins=64, range=(-math.pi, math.pi))[0] > 0)
    return clean_cut if clean_gap > LEAST_GAP else cut, 2 * math.pi - gap


def _widest_gap(taken: NDArray[np.bool_]) -> tuple[float, float]:
    """Return middle and width, in radian, of the longest run of bins from -π to π that are not taken."""
    n = len(taken)
    bins = np.flatnonzero(taken)
    gaps = np.diff(bins, append=bins[0] + n) - 1
    widest = int(np.argmax(gaps))
    middle = bins[widest] + 1 + gaps[widest] / 2
    return float(middle / n * 2 * math.pi - math.pi), float(gaps[widest] / n * 2 * math.pi)


def phase_from(image: Complex, beginning: float) -> NDArray[np.float64]:
    """Return the phases of an image with the branch cut at `beginning`; most of them lie between -π and π."""
    phase = (np.angle(np.nan_to_num(image)) - beginning) % (2 * math.pi) + beginning
    return np.asarray(phase - 2 * math.pi * np.round(np.median(phase) / (2 * math.pi)))


def side_by_side(part: NDArray[Any]) -> NDArray[Any]:
    """Return the exposures ``(K, rows, cols)`` of a scan point next to each other; an image as it is."""
    return part if part.ndim == 2 else np.concatenate(list(part), axis=1)


def averaged(values: NDArray[Any], valid: NDArray[np.bool_], factor: int) -> NDArray[np.float64]:
    """Return the mean valid value of squares of `factor` pixels; NaN where there is none."""
    known = valid & np.isfinite(values)
    total, count = (blocks(part, factor).sum(axis=(1, 3)) for part in (np.where(known, values, 0.0), known))
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def blocks(part: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return an image as squares ``(rows / factor, factor, cols / factor, factor)``, filled up with 0."""
    rows, columns = (math.ceil(n / factor) for n in part.shape)
    padded = np.zeros((rows * factor, columns * factor), dtype=part.dtype)
    padded[: part.shape[0], : part.shape[1]] = part
    return padded.reshape(rows, factor, columns, factor)


def complex_to_rgb(image: Complex) -> NDArray[np.float64]:
    """Return an image ``(rows, cols, 3)`` with the phase as hue and the amplitude as brightness."""
    amplitude = np.abs(np.nan_to_num(image))
    top = float(amplitude.max()) or 1.0
    hue = (np.angle(np.nan_to_num(image)) / (2 * math.pi)) % 1.0
    saturation = np.full_like(hue, 0.85)
    # Brightness by the square root: the weak rings of a probe are as telling as its core.
    return np.asarray(hsv_to_rgb(np.stack([hue, saturation, np.sqrt(amplitude / top)], axis=-1)))


def power_box(intensity: NDArray[np.floating[Any]]) -> Box:
    """Return the square about the centre of mass, 1.5 times as wide as holds :data:`PROBE_POWER`."""
    total = float(intensity.sum())
    rows, cols = intensity.shape
    if not total > 0:
        return slice(0, rows), slice(0, cols)
    y, x = (np.arange(n) for n in intensity.shape)
    centre = float(intensity.sum(axis=1) @ y) / total, float(intensity.sum(axis=0) @ x) / total
    distance = np.maximum(np.abs(y - centre[0])[:, None], np.abs(x - centre[1])[None, :])
    order = np.argsort(distance, axis=None)
    held = np.cumsum(intensity.ravel()[order])
    half = 1.5 * float(distance.ravel()[order][np.searchsorted(held, PROBE_POWER * total)])
    half = max(4.0, min(half, max(rows, cols)))
    low = [max(0, math.floor(c - half)) for c in centre]
    high = [min(n, math.ceil(c + half) + 1) for c, n in zip(centre, intensity.shape, strict=True)]
    return slice(low[0], high[0]), slice(low[1], high[1])


def length_text(metres: float) -> str:
    """Return a length with three digits and a fitting unit: "500 nm", "1.25 µm"."""
    for scale, unit in _UNITS:
        if abs(metres) >= 0.9995 * scale:
            return f"{metres / scale:.3g} {unit}"
    return f"{metres / 1e-9:.3g} nm"


def half_pitch_text(half_pitch_m: float) -> str:
    """Return the resolution that was reached, in words; NaN is "not resolved"."""
    return length_text(half_pitch_m) if math.isfinite(half_pitch_m) else "not resolved"


def round_length(metres: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not longer than `metres`."""
    power = 10.0 ** math.floor(math.log10(metres))
    return max(factor for factor in (1, 2, 5) if factor * power <= metres * (1 + 1e-9)) * power
