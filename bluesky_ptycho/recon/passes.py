"""What the solver tells an algorithm about one pass, and the order of the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .settings import SolverSettings


@dataclass(frozen=True)
class PassOptions:
    """One pass: the settings, whether the probe may change, the guard's factor for steps, whether it ends the work."""

    settings: SolverSettings
    probe_free: bool = True
    caution: float = 1.0
    tail: bool = False

    def choose(self, name: str, own: Any) -> Any:
        """Return the setting `name`, or where it is left to the algorithm, the algorithm's `own` value."""
        given = getattr(self.settings, name)
        return own if given is None else given


def batches(slots: NDArray[np.int64], most: int, least_frames: int) -> list[NDArray[np.int64]]:
    """Cut `slots` into at most `most` batches of nearly equal length, of at least `least_frames` each.

    A fixed number of batches keeps the noise of a step, and so the error at the last frame, low when
    there are many frames; a least size keeps a step's few frames from fighting over the probe.
    """
    return np.array_split(slots, max(1, min(most, len(slots) // least_frames)))
