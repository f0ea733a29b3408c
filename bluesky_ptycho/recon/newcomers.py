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
        missing = len(frames.arrivals) - len(self._met)
        self._met = np.concatenate([self._met, np.zeros(missing, np.int64)])
        now = frames.arrivals[slots]
        new = slots[self._met[slots] != now]
        self._met[slots] = now
        return new
