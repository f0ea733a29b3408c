"""The error of a reconstruction of a workload, and its FRC with the truth.

Independent of the package's own metrics, so that figures of different programs compare.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

STEPS = 8


@dataclass(frozen=True)
class Fit:
    """Ramp ``(y, x)`` in radian per pixel, shift ``(y, x)`` in pixels, and the error they leave."""

    ramp: tuple[float, float]
    shift: tuple[float, float]
    error: float = float("inf")
    aligned: np.ndarray | None = None


def evaluate(
    reconstruction: np.ndarray,
    truth: np.ndarray,
    positions: np.ndarray,
    window: int,
    *,
    origin: tuple[int, int] = (0, 0),
    margin: int = 24,
) -> dict[str, Any]:
    """Compare a reconstruction with the truth in the bounding box of the probe centres.

    Parameters
    ----------
    reconstruction : ndarray (rows, cols) complex
        ``reconstruction[r - origin[0], c - origin[1]]`` corresponds to ``truth[r, c]``.
    truth : ndarray (rows, cols) complex
        Known object.
    positions : ndarray (n, 2) int
        Row and column of each window's first pixel on `truth`.
    window : int
        Size of the window.
    margin : int
        Pixels around the box that take part in the shift.

    Returns
    -------
    dict
        ``err``: min ‖T − cR‖ / ‖T‖ over complex scale, phase ramp and subpixel shift; ``frc50``: frequency, as a
        fraction of Nyquist, where the FRC with the truth falls below 0.5; ``ramp`` and ``shift`` that were removed.
    """
    low, high = positions.min(0) + window // 2 - margin, positions.max(0) + window // 2 + margin
    target = truth[low[0] : high[0], low[1] : high[1]]
    low, high = low - np.array(origin), high - np.array(origin)
    image = np.asarray(reconstruction)[low[0] : high[0], low[1] : high[1]]
    if not np.isfinite(image).all():
        return {"err": float("nan"), "frc50": 0.0}
    fit = register(image, target, margin)
    curve = ring_correlation(fit.aligned, target[margin:-margin, margin:-margin])
    below = np.flatnonzero(curve[3:] < 0.5)
    crossing = below[0] + 3 if len(below) else len(curve) - 1
    return {"err": fit.error, "frc50": float(crossing / (len(curve) - 1)), "ramp": fit.ramp, "shift": fit.shift}


def register(image: np.ndarray, target: np.ndarray, margin: int) -> Fit:
    """Find ramp and shift by repeated linear least squares; return the best of the steps."""
    image, target = image.astype(complex), target.astype(complex)
    inner = np.s_[margin:-margin, margin:-margin]
    y, x = (grid - grid.mean() for grid in np.mgrid[: image.shape[0], : image.shape[1]].astype(float))
    wanted = target[inner].ravel()
    basis = [target, 1j * y * target, 1j * x * target, *np.gradient(target)]
    basis = np.stack([b[inner].ravel() for b in basis], 1)
    fade = np.outer(*(_fade(n, margin // 2) for n in image.shape))

    slopes = [_slopes(a[inner]) for a in (image, target)]
    fit = Fit((slopes[0][0] - slopes[1][0], slopes[0][1] - slopes[1][1]), (0.0, 0.0))
    flat = image * np.exp(-1j * (fit.ramp[0] * y + fit.ramp[1] * x))
    fit = replace(fit, shift=_whole_pixel_shift(flat, target, inner, margin))
    best = fit
    for _ in range(STEPS):
        flat = image * np.exp(-1j * (fit.ramp[0] * y + fit.ramp[1] * x))
        mean = flat[inner].mean()
        moved = (_moved((flat - mean) * fade, fit.shift) + mean)[inner]
        overlap, power = np.vdot(wanted, moved), np.vdot(wanted, wanted).real
        error = float(np.sqrt(max(0, 1 - abs(overlap) ** 2 / (power * np.vdot(moved, moved).real))))
        if error < best.error:
            best = replace(fit, error=error, aligned=moved / (overlap / power))
        weights = np.linalg.solve(basis.conj().T @ basis, basis.conj().T @ moved.ravel())
        change = (weights / weights[0]).real
        fit = Fit(
            (fit.ramp[0] + change[1], fit.ramp[1] + change[2]), (fit.shift[0] + change[3], fit.shift[1] + change[4])
        )
    return best


def ring_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Fourier ring correlation of the largest even square of two images, Hann windowed."""
    n = min(a.shape)
    n -= n % 2
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
    spectra = [np.fft.fftshift(np.fft.fft2((i - i.mean()) * np.outer(hann, hann))) for i in (a[:n, :n], b[:n, :n])]
    y, x = np.mgrid[:n, :n] - n // 2
    ring = np.round(np.hypot(y, x)).astype(int).ravel()
    cross, *powers = (
        np.bincount(ring, v.ravel(), n)[: n // 2 + 1]
        for v in ((spectra[0] * spectra[1].conj()).real, *(abs(s) ** 2 for s in spectra))
    )
    return cross / np.sqrt(powers[0] * powers[1] + 1e-30)


def _slopes(a: np.ndarray) -> tuple[float, float]:
    return float(np.angle((a[1:] * a[:-1].conj()).sum())), float(np.angle((a[:, 1:] * a[:, :-1].conj()).sum()))


def _moved(a: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    ky, kx = np.fft.fftfreq(a.shape[0])[:, None], np.fft.fftfreq(a.shape[1])[None]
    return np.fft.ifft2(np.fft.fft2(a) * np.exp(-2j * np.pi * (ky * shift[0] + kx * shift[1])))


def _fade(n: int, width: int) -> np.ndarray:
    profile = np.ones(n)
    profile[:width] = 0.5 - 0.5 * np.cos(np.pi * np.arange(width) / width)
    profile[-width:] = profile[:width][::-1]
    return profile


def _whole_pixel_shift(image: np.ndarray, target: np.ndarray, inner: Any, margin: int) -> tuple[float, float]:
    window = np.outer(*(np.hanning(n) for n in image.shape))
    spectra = [np.fft.fft2(window * (a - a[inner].mean())) for a in (target, image)]
    peak = np.unravel_index(abs(np.fft.ifft2(spectra[0] * spectra[1].conj())).argmax(), image.shape)
    shift = [(p + n // 2) % n - n // 2 for p, n in zip(peak, image.shape, strict=True)]
    return (float(shift[0]), float(shift[1])) if max(map(abs, shift)) < margin - 4 else (0.0, 0.0)
