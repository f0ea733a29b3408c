"""The solver's array operations, once, in array API style.

These run on any backend. :mod:`bluesky_ptycho.recon.kernels` holds a fused CPU version of each
under the same name for one frame; the tests compare the two.

Shapes: n frames, m probe modes, window (ny, nx), object (rows, cols). Far-field waves are
unnormalised transforms with zero frequency at [0, 0]; amplitudes are stored in the same order,
with negative values where the pixel is not valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .subpixel import FIRST_TAP, N_TAPS

TINY = 1e-9
"""Added to denominators, far below one photon's amplitude."""

POISSON_FLOOR = 0.02
"""Photons added to the Poisson gradient's denominator."""

QUARTER = 0.25

RIDGE = 1e-3
"""Relative weight added to curvatures, for directions that do nearly the same."""

Coefficients = tuple[float, float, float]


def shift_probe(xp: Any, probe: Any, taps: Any, *, adjoint: bool = False) -> Any:
    """Shift the probe, or apply the adjoint of the shift, for each frame.

    Parameters
    ----------
    probe : (m, ny, nx) or (n, m, ny, nx) complex64
        What to shift; zero outside its window.
    taps : (n, 2, N_TAPS) float32
        Filters along y and x of :func:`bluesky_ptycho.recon.subpixel.shift_taps`.

    Returns
    -------
    (n, m, ny, nx) complex64
    """
    n = taps.shape[0]
    if probe.ndim == 3:
        probe = xp.broadcast_to(probe[None, ...], (n, *probe.shape))
    order = range(N_TAPS) if not adjoint else range(N_TAPS - 1, -1, -1)
    lead = FIRST_TAP + N_TAPS - 1 if not adjoint else -FIRST_TAP
    out = probe
    for axis in (2, 3):
        size = out.shape[axis]
        shape = list(out.shape)
        shape[axis] = size + N_TAPS - 1
        padded = xp.zeros(tuple(shape), dtype=out.dtype)
        where = [slice(None)] * 4
        where[axis] = slice(lead, lead + size)
        padded[tuple(where)] = out
        out = xp.zeros_like(out)
        for start, tap in zip(range(N_TAPS - 1, -1, -1), order, strict=True):
            where[axis] = slice(start, start + size)
            weight = xp.reshape(taps[:, axis - 2, tap], (n, 1, 1, 1))
            out = out + xp.astype(weight, out.dtype) * padded[tuple(where)]
    return out


def exit_waves(probes: Any, windows: Any) -> Any:
    """Return probe times object ``(n, m, ny, nx)`` of `probes` ``(n, m, ny, nx)`` and `windows` ``(n, ny, nx)``."""
    return probes * windows[:, None, ...]


def blend(waves: Any, stored: Any, of_product: float, of_stored: float) -> Any:
    """Return ``of_product * waves + of_stored * stored``, all ``(n, m, ny, nx)``."""
    return of_product * waves + of_stored * stored


def project_modulus(
    xp: Any,
    far: Any,
    amplitude: Any,
    *,
    scale: float,
    back: float,
    poisson: bool = False,
    strength: float = 1.0,
    weights: Any = None,
    background: Any = None,
) -> tuple[Any, Any, Any, Any]:
    """Move far-field waves to the measured amplitude; their phases and mode ratios stay.

    With M² = |far|² + background, summed over modes, waves are scaled by ``1 + strength * weight * (t - 1)``, where
    t = a / M is the projection on the amplitude (Gaussian noise of the amplitude, whose gradient it is), or
    t = 1 + (a² - M²) / 2M² the step of equal curvature down the gradient of the Poisson likelihood (Thibault,
    Guizar-Sicairos, New J. Phys. 14, 063004 (2012), eq. 4), at most to twice the amplitude.

    Parameters
    ----------
    far : (n, m, ny, nx) complex64
        Waves at the detector, unnormalised.
    amplitude : (n, ny, nx) float32
        Measured; negative where not valid: there the wave stays as it is.
    scale, back : float
        Factor that normalises `far`; factor that what is returned carries for an unnormalised way back.
    poisson : bool
    strength : float
    weights : (n, ny, nx) float32, optional
    background : (n, ny, nx) float32, optional
        Photons that do not come from the waves.

    Returns
    -------
    projected : (n, m, ny, nx) complex64
    error : scalar array, float32
        Sum of weight * (a - M)² over valid pixels, in photons.
    overlap, power : (n,) float32
        Sums of weight * a * M and weight * M² over valid pixels.
    """
    intensity = xp.sum(xp.real(far) ** 2 + xp.imag(far) ** 2, axis=1) * scale**2
    if background is not None:
        intensity = intensity + background
    modulus = xp.sqrt(intensity)
    valid = amplitude >= 0
    weight = xp.astype(valid, xp.float32)
    if weights is not None:
        weight = weight * weights
    ratio = amplitude / (modulus + TINY)
    if poisson:
        most = xp.where(2 * ratio > 1, 2 * ratio, xp.ones_like(ratio))
        wish = 1 + (amplitude**2 - intensity) / (2 * intensity + POISSON_FLOOR)
        ratio = xp.where(wish < most, wish, most)
    factor = (1 + strength * weight * (ratio - 1)) * back
    difference = weight * (amplitude - modulus) ** 2
    overlap, power = weight * amplitude * modulus, weight * intensity
    return (
        far * xp.astype(factor, far.dtype)[:, None, ...],
        xp.sum(difference),
        xp.sum(overlap, axis=(1, 2)),
        xp.sum(power, axis=(1, 2)),
    )


