"""Where the image lies: object and probe that move together make the same patterns, so nothing measured holds them.

The first probe does: it is centred on the optical axis, from which the positions count. A probe that learns its
aberrations in a few passes moves meanwhile, by half a pixel easily, and takes the image along. In the pupil a shift is
a tilt of the phase. What the phase has gained since the first probe is described by a tilt and the low aberrations
together; the tilt is taken back, from the probe and from the object. So images of the same optics lie alike: those of
two scans, of half data sets, and of frames in any order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .guard import Guard
from .registration import Complex
from .state import WAVES, ReconState

FIRST_LOOK = 10
"""Passes before the drift is looked at; then again whenever there were twice as many. Steps are small afterwards."""
SMALLEST_PX = 0.1
FARTHEST = 0.125
"""Of a window; a probe that went so far did so for another reason."""
SIGNIFICANT = 4.0
"""Standard errors below which a drift is none."""
LARGEST = 0.05
"""Displacement of rays, in windows, that the aberrations may leave unexplained: above, the first probe is another."""
FAINT = 0.05
"""Of the pupil's brightest pixel; what is less says nothing of the phase."""
ROUNDS = 5
"""Of the fit, each without the rays that the one before left far off."""
BORDER_PX = 32
LINES = 256
"""Rows or columns of a large object that are moved at a time, so that it takes little memory."""


def stay_on_axis(state: ReconState, first: NDArray[np.complex64], passes: int) -> None:
    """Move object and probe back to where `first` has the optical axis, if they left it; after some `passes` only.

    Momentum rests then, and directions begin anew. Nothing is done where exit waves are kept, which lie where they are
    and bring the image back there; in a near field, where a probe has no pupil; with a probe that varies; nor with what
    is not finite, which would spread over the image and leave the guard nothing to go back to.

    Parameters
    ----------
    state : ReconState
        Its object and probe are replaced, never changed in place.
    first : ndarray (modes, ny, nx) complex64
        The probe from which the passes began.
    passes : int
        Made so far.
    """
    tied = WAVES in state.memory or state.variation is not None
    if tied or not state.frames.far_field or not _is_time(passes):
        return
    probe = state.backend.to_host(state.probe)
    drift = drift_px(probe[0], _strongest(first), state.canvas.pixel_m)
    if drift is None:
        return
    image = state.backend.to_host(state.object)
    if not (np.isfinite(probe).all() and np.isfinite(image).all()):
        return
    state.object = state.backend.to_device(_moved(image, -drift, BORDER_PX))
    state.probe = state.backend.to_device(_moved(probe, -drift))
    state.rest()
    Guard.of(state).clear_others(state)


def drift_px(
    probe: NDArray[np.complex64], first: NDArray[np.complex64], pixel_m: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.float64] | None:
    """Return how far `probe` has moved from `first`, beyond what its aberrations explain.

    A point of the pupil sends its ray to where the phase slopes there. The rays' displacements are fitted, weighted
    with their light, by a tilt, defocus, astigmatism, coma and spherical aberration. Slopes need no unwrapped phase.

    Parameters
    ----------
    probe, first : ndarray (ny, nx) complex64
    pixel_m : tuple of float
        Their pixel ``(y, x)`` in m or another unit: not square where the window is not, and aberrations are round.

    Returns
    -------
    ndarray (2,) float64 or None
        Pixels (y, x); None where there is none to speak of, or the fit explains too little to be believed.
    """
    pupil, pupil_first = (np.fft.fftshift(np.fft.fft2(image)) for image in (probe, first))
    gained = pupil * pupil_first.conj()
    light = np.abs(gained)
    if not np.isfinite(light).all() or not light.any():
        return None
    pitch = np.asarray(pixel_m) / np.sqrt(np.prod(pixel_m))
    terms, displacements, weights = _rays(gained, pitch)
    keep = weights > FAINT * weights.max()
    terms, displacements, weights = terms[keep], displacements[keep], weights[keep] / weights.max()
    near = np.ones(len(weights), bool)
    for _ in range(ROUNDS):
        weighted = terms[near] * weights[near, None]
        normal = weighted.T @ terms[near]
        if np.linalg.matrix_rank(normal) < len(normal):  # too few bright pixels
            return None
        found = np.linalg.solve(normal, weighted.T @ displacements[near])
        left = displacements - terms @ found
        spread = np.sqrt(np.average(left[near] ** 2, weights=weights[near]))
        near = np.abs(left) <= max(3 * spread, 1e-6)
    drift = found[:2] / pitch
    errors = spread * np.sqrt(np.diag(np.linalg.inv(normal))[:2])
    explained = spread <= LARGEST * min(probe.shape * pitch)
    certain = np.hypot(*found[:2]) >= SIGNIFICANT * np.hypot(*errors)
    likely = SMALLEST_PX <= np.hypot(*drift) <= FARTHEST * min(probe.shape)
    return drift if explained and certain and likely else None


