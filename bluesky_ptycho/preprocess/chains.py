"""Ways through the steps: fused, staged, or one after the other, all with the same result."""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from typing import Any, Protocol

from numpy.typing import NDArray

from ..backend import Backend
from ..registry import preprocessing_steps
from .presets import FCCD_STEPS
from .recipe import PreparedDarks, Recipe
from .stack import Cleaned, Context, Stack

logger = logging.getLogger("bluesky_ptycho")


class Chain(Protocol):
    """Cleans raw frames ``(n, K, H, W)`` in the layout's own order."""

    def __call__(self, frames: NDArray[Any], darks: PreparedDarks) -> Cleaned:
        """Clean frames; they are not changed."""


def make_chain(
    recipe: Recipe, steps: tuple[str, ...], executor: Executor, n_threads: int, backend: Backend | None = None
) -> Chain:
    """Return the quickest chain that there is for these steps; numba is imported where it is needed.

    On a backend with CUDA that is the GPU's, if it serves; else a message says that the CPU does the work.
    """
    fast = recipe.settings.fused and recipe.layout.fccd and steps in FCCD_STEPS.values()
    boxes = fast and steps == FCCD_STEPS["cosmic"] and recipe.grid.whole
    one_threshold = not recipe.counts_single_photons and (recipe.settings.threshold_reach or 0) < 2
    if backend is not None and backend.cuda:
        if boxes and (one_threshold or recipe.counts_single_photons):
            from .gpu import GpuChain

            return GpuChain(recipe, backend)
        logger.info(
            "frames are cleaned on the CPU: the GPU does the steps of preset 'cosmic' on raw FCCD frames, with fused "
            "kernels, box sums of whole pixels and, where one threshold serves all pixels, threshold_reach below 2"
        )
    if boxes and one_threshold:
        from .fused import FusedChain

        return FusedChain(recipe, executor, n_threads)
    if fast:
        from .staged import StagedChain

        return StagedChain(recipe, steps, executor, n_threads)
    return StepChain(recipe, steps, executor)


class StepChain:
    """Run the NumPy steps on one scan point after the other, which bounds the memory."""

    def __init__(self, recipe: Recipe, steps: tuple[str, ...], executor: Executor) -> None:
        self._recipe = recipe
        self._functions = [preprocessing_steps[name] for name in steps]
        self._executor = executor

    def __call__(self, frames: NDArray[Any], darks: PreparedDarks) -> Cleaned:
        """Clean frames ``(n, K, H, W)``."""
        context = Context(self._recipe, darks)
        result = Cleaned.empty(len(frames), self._recipe)

        def clean(i: int) -> None:
            stack = Stack.of(frames[i : i + 1])
            for step in self._functions:
                stack = step(stack, context)
            assert stack.n_damaged is not None and stack.n_saturated is not None  # merge_exposures counts them
            result.photons[i], result.mask[i] = stack.values[0], ~(stack.damaged | stack.saturated)[0]
            result.n_damaged[i], result.n_saturated[i] = stack.n_damaged[0], stack.n_saturated[0]
            if stack.weight is not None:
                result.weight[i] = stack.weight[0]

        for _ in self._executor.map(clean, range(len(frames))):
            pass
        return result