def excess(xp: Any, amplitude: Any, model: Any, weights: Any, gain: Any, *, poisson: bool) -> Any:
    """Return slope and curvature ``(2, ny, nx)`` of minus the misfit of frames along photons added to each pixel.

    With M² = `model` ``(n, ny, nx)`` and photons that count 1 / gain² in a frame: the sums of (a / M - 1) / gain² and
    of 1 / (2 M² gain⁴), for Poisson noise (a² - M²) / (2 M²) in the place of a / M - 1. M² counts as a quarter of a
    photon at least.
    """
    dim = 1 / gain**2
    floored = xp.where(model > QUARTER, model, xp.full_like(model, QUARTER))
    slope = 0.5 * (amplitude**2 - model) / floored if poisson else amplitude / (xp.sqrt(model) + TINY) - 1
    weight = xp.astype(amplitude >= 0, xp.float32)
    if weights is not None:
        weight = weight * weights
    return xp.stack([xp.sum(weight * dim * slope, axis=0), xp.sum(weight * dim**2 * 0.5 / floored, axis=0)])


def relay(waves: Any, stored: Any, product: Any, keep: Coefficients, give: Coefficients) -> tuple[Any, Any]:
    """Return what a projection algorithm keeps and what it gives to the overlap.

    Each is a linear combination of the stored waves, the projected `waves` and probe times object, all
    ``(n, m, ny, nx)``, with coefficients in that order.
    """
    parts = (stored, waves, product)
    kept, given = (sum(c * part for c, part in zip(row, parts, strict=True)) for row in (keep, give))
    return kept, given


def pie_gradients(xp: Any, probes: Any, windows: Any, waves: Any) -> tuple[Any, Any, Any, Any]:
    """Return what changed exit waves ask of the object and of the probe.

    Parameters
    ----------
    probes, waves : (n, m, ny, nx) complex64
        Shifted probes; exit waves wanted.
    windows : (n, ny, nx) complex64
        Object under each frame.

    Returns
    -------
    object_gradient : (n, ny, nx) complex64
        sum over modes of conj(P) (wave - P O).
    illumination : (n, ny, nx) float32
        sum over modes of |P|**2.
    probe_gradients : (n, m, ny, nx) complex64
        conj(O) (wave - P O), not yet shifted back.
    transmission : (n, ny, nx) float32
        |O|**2.
    """
    change = waves - exit_waves(probes, windows)
    return (
        xp.sum(xp.conj(probes) * change, axis=1),
        xp.sum(xp.real(probes) ** 2 + xp.imag(probes) ** 2, axis=1),
        xp.conj(windows)[:, None, ...] * change,
        xp.real(windows) ** 2 + xp.imag(windows) ** 2,
    )


def direction(xp: Any, gradient: Any, weight: Any, regularisation: float) -> tuple[Any, Any, Any]:
    """Return the preconditioned direction of a step, and slope and curvature of the misfit along it.

    Parameters
    ----------
    gradient : (m, rows, cols) complex64
    weight : (rows, cols) float32
        Light that each pixel has received; for the probe transmission.
    regularisation : float
        rPIE's alpha.

    Returns
    -------
    direction : (m, rows, cols) complex64
        ``gradient / ((1 - a) * weight + a * max(weight))`` (Maiden, Johnson, Li 2017, eq. 9, summed over a batch);
        0 where nothing was seen.
    slope : scalar array
        Re <gradient, direction>.
    curvature : scalar array
        Sum of weight * |direction|². Slope over curvature is the step that serves the waves best in the sense of
        least squares, the other of object and probe held.
    """
    floor = regularisation * xp.max(weight) + TINY
    found = gradient / xp.astype((1 - regularisation) * weight + floor, gradient.dtype)
    slope = xp.sum(xp.real(gradient) * xp.real(found) + xp.imag(gradient) * xp.imag(found))
    curvature = xp.sum(weight * (xp.real(found) ** 2 + xp.imag(found) ** 2))
    return found, slope, curvature