def _rays(
    gained: Complex, pitch: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the terms ``(n, 8)`` of the fit, the rays' displacements ``(n,)`` along y and x, and weights.

    Displacements are in the unit of `pitch` ``(y, x)``, the pixel.

    The phase is ``t·r + a |r|² + b (y² - x²) + c 2yx + |r|² (d·r) + e |r|⁴`` with r in units of the pupil's radius; a
    ray's displacement is minus its slope.
    """
    light = np.abs(gained)
    axes = [np.fft.fftshift(np.fft.fftfreq(n, p)) for n, p in zip(gained.shape, pitch, strict=True)]
    radius = np.sqrt(np.average(axes[0][:, None] ** 2 + axes[1] ** 2, weights=light)) or 1.0
    terms, displacements, weights = [], [], []
    for axis, n in enumerate(gained.shape):
        high, low = (np.take(gained, np.arange(n - 1) + k, axis=axis) for k in (1, 0))
        middle = [a if i != axis else (a[1:] + a[:-1]) / 2 for i, a in enumerate(axes)]
        y, x = (part.ravel() / radius for part in np.meshgrid(*middle, indexing="ij"))
        along, sign = (y, x)[axis], (1, -1)[axis]
        square, one, none = y**2 + x**2, np.ones(y.size), np.zeros(y.size)
        coma = [2 * along * part + (square if i == axis else 0) for i, part in enumerate((y, x))]
        tilt = [one, none] if axis == 0 else [none, one]
        terms.append(
            np.stack([*tilt, 2 * along, sign * 2 * along, 2 * (x, y)[axis], *coma, 4 * square * along], axis=1)
        )
        displacements.append(-np.angle(high * low.conj()).ravel() * n * pitch[axis] / (2 * np.pi))
        weights.append(np.minimum(np.abs(high), np.abs(low)).ravel())
    return np.concatenate(terms), np.concatenate(displacements), np.concatenate(weights).astype(np.float64)


def _is_time(passes: int) -> bool:
    looks, rest = divmod(passes, FIRST_LOOK)
    return rest == 0 and looks > 0 and looks & (looks - 1) == 0


def _strongest(modes: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return the mode that is first of those that make the same light and are in order: a probe's guess may not be."""
    flat = modes.reshape(len(modes), -1)
    _, vectors = np.linalg.eigh(flat @ flat.conj().T)
    return np.asarray(np.tensordot(vectors[:, -1].conj(), modes, 1), dtype=np.complex64)


def _moved(images: NDArray[np.complex64], shift_px: NDArray[np.float64], border: int = 0) -> NDArray[np.complex64]:
    """Return `images` ``(..., rows, cols)`` moved by Fourier interpolation, their edges repeated over `border`."""
    moved = np.array(images, dtype=np.complex64, order="C")
    for axis, shift in zip((-2, -1), shift_px, strict=True):
        lines = np.moveaxis(moved, axis, -1)  # of one axis a view, which is written to
        n = lines.shape[-1]
        ramp = np.exp(-2j * np.pi * shift * np.fft.fftfreq(n + 2 * border))
        around = [(0, 0)] * (lines.ndim - 1) + [(border, border)]
        for begin in range(0, lines.shape[-2], LINES):
            some = lines[..., begin : begin + LINES, :]
            spectrum = np.fft.fft(np.pad(some, around, mode="edge"))
            some[...] = np.fft.ifft(spectrum * ramp)[..., border : border + n]
    return moved
