"""What the fast chains have in common: sharing frames among threads, the table of exposures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from .recipe import Recipe


def share_frames(executor: Executor, n_threads: int, n: int, clean: Callable[[int], None]) -> None:
    """Call ``clean(i)`` for all n frames in the executor's threads; raise what one of them raises."""
    todo = iter(range(n))  # next() on it is atomic: each thread takes a frame when it is free

    def work() -> None:
        for i in todo:
            clean(i)

    for job in [executor.submit(work) for _ in range(min(n_threads, n))]:
        job.result()


def exposure_table(recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the exposures of equal time, longest first, -1 behind them and in a last row; and their factors."""
    groups = np.full((len(recipe.exposure_groups) + 1, len(recipe.exposures_s)), -1, dtype=np.int64)
    for i, group in enumerate(recipe.exposure_groups):
        groups[i, : len(group)] = group
    return groups, np.array(recipe.group_factors, dtype=np.float32)
