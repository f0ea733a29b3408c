"""What is known beforehand of object and probe, imposed after each pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend
from ..errors import SettingsError
from .probe_guess import mean_amplitude
from .settings import SolverSettings
from .state import ReconState

TV_ITERATIONS = 8
TV_STEP = 0.25
"""Largest step of Chambolle's fixed-point iteration that is known to converge in practice."""

PUPIL_DILATION_PX = 2
TINY = 1e-12


class Constraints:
    """Bounds, smoothness and supports that `settings` ask for; nothing by default.

    Raises
    ------
    SettingsError
        If a pupil is asked for in the near field, where patterns do not show it.
    """

    def __init__(self, settings: SolverSettings, *, far_field: bool = True) -> None:
        if settings.probe_pupil_threshold is not None and not far_field:
            raise SettingsError(
                f"solver.probe_pupil_threshold is {settings.probe_pupil_threshold}; expected None for the "
                "near field, where patterns are no spectra of the probe"
            )
        self.settings = settings
        self._pupil: Any = None
        self._pupil_of_frames = 0
        self._support: Any = None

    def impose(self, state: ReconState) -> None:
        """Impose all of them on `state`."""
        chosen, backend = self.settings, state.backend
        xp = backend.xp
        if chosen.object_tv:
            state.object = denoise_tv(xp, state.object, chosen.object_tv)
        if chosen.object_max_amplitude is not None:
            modulus = xp.abs(state.object)
            shrink = xp.where(
                modulus > chosen.object_max_amplitude, chosen.object_max_amplitude / (modulus + TINY), 1.0
            )
            state.object = state.object * xp.astype(shrink, xp.complex64)
        if chosen.object_max_phase is not None:
            state.object = bound_phase(xp, state.object, chosen.object_max_phase)
        if chosen.probe_support is not None:
            if self._support is None:
                self._support = backend.to_device(disc(state.frames.window, chosen.probe_support))
            state.probe = state.probe * self._support
        if chosen.probe_pupil_threshold is not None:
            state.probe = within_pupil(backend, state.probe, self._pupil_of(state))

    def _pupil_of(self, state: ReconState) -> Any:
        frames = state.frames
        if self._pupil_of_frames != frames.arrived:
            mean = mean_amplitude(frames, frames.slots(lit=True))
            mask = pupil_mask(mean, float(self.settings.probe_pupil_threshold or 0))
            self._pupil, self._pupil_of_frames = state.backend.to_device(mask), frames.arrived
        return self._pupil


def denoise_tv(xp: Any, image: Any, weight: float) -> Any:
    """Return the total-variation denoised complex `image` ``(rows, cols)``, or each of many.

    The minimum of |u - image|² / 2 + weight * TV(u), with the isotropic total variation of complex differences, by
    Chambolle's fixed-point iteration (J. Math. Imaging Vis. 20, 89 (2004), eq. 9).
    """
    dual = [xp.zeros_like(image) for _ in "yx"]
    for _ in range(TV_ITERATIONS):
        slopes = _gradient(xp, _divergence(xp, dual) - image / weight)
        size = xp.sqrt(sum(xp.real(s) ** 2 + xp.imag(s) ** 2 for s in slopes))
        damping = xp.astype(1 / (1 + TV_STEP * size), image.dtype)
        dual = [(d + TV_STEP * s) * damping for d, s in zip(dual, slopes, strict=True)]
    return image - weight * _divergence(xp, dual)


def _gradient(xp: Any, image: Any) -> list[Any]:
    found = [xp.zeros_like(image) for _ in "yx"]
    found[0][..., :-1, :] = image[..., 1:, :] - image[..., :-1, :]
    found[1][..., :-1] = image[..., 1:] - image[..., :-1]
    return found


def _divergence(xp: Any, field: list[Any]) -> Any:
    """Return minus the adjoint of `_gradient`; the last row and column of `field` are 0."""
    out = field[0] + field[1]
    out[..., 1:, :] -= field[0][..., :-1, :]
    out[..., 1:] -= field[1][..., :-1]
    return out


def bound_phase(xp: Any, image: Any, most: float) -> Any:
    """Return `image` with phases beyond `most` radian, up or down, put on that bound."""
    modulus = xp.abs(image)
    phase = xp.atan2(xp.imag(image), xp.real(image))
    clipped = xp.where(phase > most, most, xp.where(phase < -most, -most, phase))
    return xp.astype(modulus * xp.cos(clipped) + 1j * (modulus * xp.sin(clipped)), image.dtype)


def disc(window: tuple[int, int], share: float) -> NDArray[np.complex64]:
    """Return 1 within an ellipse of `share` of the window's width and height, falling to 0 over two pixels."""
    y, x = (np.arange(n) - n // 2 for n in window)
    radius = np.hypot(y[:, None] / (share * window[0] / 2), x[None, :] / (share * window[1] / 2))
    rim = (1 - radius) * share * min(window) / 4
    return np.clip(0.5 + rim, 0, 1).astype(np.complex64)


def pupil_mask(mean: NDArray[np.float32], threshold: float) -> NDArray[np.complex64]:
    """Return where the `mean` amplitude, zero frequency in the middle, exceeds a share of its top; [0, 0] first.

    Pixels around are taken in, and those never measured too.
    """
    from scipy import ndimage

    top = float(np.nanpercentile(mean, 99.9))
    bright = ndimage.binary_dilation(~(mean <= threshold * top), iterations=PUPIL_DILATION_PX)
    return np.fft.ifftshift(bright).astype(np.complex64)


def within_pupil(backend: Backend, probe: Any, pupil: Any) -> Any:
    """Return `probe` without the spatial frequencies outside `pupil` (SHARP's illumination mask)."""
    xp, (ny, nx) = backend.xp, probe.shape[-2:]
    moved = xp.roll(probe, (-(ny // 2), -(nx // 2)), axis=(-2, -1))
    filtered = backend.ifft2(backend.fft2(moved) * pupil) / (ny * nx)
    return xp.roll(filtered, (ny // 2, nx // 2), axis=(-2, -1))
