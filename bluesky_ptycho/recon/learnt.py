"""What a reconstruction has learnt beside object and probe, to be kept and put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .state import ReconState
from .variation import Variation

OF_FRAMES = ("gain", "shift_px", "shift_speed")
"""Arrays of the frame store that refinements change."""


@dataclass(frozen=True)
class Learnt:
    """A copy of positions' corrections, gains, background and the probe's variation.

    Parameters
    ----------
    of_frames : mapping of str to ndarray (n, ...)
        Rows of the arrays of :data:`OF_FRAMES`, and of the variation's "coefficients" where there is one.
    background : (ny, nx) float32 on the device, or None
    modes : ndarray (k, ny, nx) complex64 or None
        Of the probe's variation.
    """

    of_frames: dict[str, NDArray[Any]]
    background: Any = None
    modes: NDArray[np.complex64] | None = None

    @classmethod
    def of(cls, state: ReconState, slots: NDArray[np.int64]) -> Self:
        """Return a copy of what `state` knows, for the frames of `slots`."""
        of_frames = {name: getattr(state.frames, name)[slots] for name in OF_FRAMES}
        if state.variation is None:
            return cls(of_frames, state.detection.background)
        of_frames["coefficients"] = state.variation.coefficients[slots]
        return cls(of_frames, state.detection.background, np.array(state.variation.host_modes))

    def put_back(self, state: ReconState, slots: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Put `rows` of what was kept to the frames of `slots`, which are placed anew, and the rest to `state`."""
        frames = state.frames
        for name in OF_FRAMES:
            getattr(frames, name)[slots] = self.of_frames[name][rows]
        frames.place(state.canvas)
        # Steps replace the background and never change it in place.
        state.detection.background, state.detection.background_speed = self.background, 0.0
        if self.modes is None:
            state.variation = None
            return
        if state.variation is None:
            state.variation = Variation(state.backend, len(self.modes), frames.window, seed=0)  # its modes are replaced
        state.variation.welcome(frames.slots(), len(frames.numbers))
        state.variation.set_modes(self.modes)
        state.variation.coefficients[slots] = self.of_frames["coefficients"][rows]


def forget(state: ReconState) -> None:
    """Take away all that is learnt beside object and probe, and place the frames where they were measured."""
    frames = state.frames
    state.detection.background, state.detection.background_speed, state.variation = None, 0.0, None
    frames.shift_px[...], frames.shift_speed[...], frames.gain[...] = 0.0, 0.0, 1.0
    frames.place(state.canvas)
