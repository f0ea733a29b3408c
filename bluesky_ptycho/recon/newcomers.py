"""Which frames are new to one who keeps something of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .store import FrameStore


class Newcomers:
    """Remembers the frames that its owner has met; one that came again or took another's slot is new."""

    def __init__(self) -> None:
        self._met = np.zeros(0, np.int64)

    def meet(self, frames: FrameStore, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of `slots` hold frames that are new since the last call, and remember them."""
        new = slots[~self.known(frames, slots)]
        self._met[slots] = frames.arrivals[slots]
        return new

    def known(self, frames: FrameStore, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which of `slots` hold frames that have been met."""
        missing = len(frames.arrivals) - len(self._met)
        self._met = np.concatenate([self._met, np.zeros(missing, np.int64)])
        return np.asarray(self._met[slots] == frames.arrivals[slots])
