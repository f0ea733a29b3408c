"""The first probe: from the zone plate, else from the mean pattern.

The guess decides how fast a live reconstruction converges (shared floors in the benchmarks): a
zone plate from the scan plan starts within reach, the mean pattern alone does not.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry
from ..scan_plan import Illumination
from .propagation import near_field, spatial_frequencies
from .store import FrameStore

EDGE_PX = 0.5
"""Width, in pixels of the far field, over which the pupil's edges are softened."""


def pupil(light: Illumination, geometry: Geometry) -> NDArray[np.float64]:
    """Return the zone plate's annulus in the far field ``(ny, nx)``, zero at [0, 0], values 0 to 1.

    A zone plate of outer zone width d passes spatial frequencies up to 1 / (2 d), whatever the
    wavelength; its central stop shadows those below stop / diameter of that.
    """
    qy, qx = spatial_frequencies(geometry.shape, geometry.object_pixel_m)
    q = np.hypot(qy, qx)
    pixel = min(1 / (n * p) for n, p in zip(geometry.shape, geometry.object_pixel_m, strict=True))
    outer = 1 / (2 * light.outer_zone_m)
    inner = outer * light.stop_m / light.diameter_m
    width = EDGE_PX * pixel
    ring = 0.5 * (1 - np.tanh((q - outer) / (2 * width)))
    if inner > 0:
        ring *= 0.5 * (1 + np.tanh((q - inner) / (2 * width)))
    return np.asarray(ring)


def zone_plate_probe(light: Illumination, geometry: Geometry, photons: float = 1.0) -> NDArray[np.complex64]:
    """Return the field of a zone plate at the sample, ``(ny, nx) complex64``, centred.

    Parameters
    ----------
    light : Illumination
        Positive `defocus_m` means that the sample is downstream of the focus.
    geometry : Geometry
        Of the patterns.
    photons : float
        Sum of ``|probe|**2``.
    """
    qy, qx = spatial_frequencies(geometry.shape, geometry.object_pixel_m)
    phase = -np.pi * geometry.wavelength_m * light.defocus_m * (qy**2 + qx**2)
    return _from_far_field(pupil(light, geometry) * np.exp(1j * phase), photons)


def mean_pattern_probe(
    mean_amplitude: NDArray[np.float32], geometry: Geometry, photons: float = 1.0
) -> NDArray[np.complex64]:
    """Return a guess from the mean pattern alone, ``(ny, nx) complex64``; warns, for it starts far away.

    The mean amplitude gets the curvature that spreads its rays over a quarter of the window.

    Parameters
    ----------
    mean_amplitude : ndarray (ny, nx) float32
        Root of the mean photons, zero frequency at [ny // 2, nx // 2].
    """
    warnings.warn(
        "no zone plate in the scan plan and no probe given: the probe starts from the mean pattern, "
        "which may need some 50 passes; give the zone plate (scan_plan.Illumination) or an earlier probe",
        stacklevel=2,
    )
    amplitude = np.fft.ifftshift(np.asarray(mean_amplitude, dtype=np.float64))
    ny, nx = geometry.shape
    ky, kx = np.fft.fftfreq(ny)[:, None], np.fft.fftfreq(nx)[None, :]
    k2 = ky**2 + kx**2
    spread = np.sqrt(np.sum(amplitude**2 * k2) / max(np.sum(amplitude**2), 1e-30))
    # the ray of frequency k lands at curvature * k / pi: the rms ray goes to an eighth of the window
    curvature = np.pi * min(ny, nx) / 8 / max(float(spread), 1 / min(ny, nx))
    return _from_far_field(amplitude * np.exp(-1j * curvature * k2), photons)


def back_propagated_probe(mean_amplitude: NDArray[np.float32], geometry: Geometry) -> NDArray[np.complex64]:
    """Return a guess from the mean near-field pattern, ``(ny, nx) complex64``.

    Averaged over a scan the sample's images blur, so that the mean pattern is that of the beam alone; its wave, even
    but for the spherical part that :class:`~bluesky_ptycho.geometry.Geometry` takes out, is brought back to the sample.

    Parameters
    ----------
    mean_amplitude : ndarray (ny, nx) float32
        Root of the mean photons.
    """
    wave = np.fft.fft2(np.asarray(mean_amplitude, dtype=np.complex128))
    return np.asarray(np.fft.ifft2(wave * near_field(geometry).conj(), norm="forward"), dtype=np.complex64)


