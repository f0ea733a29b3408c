"""The solver's array operations, once, in array API style.

These run on any backend. :mod:`bluesky_ptycho.recon.kernels` holds a fused CPU version of each
under the same name for one frame; the tests compare the two.

Shapes: n frames, m probe modes, window (ny, nx), object (rows, cols). Far-field waves are
unnormalised transforms with zero frequency at [0, 0]; amplitudes are stored in the same order,
with negative values where the pixel is not valid.
"""

from __future__ import annotations

from typing import Any

from .subpixel import FIRST_TAP, N_TAPS

TINY = 1e-9
"""Added to denominators, far below one photon's amplitude."""


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


def project_modulus(xp: Any, far: Any, amplitude: Any) -> tuple[Any, Any]:
    """Give far-field waves the measured amplitude; their phases and mode ratios stay.

    Parameters
    ----------
    far : (n, m, ny, nx) complex64
        Unnormalised transforms of exit waves.
    amplitude : (n, ny, nx) float32
        Measured; negative where not valid: there the wave stays as it is.

    Returns
    -------
    projected : (n, m, ny, nx) complex64
        Scaled so that the unnormalised inverse transform gives exit waves.
    error : scalar array, float32
        Sum of (amplitude - |far|)**2 over valid pixels, |far| over all modes, in photons.
    """
    pixels = far.shape[-2] * far.shape[-1]
    scale = pixels**-0.5
    intensity = xp.sum(xp.real(far) ** 2 + xp.imag(far) ** 2, axis=1)
    modulus = xp.sqrt(intensity) * scale
    valid = amplitude >= 0
    difference = xp.where(valid, amplitude - modulus, xp.zeros_like(modulus))
    factor = xp.where(valid, amplitude / (modulus + TINY), xp.ones_like(modulus)) / pixels
    return far * xp.astype(factor, far.dtype)[:, None, ...], xp.sum(difference**2)


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


def weighted_step(
    xp: Any, target: Any, velocity: Any, gradient: Any, weight: Any, step: float, regularisation: float, momentum: float
) -> tuple[Any, Any]:
    """Return `target` and `velocity` after an rPIE step with Nesterov momentum.

    The step is ``g = step * gradient / ((1 - a) * weight + a * max(weight))`` with a =
    `regularisation` (Maiden, Johnson, Li 2017, eq. 9, summed over a batch). Then ``velocity =
    momentum * velocity + g`` and the target moves by ``momentum * velocity + g``. `weight` may lack
    leading axes of `target`. Where nothing was seen at all, g is 0.
    """
    floor = regularisation * xp.max(weight) + TINY
    g = gradient * xp.astype(step / ((1 - regularisation) * weight + floor), gradient.dtype)
    velocity = momentum * velocity + g
    return target + momentum * velocity + g, velocity
