"""How good a reconstruction is: Fourier ring correlation, error against a known object.

Pure NumPy on host arrays. Arrays are ``[y, x]`` as everywhere (see :mod:`bluesky_ptycho.geometry`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import MetadataError
from ..geometry import Canvas
from .registration import register

ONE_SEVENTH = 0.143
"""Fixed FRC criterion, used for two half data sets (Rosenthal and Henderson 2003)."""

LARGEST_SHIFT_PX = 0.7
"""Half data sets that start from one probe lie 0.1 to 0.2 pixels apart; what lies further apart shows another thing."""
SHIFT_UP_TO = (0.125, 0.25, 0.5, 0.5)
"""Cycles per pixel that each step goes by: where fine features are out of step they say nothing of a shift."""

SKIPPED_RINGS = 3
"""Lowest rings are too small, and too much of the window's leakage, to show a crossing."""


def scanned_box(canvas: Canvas, positions_m: ArrayLike) -> tuple[slice, slice]:
    """Return rows and columns between the outermost positions; see :meth:`Canvas.scanned_box`."""
    return canvas.scanned_box(positions_m)


def object_nrmse(
    reconstruction: NDArray[np.complexfloating[Any, Any]],
    truth: NDArray[np.complexfloating[Any, Any]],
    box: tuple[slice, slice],
    margin_px: int = 24,
) -> float:
    """Return the complex error of a reconstruction against the known object.

    It is ``min ‖truth − c · reconstruction‖ / ‖truth‖`` within `box` over a complex factor c,
    a phase ramp and a subpixel shift, which ptychography cannot determine.

    Parameters
    ----------
    reconstruction, truth : ndarray (rows, cols) complex
        On the same canvas.
    box : tuple of slice
        Region that counts (see :func:`scanned_box`).
    margin_px : int
        Pixels around the box that take part in the shift; less where the canvas ends.

    Returns
    -------
    float
        0 for equality up to the ambiguities; NaN if the reconstruction is not finite there.

    Raises
    ------
    MetadataError
        If the shapes differ or the box is smaller than 4 × 4 pixels.
    """
    if reconstruction.shape != truth.shape:
        raise MetadataError(f"truth has shape {truth.shape}; expected that of the object, {reconstruction.shape}")
    bounds = [s.indices(n)[:2] for s, n in zip(box, truth.shape, strict=True)]
    if min(high - low for low, high in bounds) < 4:
        raise MetadataError(f"box of object_nrmse is {box}; expected at least 4 x 4 pixels")
    room = min(min(low, n - high) for (low, high), n in zip(bounds, truth.shape, strict=True))
    margin = min(margin_px, room)
    outer = tuple(slice(low - margin, high + margin) for low, high in bounds)
    if not np.isfinite(reconstruction[outer]).all():
        return float("nan")
    return register(reconstruction[outer], truth[outer], margin).error


def frc(
    a: NDArray[np.complexfloating[Any, Any]],
    b: NDArray[np.complexfloating[Any, Any]],
    pixel_m: tuple[float, float],
) -> dict[str, Any]:
    """Return the Fourier ring correlation of two independent images of one object.

    The relative phase ramp and phase of the images are removed, their means subtracted and a Hann
    window applied; then their relative shift of a fraction of a pixel, which two probes leave open.
    A resolution is the half pitch 1/(2f) at the first frequency f from which the curve stays below
    the criterion; it is the half pitch of the last ring (the pixel) if the curve stays above, and
    NaN if the curve never was above.

    Parameters
    ----------
    a, b : ndarray (rows, cols) complex
        The same region of both images, for example the scanned box.
    pixel_m : tuple of float
        Pixel pitch ``(y, x)`` in m.

    Returns
    -------
    dict
        ``frequency_per_m`` and ``correlation`` (k,) float64 up to the lower Nyquist frequency,
        ``half_bit`` (k,) float64: the 1/2-bit criterion for each ring, ``half_bit_m`` and
        ``one_seventh_m``: resolutions in m.

    Raises
    ------
    MetadataError
        If the shapes differ or are smaller than 16 pixels.

    Notes
    -----
    M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005), eq. 17, with the number of pixels in a
    ring reduced by the window, which makes neighbouring Fourier pixels depend on each other.
    Complex images have no Friedel symmetry: all pixels of a ring count.
    """
    if a.shape != b.shape or min(a.shape) < 16:
        raise MetadataError(f"FRC of images of shapes {a.shape} and {b.shape}; expected equal, 16 pixels or more")
    first = a.astype(np.complex128)
    second = _without_relative_phase(first, b.astype(np.complex128))
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in a.shape))
    spectra = [np.fft.fft2((image - image.mean()) * window) for image in (first, second)]

    product = _without_relative_shift(spectra[0] * spectra[1].conj())
    fy, fx = (np.fft.fftfreq(n, p) for n, p in zip(a.shape, pixel_m, strict=True))
    ring_width = max(1 / (n * p) for n, p in zip(a.shape, pixel_m, strict=True))
    ring = np.rint(np.hypot(fy[:, None], fx[None, :]) / ring_width).astype(np.intp).ravel()
    n_rings = int(0.5 / max(pixel_m) / ring_width + 1e-6) + 1

    def ring_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(ring, values.ravel(), n_rings)[:n_rings], dtype=np.float64)

    cross = ring_sum(product.real)
    power = ring_sum(np.abs(spectra[0]) ** 2) * ring_sum(np.abs(spectra[1]) ** 2)
    correlation = np.divide(cross, np.sqrt(power), out=np.zeros(n_rings), where=power > 0)
    independent = np.sum(window**2) ** 2 / (window.size * np.sum(window**4))
    half_bit = half_bit_criterion(np.bincount(ring, minlength=n_rings)[:n_rings] * independent)
    frequency = np.arange(n_rings) * ring_width
    return {
        "frequency_per_m": frequency,
        "correlation": correlation,
        "half_bit": half_bit,
        "half_bit_m": crossing_half_pitch(frequency, correlation, half_bit),
        "one_seventh_m": crossing_half_pitch(frequency, correlation, np.full(n_rings, ONE_SEVENTH)),
    }


