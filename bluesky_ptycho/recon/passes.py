"""What the solver tells an algorithm about one pass, and the order of the frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .settings import SolverSettings


@dataclass(frozen=True)
class PassOptions:
    """One pass: the settings, and whether the probe may change."""

    settings: SolverSettings
    probe_free: bool = True


def batches(slots: NDArray[np.int64], settings: SolverSettings) -> list[NDArray[np.int64]]:
    """Cut `slots` into batches of nearly equal length as `settings` ask for.

    A fixed number of batches keeps the noise of a step, and so the error at the last frame, low when
    there are many frames; a least size keeps a step's few frames from fighting over the probe.
    """
    return np.array_split(slots, max(1, min(settings.batches_per_pass, len(slots) // settings.batch_size)))