def refine_on_mean(
    probe: NDArray[np.complex64], mean_amplitude: NDArray[np.float32], weight: float = 0.5
) -> NDArray[np.complex64]:
    """Return `probe` with its far-field amplitude drawn towards the measured mean inside its pupil.

    The mean over a scan of the patterns is the bare probe's pattern blurred by the sample; the
    phases stay those of the model. Power is unchanged.

    Parameters
    ----------
    probe : ndarray (ny, nx) complex64
    mean_amplitude : ndarray (ny, nx) float32
        Zero frequency at [ny // 2, nx // 2]; not finite where unknown.
    weight : float
        0 keeps the model, 1 takes the mean.
    """
    far = np.fft.fft2(np.fft.ifftshift(probe), norm="ortho")
    model = np.abs(far)
    mean = np.fft.ifftshift(np.asarray(mean_amplitude, dtype=np.float64))
    inside = np.isfinite(mean) & (model > 0.1 * model.max())
    power = float(np.sum(model[inside] ** 2))
    measured = float(np.sum(mean[inside] ** 2))
    if measured <= 0:
        return probe
    wanted = np.where(inside, (1 - weight) * model + weight * mean * np.sqrt(power / measured), model)
    far *= wanted / np.maximum(model, 1e-30)
    return _from_far_field(far, float(np.sum(np.abs(probe) ** 2)))


def add_modes(probe: NDArray[np.complex64], modes: int, share: float = 0.02) -> NDArray[np.complex64]:
    """Return `probe` ``(k, ny, nx)`` with as many `modes` as asked for.

    Surplus modes are dropped. New ones are the first mode times Hermite-like polynomials of its own
    extent (what vibration makes), each with `share` of its power.
    """
    probe = np.asarray(probe, dtype=np.complex64)
    first = probe[0]
    ny, nx = first.shape
    y, x = np.arange(ny)[:, None] - ny // 2, np.arange(nx)[None, :] - nx // 2
    power = np.abs(first) ** 2
    total = max(float(power.sum()), 1e-30)
    u = y / max(np.sqrt(float((power * y**2).sum()) / total), 1.0)
    v = x / max(np.sqrt(float((power * x**2).sum()) / total), 1.0)
    factors = [u + 0 * v, v + 0 * u, u * v, u**2 - 1 + 0 * v, v**2 - 1 + 0 * u, u**2 * v, u * v**2]
    out = list(probe[:modes])
    for k in range(modes - len(probe)):
        new = first * factors[k % len(factors)] ** (1 + k // len(factors))
        out.append(new * np.sqrt(share * total / max(float(np.sum(np.abs(new) ** 2)), 1e-30)))
    return np.stack(out).astype(np.complex64)


def motion_modes(probe: NDArray[np.complex64], way_px: tuple[float, float], modes: int) -> NDArray[np.complex64]:
    """Return the `modes` ``(modes, ny, nx)`` that a probe ``(ny, nx)`` becomes when it moves `way_px` in an exposure.

    Patterns of a moving probe add up incoherently (Pelz et al., Appl. Phys. Lett. 105, 251101 (2014)); the strongest
    orthogonal modes of its copies along the way make the same pattern.
    """
    ny, nx = probe.shape
    fy, fx = np.fft.fftfreq(ny)[:, None], np.fft.fftfreq(nx)[None, :]
    far = np.fft.fft2(probe)
    copies = np.stack(
        [
            np.fft.ifft2(far * np.exp(-2j * np.pi * s * (way_px[0] * fy + way_px[1] * fx))).ravel()
            for s in (np.arange(4 * modes) + 0.5) / (4 * modes) - 0.5
        ]
    ) / np.sqrt(4 * modes)
    _, lengths, rows = np.linalg.svd(copies, full_matrices=False)
    return (lengths[:modes, None] * rows[:modes]).reshape(modes, ny, nx).astype(np.complex64)


def _from_far_field(far: NDArray[Any], photons: float) -> NDArray[np.complex64]:
    field = np.fft.fftshift(np.fft.ifft2(far, norm="ortho"))
    power = float(np.sum(np.abs(field) ** 2))
    return np.asarray(field * np.sqrt(photons / power if power > 0 else 0.0), dtype=np.complex64)


def mean_amplitude(frames: FrameStore, slots: NDArray[np.int64], most: int = 256) -> NDArray[np.float32]:
    """Return the root of the mean photons over (at most `most`) frames, ``(ny, nx)``, ordered as patterns come.

    NaN where no frame has a valid pixel.
    """
    chosen = slots[np.linspace(0, len(slots) - 1, min(most, len(slots))).astype(int)]
    total, seen = np.zeros(frames.window), np.zeros(frames.window)
    for slot in chosen:
        amplitude = frames.backend.to_host(frames.amplitude_of(np.array([slot]))[0, ...])
        valid = amplitude >= 0
        total += np.where(valid, np.square(amplitude, dtype=np.float64), 0)
        seen += valid
    with np.errstate(invalid="ignore"):
        root = np.sqrt(total / seen).astype(np.float32)
    return np.fft.fftshift(root) if frames.far_field else root


def first_probe(
    light: Illumination | None, geometry: Geometry, frames: FrameStore, slots: NDArray[np.int64]
) -> NDArray[np.complex64]:
    """Return the guess ``(ny, nx) complex64`` from the zone plate `light` and the mean pattern, or that alone.

    In the near field the mean pattern tells more than the zone plate, which is left out.
    """
    mean = mean_amplitude(frames, slots)
    if geometry.propagation == "near":
        return back_propagated_probe(np.nan_to_num(mean), geometry)
    if light is None:
        return mean_pattern_probe(np.nan_to_num(mean), geometry)
    return refine_on_mean(zone_plate_probe(light, geometry), mean)
