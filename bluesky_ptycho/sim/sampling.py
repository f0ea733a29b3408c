"""Random numbers at the speed of a frame camera (numba, without the interpreter lock)."""

from __future__ import annotations

import math

import numpy as np

from ..compiled import kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel()
def _mix(state):  # type: ignore[no-untyped-def]
    """Return 64 random bits of a counter (SplitMix64; Steele, Lea, Flood 2014)."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel()
def _uniform(bits):  # type: ignore[no-untyped-def]
    """Return a number in [0, 1)."""
    return (bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel()
def _poisson_large(mean, state):  # type: ignore[no-untyped-def]
    """Draw for a mean of at least 10 by transformed rejection (PTRS; Hörmann 1993); exact."""
    root = math.sqrt(mean)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    log_mean = math.log(mean)
    while True:
        state += GOLDEN
        u = _uniform(_mix(state)) - 0.5
        state += GOLDEN
        v = _uniform(_mix(state))
        us = 0.5 - abs(u)
        k = math.floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= v_r:
            return k, state
        if k < 0 or (us < 0.013 and v > us):
            continue
        if math.log(v * inverse_alpha / (a / (us * us) + b)) <= k * log_mean - mean - math.lgamma(k + 1.0):
            return k, state


@kernel()
def _poisson_small(mean, u):  # type: ignore[no-untyped-def]
    """Invert the distribution function at `u` for a mean below 10; exact."""
    k = 0
    term = math.exp(-mean)
    total = term
    while u >= total and term > 1e-300:
        k += 1
        term *= mean / k
        total += term
    return k


@kernel()
def poisson_of_field(field, scale, seed, out):  # type: ignore[no-untyped-def]
    """Draw photon counts with mean ``scale * |field|**2``.

    Parameters
    ----------
    field : ndarray (n, m) complex64
        Wave at the detector.
    scale : float
        Photons per unit of intensity.
    seed : uint64
        Equal seeds give equal counts.
    out : ndarray (n, m) float32
        Receives the counts.
    """
    state = np.uint64(seed)
    rows, columns = field.shape
    for i in range(rows):
        for j in range(columns):
            wave = field[i, j]
            mean = scale * (wave.real * wave.real + wave.imag * wave.imag)
            if mean < 10.0:
                state += GOLDEN
                u = _uniform(_mix(state))
                # exp(-m) >= 1 - m: nearly all pixels of a frame are dark and end here
                out[i, j] = 0.0 if u < 1.0 - mean else _poisson_small(mean, u)
            else:
                count, state = _poisson_large(mean, state)
                out[i, j] = count
