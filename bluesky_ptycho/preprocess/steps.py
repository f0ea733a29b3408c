"""The steps of preprocessing, one function each, in NumPy.

They are the reference for the fused kernel and what runs where there is none. A step takes a
:class:`Stack` and the run's :class:`Context` and returns a new stack; it never changes its input.
Registering a function here or elsewhere under ``registry.preprocessing_steps`` makes it available
to ``PreprocessSettings.steps``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..registry import preprocessing_steps
from .layouts import ADC_MASK, DAMAGED_BIT, GAIN_BITS, N_SLOTS, OVERSCAN_SLOTS, assemble
from .recipe import PreparedDarks, Recipe

MEDIAN_OF_MINIMUM = -0.54485
"""Median of the minimum of two samples of a normal distribution, in σ."""
MEDIAN_OF_DIFFERENCE = 0.95387
"""Median of the absolute difference of two samples of a normal distribution, in σ."""
BIAS_PER_DIFFERENCE = -MEDIAN_OF_MINIMUM / MEDIAN_OF_DIFFERENCE


@dataclass(frozen=True)
class Stack:
    """Frames on their way through the steps.

    Parameters
    ----------
    values : ndarray
        ``(n, K, H, W)`` raw words or ADU of K exposures; ``(n, rows, columns)`` once they are merged.
    damaged, saturated : ndarray of bool
        Like `values`. What is neither is valid.
    n_damaged, n_saturated : ndarray (n,) int64
        Raw pixels in the window that no exposure could give, bad pixels of the darks not counted.
    """

    values: NDArray[Any]
    damaged: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    n_damaged: NDArray[np.int64] | None = None
    n_saturated: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, frames: NDArray[Any]) -> Stack:
        """Start with raw frames ``(n, K, H, W)``."""
        return cls(frames, np.zeros(frames.shape, dtype=bool), np.zeros(frames.shape, dtype=bool))

    def map(self, function: Callable[[NDArray[Any]], NDArray[Any]], **changes: Any) -> Stack:
        """Apply a change of shape to values and both masks."""
        parts = {name: function(getattr(self, name)) for name in ("values", "damaged", "saturated")}
        return dataclasses.replace(self, **parts, **changes)


@dataclass(frozen=True)
class Cleaned:
    """What all steps give for n frames: `photons` and `mask` oriented, counts as in :class:`Stack`."""

    photons: NDArray[np.float32]
    mask: NDArray[np.bool_]
    n_damaged: NDArray[np.int64]
    n_saturated: NDArray[np.int64]


@dataclass(frozen=True)
class Context:
    """What a step may look at besides the stack."""

    recipe: Recipe
    darks: PreparedDarks


@preprocessing_steps.register("descramble")
def descramble(stack: Stack, context: Context) -> Stack:
    """Wire order → assembled order; nothing to do for assembled frames."""
    return stack.map(assemble) if context.recipe.layout.wire else stack


@preprocessing_steps.register("flag_pixels")
def flag_pixels(stack: Stack, context: Context) -> Stack:
    """Raw words → ADU in float32, damaged and saturated pixels.

    Lost packets and foreign gains come first: what they hold says nothing of saturation.
    """
    raw, settings = stack.values, context.recipe.settings
    if not context.recipe.layout.fccd:
        damaged = ~np.isfinite(raw)
        values = np.where(damaged, 0, raw).astype(np.float32)
        saturated = np.zeros_like(damaged) if settings.saturation is None else values >= settings.saturation
        return dataclasses.replace(stack, values=values, damaged=damaged, saturated=saturated)
    damaged = (raw & (DAMAGED_BIT | GAIN_BITS[1])) != GAIN_BITS[settings.gain]
    adc = raw & ADC_MASK
    return dataclasses.replace(
        stack, values=adc.astype(np.float32), damaged=damaged, saturated=~damaged & (adc == ADC_MASK)
    )


@preprocessing_steps.register("subtract_dark")
def subtract_dark(stack: Stack, context: Context) -> Stack:
    """Subtract the mean dark of each exposure; bad pixels become damaged and NaN."""
    mean = context.darks.mean
    return dataclasses.replace(stack, values=stack.values - mean, damaged=stack.damaged | np.isnan(mean))


@preprocessing_steps.register("subtract_overscan")
def subtract_overscan(stack: Stack, context: Context) -> Stack:
    """Subtract row by row what a channel reads without light.

    The lesser of the two overscan slots (the other may have caught charge from bright pixels),
    running median over the rows of the half, clamped. The median of the minimum of two samples lies
    0.545 σ below the mean: that is put right with the σ which the two slots' difference shows.
    Where a whole window of overscan is lost, the pixels are damaged.
    """
    settings = context.recipe.settings
    limits = (settings.overscan_low, settings.overscan_high) if context.darks.corrected else (-np.inf, np.inf)
    values, damaged = stack.values.copy(), stack.damaged.copy()
    lost = stack.damaged | stack.saturated
    for rows in context.recipe.layout.image_rows().reshape(2, -1):
        block = slice(rows[0], rows[-1] + 1)
        slots = [np.where(lost[..., block, s::N_SLOTS], np.inf, values[..., block, s::N_SLOTS]) for s in OVERSCAN_SLOTS]
        background = np.clip(running_median(np.minimum(*slots), settings.overscan_rows), *limits)
        background += np.float32(BIAS_PER_DIFFERENCE) * typical_difference(*slots)[..., None, :]
        background = np.repeat(background.astype(np.float32), N_SLOTS, axis=-1)
        values[..., block, :] -= background
        damaged[..., block, :] |= np.isnan(background)
    return dataclasses.replace(stack, values=values, damaged=damaged)


def running_median(values: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Median over `window` (odd) entries of the axis before the last; infinite ones are left out.

    At both ends the last whole window serves. NaN where a window has no finite entry.
    """
    windows = np.sort(sliding_window_view(values, window, axis=-2), axis=-1)
    count = np.isfinite(windows).sum(axis=-1, keepdims=True)
    lower, upper = (
        np.take_along_axis(windows, np.maximum(i, 0), axis=-1)[..., 0] for i in ((count - 1) // 2, count // 2)
    )
    median = np.where(count[..., 0] > 0, np.float32(0.5) * (lower + upper), np.float32(np.nan))
    edge = [(0, 0)] * (median.ndim - 2) + [(window // 2, window // 2), (0, 0)]
    return np.pad(median, edge, mode="edge")


def typical_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of |a - b| over the axis before the last where both are finite; 0 where none is."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - b)
    difference = np.sort(np.where(np.isfinite(difference), difference, np.inf), axis=-2)
    count = np.isfinite(difference).sum(axis=-2, keepdims=True)
    median = np.take_along_axis(difference, np.minimum(count // 2, a.shape[-2] - 1), axis=-2)
    return np.where(count > 0, median, np.float32(0))[..., 0, :].astype(np.float32)


@preprocessing_steps.register("crop")
def crop(stack: Stack, context: Context) -> Stack:
    """Cut out the image: no junk, seam, empty rows, no overscan."""
    return stack.map(context.recipe.image_of)


@preprocessing_steps.register("dilate_saturation")
def dilate_saturation(stack: Stack, context: Context) -> Stack:
    """Grow saturated spots by one pixel on all sides: their neighbours hold spilt charge."""
    return dataclasses.replace(stack, saturated=dilate3x3(stack.saturated))


def dilate3x3(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate ``(…, rows, columns)`` by a 3×3 square."""
    grown = mask.copy()
    grown[..., 1:, :] |= mask[..., :-1, :]
    grown[..., :-1, :] |= mask[..., 1:, :]
    rows = grown.copy()
    grown[..., 1:] |= rows[..., :-1]
    grown[..., :-1] |= rows[..., 1:]
    return grown


@preprocessing_steps.register("merge_exposures")
def merge_exposures(stack: Stack, context: Context) -> Stack:
    """``(n, K, …)`` → ``(n, …)``: the longest valid exposure of each pixel, in units of the longest time.

    Repeats of one time are averaged. Where no exposure is valid, the shortest one that is not
    damaged serves, marked saturated; where all are damaged the value is 0.
    """
    recipe = context.recipe
    shape = (stack.values.shape[0], *stack.values.shape[2:])
    values = np.zeros(shape, dtype=np.float32)
    valid, known = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    ordered = list(zip(recipe.exposure_groups, recipe.group_factors, strict=True))
    usable = ~(stack.damaged | stack.saturated)
    # First the fall-back, shortest time first, then the valid pixels, longest time first.
    for good, filled, groups in ((~stack.damaged, known, ordered[::-1]), (usable, valid, ordered)):
        for group, factor in groups:
            chosen = good[:, group]
            count = chosen.sum(axis=1, dtype=np.float32)
            total = np.where(chosen, stack.values[:, group], np.float32(0)).sum(axis=1)
            fresh = ~filled & (count > 0)
            values[fresh] = (total[fresh] / count[fresh]) * np.float32(factor)
            filled[fresh] = True
    damaged, saturated = ~known, known & ~valid
    measured = ~context.darks.bad.all(axis=0)
    return Stack(
        values,
        damaged,
        saturated,
        n_damaged=np.count_nonzero(recipe.grid.window(damaged & measured), axis=(1, 2)),
        n_saturated=np.count_nonzero(recipe.grid.window(saturated), axis=(1, 2)),
    )


@preprocessing_steps.register("photons")
def photons(stack: Stack, context: Context) -> Stack:
    """ADU → photons; what lies below the threshold (or 0) becomes 0."""
    recipe = context.recipe
    values = stack.values * np.float32(recipe.photons_per_adu)
    return dataclasses.replace(stack, values=np.where(values >= np.float32(recipe.floor), values, np.float32(0)))


@preprocessing_steps.register("beamstop")
def beamstop(stack: Stack, context: Context) -> Stack:
    """Divide by the transmission of the beamstop."""
    factor = context.recipe.beamstop
    return stack if factor is None else dataclasses.replace(stack, values=stack.values * factor)


@preprocessing_steps.register("box_sum")
def box_sum(stack: Stack, context: Context) -> Stack:
    """Sum boxes of raw pixels to solver pixels; one invalid contributor makes a solver pixel invalid, and 0."""
    grid = context.recipe.grid
    valid = grid.all_valid(~(stack.damaged | stack.saturated))
    saturated = ~valid & grid.all_valid(~stack.damaged)
    values = np.where(valid, grid.sum_boxes(stack.values), np.float32(0))
    return dataclasses.replace(stack, values=values, damaged=~(valid | saturated), saturated=saturated)


@preprocessing_steps.register("orient")
def orient_patterns(stack: Stack, context: Context) -> Stack:
    """Turn the image as the solver wants it."""
    return stack.map(context.recipe.grid.to_solver)


FCCD_STEPS = (
    "descramble",
    "flag_pixels",
    "subtract_dark",
    "subtract_overscan",
    "crop",
    "dilate_saturation",
    "merge_exposures",
    "photons",
    "beamstop",
    "box_sum",
    "orient",
)
PLAIN_STEPS = ("flag_pixels", "subtract_dark", "merge_exposures", "photons", "beamstop", "box_sum")
