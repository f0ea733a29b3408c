"""What the solver tells an algorithm about one pass, and the order of the frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .settings import SolverSettings


@dataclass(frozen=True)
class PassOptions:
    """One pass: the settings, frames per update, and whether the probe may change."""

    settings: SolverSettings
    batch_size: int
    probe_free: bool = True


def batches(slots: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut `slots` into batches of nearly equal length, none longer than `size`."""
    return np.array_split(slots, max(1, -(-len(slots) // size)))