def best_steps(xp: Any, slopes: tuple[Any, Any], curvatures: tuple[Any, Any], coupling: Any) -> tuple[Any, Any]:
    """Return the steps of object and probe that minimise the waves' misfit together; 0 for what cannot move.

    They solve [[D_O, C], [C, D_P]] (s_O, s_P) = (N_O, N_P) with slopes N and curvatures D along their directions and
    coupling C (Odstrčil, Menzel, Guizar-Sicairos 2018, eq. 22, one pair for the frames of a batch), and are 0 at
    least. Where that has no solution each goes half of the way it would go alone.

    Parameters
    ----------
    slopes, curvatures : pairs of floats or scalar arrays
        As :func:`direction` finds them for object and probe; a curvature of 0 for what is held.
    coupling : float or scalar array

    Returns
    -------
    object_step, probe_step : scalar arrays, float64
    """
    number = [xp.asarray(n, dtype=xp.float64) for n in (*slopes, *curvatures, coupling)]
    n_o, n_p, c = number[0], number[1], number[4]
    d_o, d_p = ((1 + RIDGE) * d for d in number[2:4])
    one, zero = xp.ones_like(c), xp.zeros_like(c)
    determinant = d_o * d_p - c**2
    both_move = (d_o > 0) & (d_p > 0)
    solvable = both_move & (determinant > 0)
    determinant, part = xp.where(solvable, determinant, one), xp.where(both_move, 0.5 * one, one)
    alone = [xp.where(d > 0, n / xp.where(d > 0, d, one), zero) * part for n, d in ((n_o, d_o), (n_p, d_p))]
    together = (d_p * n_o - c * n_p) / determinant, (d_o * n_p - c * n_o) / determinant
    object_step, probe_step = (
        xp.where(solvable, xp.where(step > 0, step, zero), own) for step, own in zip(together, alone, strict=True)
    )
    return object_step, probe_step


def advance(target: Any, velocity: Any, found: Any, step: Any, momentum: float) -> tuple[Any, Any]:
    """Return `target` and `velocity` after a step along the direction `found` with Nesterov momentum.

    ``velocity = momentum * velocity + step * found``, then the target moves by ``momentum * velocity + step * found``.
    """
    velocity = momentum * velocity + step * found
    return target + momentum * velocity + step * found, velocity


def curvature(
    xp: Any, far: Any, change: Any, amplitude: Any, *, scale: float, poisson: bool, weights: Any, background: Any
) -> Any:
    """Return the sum of dM², the misfit's Gauss-Newton curvature as waves `far` move by `change` ``(n, m, ny, nx)``.

    M is the modulus of the model as in `project_modulus`. For Poisson noise dM² counts (1 + a²/M²) / 2 times, so
    that the slope of `direction` over this is the Newton step of either noise.
    """
    intensity = xp.sum(xp.real(far) ** 2 + xp.imag(far) ** 2, axis=1) * scale**2
    along = xp.sum(xp.real(far) * xp.real(change) + xp.imag(far) * xp.imag(change), axis=1) * scale**2
    if background is not None:
        intensity = intensity + background
    weight = xp.astype(amplitude >= 0, xp.float32)
    if weights is not None:
        weight = weight * weights
    if poisson:
        weight = weight * 0.5 * (1 + amplitude**2 / (intensity + POISSON_FLOOR / 2))
    return xp.sum(weight * along**2 / (intensity + TINY))


def shift_sums(xp: Any, probes: Any, slopes: tuple[Any, Any], change: Any) -> Any:
    """Return what `change` of the exit waves ``(n, m, ny, nx)`` asks of the positions.

    `slopes` are the object's derivatives ``(n, ny, nx)`` along y and x. A window that lies further on by s pixels
    changes the exit wave by s * P * slope, so the least-squares shift is the first over the second, the third over the
    fourth column (Odstrčil, Menzel, Guizar-Sicairos 2018, eq. 33).

    Returns
    -------
    (n, 4) float32
        For y and x: Re sum conj(P slope) change, sum |P slope|².
    """
    return sums_along(xp, [probes * slope[:, None, ...] for slope in slopes], change)


def sums_along(xp: Any, ways: Sequence[Any], change: Any) -> Any:
    """Return Re sum conj(way) change and sum |way|² of each way, ``(n, 2 ways) float32``; all are (n, m, ny, nx)."""
    found = []
    for moved in ways:
        found.append(xp.sum(xp.real(moved) * xp.real(change) + xp.imag(moved) * xp.imag(change), axis=(1, 2, 3)))
        found.append(xp.sum(xp.real(moved) ** 2 + xp.imag(moved) ** 2, axis=(1, 2, 3)))
    return xp.stack(found, axis=1)
