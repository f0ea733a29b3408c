"""Bring a reconstruction into register with the known object.

A ptychographic object is known up to a complex factor, a phase ramp (a shift of the patterns) and a
shift (that the probe undoes). They are found by Gauss-Newton steps on the linearised model
``a ≈ c (t + i g·r t + s·∇t)`` with a ramp g (radian per pixel) and a shift s (pixels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_STEPS = 12
Complex = NDArray[np.complexfloating[Any, Any]]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Registration:
    """A reconstruction after removal of what ptychography leaves open.

    Parameters
    ----------
    aligned : ndarray (rows, cols) complex128
        Reconstruction without margin, scaled to the truth.
    error : float
        ‖truth − aligned, best scaled‖ / ‖truth‖.
    ramp : tuple of float
        Phase ramp ``(y, x)`` that was removed, radian per pixel.
    shift_px : tuple of float
        Shift ``(y, x)`` that was applied.
    """

    aligned: NDArray[np.complex128]
    error: float
    ramp: tuple[float, float]
    shift_px: tuple[float, float]


def register(reconstruction: Complex, truth: Complex, margin_px: int) -> Registration:
    """Remove complex scale, phase ramp and subpixel shift.

    Parameters
    ----------
    reconstruction, truth : ndarray (rows, cols) complex
        The same region of both.
    margin_px : int
        Border of that region that takes part in the shift but not in the error.
    """
    image, target = reconstruction.astype(np.complex128), truth.astype(np.complex128)
    height, width = image.shape
    inner = slice(margin_px, height - margin_px), slice(margin_px, width - margin_px)
    rows, cols = (np.arange(n) - (n - 1) / 2 for n in image.shape)
    wanted = target[inner].ravel()
    model = _linear_model(target, inner, rows, cols)
    normal = (model.conj().T @ model).real
    taper = _taper(image.shape, margin_px)

    ramp = np.subtract(_mean_slopes(image[inner]), _mean_slopes(target[inner]))
    shift = _coarse_shift(image * _ramp(-ramp, rows, cols), target, inner, margin_px)
    best: Registration | None = None
    for _ in range(MAX_STEPS):
        flat = image * _ramp(-ramp, rows, cols)
        level = flat[inner].mean()
        # Shifting by Fourier transform wraps around: what is shifted fades to 0 at the border.
        moved = (_shifted((flat - level) * taper, shift) + level)[inner]
        factor = np.vdot(wanted, moved) / np.vdot(wanted, wanted)
        error = _relative_error(moved.ravel(), wanted)
        if best is not None and error > best.error * (1 - 1e-7):
            break
        if factor == 0:
            return Registration(moved, 1.0, (float(ramp[0]), float(ramp[1])), (float(shift[0]), float(shift[1])))
        scaled = moved / factor
        best = Registration(scaled, error, (float(ramp[0]), float(ramp[1])), (float(shift[0]), float(shift[1])))
        step = np.linalg.lstsq(normal, (model.conj().T @ (scaled.ravel() - wanted)).real, rcond=None)[0]
        ramp, shift = ramp + step[2:4], shift + step[4:6]
    assert best is not None
    return best


def _linear_model(
    target: NDArray[np.complex128],
    inner: Box,
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Return the derivatives by scale (real, imaginary), ramp (y, x) and shift (y, x), ``(n, 6)``."""
    gradient_y, gradient_x = np.gradient(target)
    y, x = rows[:, None], cols[None, :]
    columns = (target, 1j * target, 1j * y * target, 1j * x * target, gradient_y, gradient_x)
    return np.stack([np.asarray(column)[inner].ravel() for column in columns], axis=1)


def _relative_error(image: NDArray[np.complex128], target: NDArray[np.complex128]) -> float:
    powers = float(np.vdot(image, image).real * np.vdot(target, target).real)
    if powers == 0:
        return 1.0
    return float(np.sqrt(np.maximum(0.0, 1 - np.abs(np.vdot(target, image)) ** 2 / powers)))


def _mean_slopes(image: NDArray[np.complex128]) -> tuple[float, float]:
    """Return the mean phase steps ``(y, x)`` in radian per pixel."""
    return (
        float(np.angle(np.sum(image[1:] * image[:-1].conj()))),
        float(np.angle(np.sum(image[:, 1:] * image[:, :-1].conj()))),
    )


def _ramp(slopes: NDArray[np.float64], rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(np.exp(1j * slopes[0] * rows)[:, None] * np.exp(1j * slopes[1] * cols)[None, :])


def _shifted(image: NDArray[np.complex128], shift_px: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return `image` moved by a subpixel shift ``(y, x)`` (Fourier interpolation, periodic)."""
    phases = [
        np.asarray(np.exp(-2j * np.pi * s * np.asarray(np.fft.fftfreq(n))))
        for n, s in zip(image.shape, shift_px, strict=True)
    ]
    return np.asarray(np.fft.ifft2(np.fft.fft2(image) * phases[0][:, None] * phases[1][None, :]))


def _coarse_shift(
    image: NDArray[np.complex128], target: NDArray[np.complex128], inner: Box, margin_px: int
) -> NDArray[np.float64]:
    """Return the whole-pixel shift at the peak of the cross-correlation; 0 if it is beyond the margin."""
    window = np.outer(*(np.hanning(n) for n in image.shape))
    wanted, found = (np.fft.fft2(window * (x - np.mean(x[inner]))) for x in (target, image))
    correlation = np.abs(np.fft.ifft2(wanted * found.conj()))
    peak = np.array(np.unravel_index(correlation.argmax(), correlation.shape), dtype=np.float64)
    size = np.array(correlation.shape)
    peak = (peak + size // 2) % size - size // 2
    return peak if np.abs(peak).max() < margin_px - 4 else np.zeros(2)


def _taper(shape: tuple[int, ...], margin_px: int) -> NDArray[np.float64]:
    """Return a window that is 1 but for raised cosines over half the margin at the borders."""
    width = margin_px // 2
    profiles = []
    for n in shape:
        profile = np.ones(n)
        if width:
            profile[:width] = 0.5 - 0.5 * np.cos(np.pi * np.arange(width) / width)
            profile[-width:] = profile[:width][::-1]
        profiles.append(profile)
    return np.outer(*profiles)
