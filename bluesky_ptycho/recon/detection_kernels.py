"""Fused CPU kernels at the detector: waves meet measured patterns. See :mod:`bluesky_ptycho.recon.kernels`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import kernel

ROOT_UNIT = np.float32(1 / 255)
"""Weight of one count."""

_jit = kernel(fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")


@_jit
def intensity_of(far: Any, y: int, row: Any) -> None:
    """Write the sum over modes of ``|far[:, y]|**2`` into `row` (nx,)."""
    modes, _, nx = far.shape
    for x in range(nx):
        wave = far[0, y, x]
        row[x] = wave.real * wave.real + wave.imag * wave.imag
    for m in range(1, modes):
        for x in range(nx):
            wave = far[m, y, x]
            row[x] += wave.real * wave.real + wave.imag * wave.imag


@_jit
def project_modulus(far: Any, counts: Any, unit: float, scale: float, back: float, row: Any) -> float:
    """Scale `far` (m, ny, nx) in place to the amplitude ``counts * unit`` (ny, nx); return the error.

    The plain case of `reference.project_modulus`; `row` (nx,) float32 is scratch.
    """
    modes, ny, nx = far.shape
    zero, one, tiny = np.float32(0), np.float32(1), np.float32(1e-9)
    size, normal, way_back = np.float32(unit), np.float32(scale), np.float32(back)
    total = 0.0
    for y in range(ny):
        intensity_of(far, y, row)
        error = zero
        for x in range(nx):
            modulus = np.sqrt(row[x]) * normal
            wanted = np.float32(counts[y, x]) * size
            valid = counts[y, x] != 65535
            difference = wanted - modulus if valid else zero
            error += difference * difference
            row[x] = (wanted / (modulus + tiny) if valid else one) * way_back
        total += float(error)
        for m in range(modes):
            for x in range(nx):
                far[m, y, x] *= row[x]
    return total


@_jit
def expect(
    far: Any, y: int, counts: Any, weights: Any, background: Any, dim: Any, normal: Any, intensity: Any, weight: Any
) -> None:
    """Write the model's photons and the pixels' weights of row `y` into `intensity` and `weight` (nx,)."""
    zero, one, nx = np.float32(0), np.float32(1), far.shape[2]
    intensity_of(far, y, intensity)
    for x in range(nx):
        intensity[x] *= normal * normal
        weight[x] = one if counts[y, x] != 65535 else zero
    if weights.shape[0]:
        for x in range(nx):
            weight[x] *= (np.float32(weights[y, x]) * ROOT_UNIT) ** 2
    if background.shape[0]:
        for x in range(nx):
            intensity[x] += background[y, x] * dim


@_jit
def add_excess(counts: Any, size: Any, poisson: bool, dim: Any, intensity: Any, weight: Any, excess: Any) -> None:
    """Add `reference.excess` of a row to `excess` (2, nx)."""
    one, half, quarter, tiny = np.float32(1), np.float32(0.5), np.float32(0.25), np.float32(1e-9)
    for x in range(len(counts)):
        wanted, inverse = np.float32(counts[x]) * size, one / max(intensity[x], quarter)
        by_photons = half * (wanted * wanted - intensity[x]) * inverse
        by_moduli = wanted / (np.sqrt(intensity[x]) + tiny) - one
        excess[0, x] += weight[x] * dim * (by_photons if poisson else by_moduli)
        excess[1, x] += weight[x] * dim * dim * half * inverse


@_jit
def wish(counts: Any, size: Any, poisson: bool, intensity: Any) -> None:
    """Replace the photons `intensity` of a row by the factor that the data ask of its waves."""
    one, half, floor, tiny = np.float32(1), np.float32(0.5), np.float32(0.01), np.float32(1e-9)
    if poisson:
        for x in range(len(counts)):
            wanted, i = np.float32(counts[x]) * size, intensity[x]
            most = max(one, (wanted + wanted) / (np.sqrt(i) + tiny))
            intensity[x] = min(one + half * (wanted * wanted - i) / (i + floor), most)
    else:
        for x in range(len(counts)):
            intensity[x] = np.float32(counts[x]) * size / (np.sqrt(intensity[x]) + tiny)


@_jit
def project_model(
    far: Any,
    counts: Any,
    unit: float,
    weights: Any,
    background: Any,
    brightness: float,
    poisson: bool,
    strength: float,
    scale: float,
    back: float,
    row: Any,
    excess: Any,
    found: Any,
) -> float:
    """Do as `reference.project_modulus` with all that it offers; return the error.

    `weights` (ny, nx) uint8, which are their roots, and `background` (ny, nx) float32 may be empty, (0, 0). The photons
    of `background` are those of a frame of gain 1, `brightness` is one over the gain squared. `reference.excess` is
    added to `excess` (2, ny, nx) unless that is empty; `found` (2,) becomes overlap and power; `row` (2 nx,) float32 is
    scratch.
    """
    modes, ny, nx = far.shape
    zero, one = np.float32(0), np.float32(1)
    size, normal, way_back, share = np.float32(unit), np.float32(scale), np.float32(back), np.float32(strength)
    dim = np.float32(brightness)
    total, overlaps, powers = 0.0, 0.0, 0.0
    intensity, weight = row[:nx], row[nx : 2 * nx]
    # What is asked for once a row, not at every pixel, leaves the loops over pixels free to run on vectors.
    for y in range(ny):
        expect(far, y, counts, weights, background, dim, normal, intensity, weight)
        if excess.shape[0]:
            add_excess(counts[y], size, poisson, dim, intensity, weight, excess[:, y])
        error, overlap, power = zero, zero, zero
        for x in range(nx):
            modulus, wanted = np.sqrt(intensity[x]), np.float32(counts[y, x]) * size
            difference = wanted - modulus
            error += weight[x] * difference * difference
            overlap += weight[x] * wanted * modulus
            power += weight[x] * intensity[x]
        total += float(error)
        overlaps += float(overlap)
        powers += float(power)
        wish(counts[y], size, poisson, intensity)
        for x in range(nx):
            intensity[x] = (one + share * weight[x] * (intensity[x] - one)) * way_back
        for m in range(modes):
            for x in range(nx):
                far[m, y, x] *= intensity[x]
    found[0], found[1] = overlaps, powers
    return total


@_jit
def curvature(
    far: Any, change: Any, counts: Any, unit: float, weights: Any, background: Any, brightness: float, poisson: bool,
    scale: float,
) -> float:  # fmt: skip
    """Return the sum of dM², the misfit's Gauss-Newton curvature as waves `far` move by `change` (m, ny, nx).

    The other arguments are those of `project_model`; for Poisson noise dM² counts (1 + a²/M²) / 2 times.
    """
    modes, ny, nx = far.shape
    one, half, floor = np.float32(1), np.float32(0.5), np.float32(0.01)
    size, normal, dim = np.float32(unit), np.float32(scale), np.float32(brightness)
    total = 0.0
    for y in range(ny):
        row = np.float32(0)
        for x in range(nx):
            intensity, along = np.float32(0), np.float32(0)
            for m in range(modes):
                a, b = far[m, y, x] * normal, change[m, y, x] * normal
                intensity += a.real * a.real + a.imag * a.imag
                along += a.real * b.real + a.imag * b.imag
            if background.shape[0]:
                intensity += background[y, x] * dim
            if counts[y, x] != 65535:
                weight = (np.float32(weights[y, x]) * ROOT_UNIT) ** 2 if weights.shape[0] else one
                if poisson:
                    wanted = np.float32(counts[y, x]) * size
                    weight *= half * (one + wanted * wanted / (intensity + floor))
                row += weight * along * along / (intensity + np.float32(1e-9))
        total += float(row)
    return total
