"""What else is learnt from the data: positions, beam brightness, background, a probe that varies.

A refinement asks the visits of a pass to note what it needs and takes its own step after the pass, so that
no algorithm knows of it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .positions import PositionRefinement, mean_drift_m
from .reference import TINY
from .settings import SolverSettings
from .state import ReconState
from .variation import Variation


class Refinement(Protocol):
    """One thing to learn."""

    def begin(self, state: ReconState, slots: NDArray[np.int64], *, active: bool) -> None:
        """Prepare a pass; `active` tells whether a step follows it."""

    def finish(self, state: ReconState, slots: NDArray[np.int64]) -> None:
        """Step by what the pass over `slots` has noted."""


def refinements(settings: SolverSettings) -> list[Refinement]:
    """Return what `settings` ask for, each with a state of its own."""
    found: list[Refinement] = []
    if settings.refine_positions:
        found.append(PositionRefinement(settings.position_model, settings.position_bound_px))
    if settings.fit_intensity:
        found.append(IntensityFit())
    if settings.fit_background:
        found.append(BackgroundFit())
    if settings.probe_variations:
        found.append(ProbeVariations(settings.probe_variations, settings.seed))
    return found


class IntensityFit:
    """Each frame's gain: how bright the beam was, on average 1.

    The gain that serves a frame best in the sense of least squares is sum(a M) / sum(M²), with measured and modelled
    amplitudes a and M; a part of the way is taken, as the object answers to the same misfit. A gain that grows
    exponentially along the scan cannot be told from an object and a probe that do, as
    exp(a r) = exp(a r_i) exp(a (r - r_i)): logarithms of the gains are kept free of their mean and of slopes in the
    positions.
    """

    STEP = 0.5
    RANGE = (0.1, 10.0)

    def begin(self, state: ReconState, slots: NDArray[np.int64], *, active: bool) -> None:
        """Have visits note overlap and power."""
        state.detection.fits_gain = active

    def finish(self, state: ReconState, slots: NDArray[np.int64]) -> None:
        """Step all gains."""
        frames = state.frames
        overlap, power = frames.brightness[slots].T
        ratio = np.where(power > 0, overlap / np.maximum(power, 1e-9), 1.0)
        level = np.log(frames.gain[slots] * (1 + self.STEP * (np.clip(ratio, 0.5, 2.0) - 1)))
        centred = frames.positions_m[slots] - frames.positions_m[slots].mean(axis=0)
        basis = np.column_stack([np.ones(len(slots)), centred / max(np.abs(centred).max(), 1e-12)])
        level -= basis @ np.linalg.lstsq(basis, level, rcond=None)[0]
        frames.gain[slots] = np.clip(np.exp(level), *self.RANGE)


class BackgroundFit:
    """Photons in each pixel that are the same in all frames and do not come from the waves, at least 0.

    Newton's step on the misfit in each pixel, with momentum: waves that have taken up some of the background give it
    back but slowly.
    """

    MOMENTUM = 0.8

    def begin(self, state: ReconState, slots: NDArray[np.int64], *, active: bool) -> None:
        """Have visits add up what is beyond the model."""
        if not active:
            return
        xp, window = state.backend.xp, state.frames.window
        if state.detection.background is None:
            state.detection.background = xp.zeros(window, dtype=xp.float32)
        state.excess = xp.zeros((2, *window), dtype=xp.float32)

    def finish(self, state: ReconState, slots: NDArray[np.int64]) -> None:
        """Step and stay at 0 or above."""
        xp = state.backend.xp
        slope, curvature = state.excess[0, ...], state.excess[1, ...]
        detection = state.detection
        detection.background_speed = self.MOMENTUM * detection.background_speed + slope / (curvature + TINY)
        background = detection.background + detection.background_speed
        detection.background = xp.where(background > 0, background, xp.zeros_like(background))
        state.excess = None


class ProbeVariations:
    """Orthogonal probe relaxation: the probe differs from frame to frame by a few modes."""

    def __init__(self, n_modes: int, seed: int) -> None:
        self.n_modes, self.seed = n_modes, seed

    def begin(self, state: ReconState, slots: NDArray[np.int64], *, active: bool) -> None:
        """Make room for the frames' coefficients and have visits note what they ask."""
        if active and state.variation is None:
            state.variation = Variation(state.backend, self.n_modes, state.frames.window, self.seed)
            state.variation.welcome(slots, len(state.frames.numbers))
        if state.variation is not None:
            state.variation.clear()
        state.tracks_variation = active

    def finish(self, state: ReconState, slots: NDArray[np.int64]) -> None:
        """Step coefficients and modes; what they have in common goes into the probe."""
        if state.variation is not None:
            shared = state.variation.update(slots)
            state.probe[0, ...] = state.probe[0, ...] + state.backend.to_device(shared)
        state.tracks_variation = False


def refined(state: ReconState, settings: SolverSettings) -> dict[str, Any]:
    """Return what was learnt, by the names of the fields of :class:`~bluesky_ptycho.frames.Snapshot`."""
    frames, host, slots = state.frames, state.backend.to_host, state.frames.slots()
    found: dict[str, Any] = {}
    if settings.refine_positions and len(slots):
        found["shifts_m"] = frames.shift_px[slots] * np.asarray(state.canvas.pixel_m)
        found["drift_m"] = mean_drift_m(state, slots, frames.shift_px[slots])
    if settings.fit_intensity:
        found["gain"] = frames.gain[slots]
    if state.detection.background is not None:
        background = host(state.detection.background)
        found["background"] = np.fft.fftshift(background) if frames.far_field else np.array(background)
    if state.variation is not None:
        found["variation"] = np.array(host(state.variation.modes))
    return found