def half_difference(
    a: NDArray[np.complexfloating[Any, Any]], b: NDArray[np.complexfloating[Any, Any]], smooth_px: float = 3.0
) -> NDArray[np.float32]:
    """Return the local standard deviation ``(rows, cols) float32`` of the mean of two independent images.

    Half the images' difference, free of their relative phase and ramp, in the root mean square over a Gaussian of
    `smooth_px`. What both have wrong alike does not show.
    """
    from scipy import ndimage

    first = a.astype(np.complex128)
    difference = first - _without_relative_phase(first, b.astype(np.complex128))
    return np.asarray(np.sqrt(ndimage.gaussian_filter(np.abs(difference / 2) ** 2, smooth_px)), dtype=np.float32)


def _without_relative_shift(product: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the cross spectrum of two images as it is without the shift that makes their correlation largest.

    Newton's steps from no shift, the coarse features' first; where they lead too far, or nowhere, there is nothing to
    go by, and the spectrum stays as it is. Two numbers are fitted to all its pixels: noise gains nothing by it.
    """
    f = [np.fft.fftfreq(n) for n in product.shape]
    shift, moved = np.zeros(2), product
    for up_to in SHIFT_UP_TO:
        y, x = (2 * np.pi * np.where(np.abs(each) <= up_to, each, 0) for each in f)
        part = np.where((np.abs(f[0]) <= up_to)[:, None] & (np.abs(f[1]) <= up_to), moved, 0)
        real = part.real
        curvature = np.array([[y**2 @ real.sum(1), y @ real @ x], [y @ real @ x, x**2 @ real.sum(0)]])
        if np.linalg.eigvalsh(curvature)[0] <= 0:
            return product
        shift += np.linalg.solve(curvature, [y @ part.imag.sum(1), x @ part.imag.sum(0)])
        if np.abs(shift).max() > LARGEST_SHIFT_PX:
            return product
        phases = [np.exp(-2j * np.pi * s * each) for s, each in zip(shift, f, strict=True)]
        moved = product * phases[0][:, None] * phases[1]
    return moved


def half_bit_criterion(n_pixels: ArrayLike) -> NDArray[np.float64]:
    """Return the 1/2-bit criterion for rings of `n_pixels` independent Fourier pixels."""
    root = np.sqrt(np.maximum(np.asarray(n_pixels, dtype=np.float64), 1))
    return np.asarray((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root))


def crossing_half_pitch(
    frequency_per_m: NDArray[np.float64], correlation: NDArray[np.float64], criterion: NDArray[np.float64]
) -> float:
    """Return the half pitch in m at which a correlation falls below a criterion and stays there.

    "Stays" means for the next rings (3, or 4 % of all if more), after a running mean over 3 rings, so
    that a single noisy ring decides nothing.

    Returns
    -------
    float
        Half pitch of the last ring if the curve stays above; NaN if it never was above.
    """
    if len(correlation) <= SKIPPED_RINGS + 1:
        return float("nan")
    raw = correlation - criterion
    smooth = np.convolve(np.pad(raw, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    hold = max(3, round(0.04 * len(smooth)))
    risen = np.flatnonzero(smooth[SKIPPED_RINGS:] >= 0)
    if not len(risen):
        return float("nan")
    for k in range(SKIPPED_RINGS + int(risen[0]) + 1, len(smooth)):
        if (smooth[k : k + hold] < 0).all():
            # The running mean says about where, the curve itself exactly: its last descent before k + 1.
            below = next(m for m in range(min(k + 1, len(raw) - 1), 0, -1) if raw[m] < 0 <= raw[m - 1] or m == 1)
            fraction = np.clip(raw[below - 1] / (raw[below - 1] - raw[below]), 0, 1)
            return float(0.5 / np.interp(below - 1 + fraction, np.arange(len(raw)), frequency_per_m))
    return float(0.5 / frequency_per_m[-1])


def _without_relative_phase(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return `b` times the phase ramp and phase that bring it nearest to `a`.

    The ramp is the peak of the spectrum of a·b*, refined by the phases of the halves of the field:
    unlike phase steps between neighbours this holds for noisy images too.
    """
    peak = np.unravel_index(np.abs(np.fft.fft2(a * b.conj())).argmax(), a.shape)
    turned = b
    for axis, n in enumerate(a.shape):
        turned = turned * _ramp_along(axis, 2 * np.pi * float(peak[axis]) / n, n)
    for axis, n in enumerate(a.shape):
        product = np.moveaxis(a * turned.conj(), axis, 0)
        lower, upper = product[: n // 2].sum(), product[n - n // 2 :].sum()
        turned = turned * _ramp_along(axis, float(np.angle(upper * lower.conj())) / (n - n // 2), n)
    overlap = np.vdot(turned, a)
    return turned * (overlap / abs(overlap)) if overlap else turned


def _ramp_along(axis: int, slope: float, n: int) -> NDArray[np.complex128]:
    ramp = np.exp(1j * slope * np.arange(n))
    return ramp[:, None] if axis == 0 else ramp[None, :]
