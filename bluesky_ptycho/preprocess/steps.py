"""The steps of preprocessing, one function each, in NumPy.

They are the reference for the fast kernels and what runs where there is none. A step takes a
:class:`~bluesky_ptycho.preprocess.stack.Stack` and the run's
:class:`~bluesky_ptycho.preprocess.stack.Context` and returns a new stack; it never changes its input.
Registering a function here or elsewhere under ``registry.preprocessing_steps`` makes it available
to ``PreprocessSettings.steps``. Those for the overscan and for drift and tones have modules of their own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..registry import preprocessing_steps
from .layouts import ADC_MASK, DAMAGED_BIT, GAIN_BITS
from .stack import Context, Stack, weight_of


@preprocessing_steps.register("descramble")
def descramble(stack: Stack, context: Context) -> Stack:
    """Wire order → assembled order, late channels back in their places; nothing to do for other frames."""
    recipe = context.recipe
    return stack.map(recipe.in_place) if recipe.layout.wire or recipe.settings.channel_shifts else stack


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

    Repeats of one time are averaged. A shorter time serves only where a longer one is saturated: where that is
    damaged instead, there may be no light, and the short one's noise, scaled up, would pass for some.
    Where nothing is valid the shortest exposure that is not damaged serves, marked saturated; the value of
    damaged pixels is 0.
    """
    recipe = context.recipe
    shape = (stack.values.shape[0], *stack.values.shape[2:])
    values, noise = np.zeros(shape, dtype=np.float32), np.ones(shape, dtype=np.float32)
    valid, bright, fallen_back = (np.zeros(shape, dtype=bool) for _ in range(3))
    ordered = list(zip(recipe.exposure_groups, recipe.group_factors, strict=True))

    def average(good: NDArray[np.bool_], group: tuple[int, ...], factor: float) -> tuple[Any, NDArray[Any]]:
        chosen = good[:, group]
        count = chosen.sum(axis=1, dtype=np.float32)
        total = np.where(chosen, stack.values[:, group], np.float32(0)).sum(axis=1)
        return total / np.maximum(count, np.float32(1)) * np.float32(factor), count

    for group, factor in ordered[::-1]:
        mean, found = average(~stack.damaged, group, factor)
        fresh = (found > 0) & ~fallen_back
        values[fresh] = mean[fresh]
        fallen_back |= fresh
    for step, (group, factor) in enumerate(ordered):
        mean, found = average(~(stack.damaged | stack.saturated), group, factor)
        served = bright if step else np.ones(shape, dtype=bool)
        fresh = (found > 0) & ~valid & served
        values[fresh] = mean[fresh]
        noise[fresh] = np.float32(factor * len(ordered[0][0])) / found[fresh]
        valid |= fresh
        bright = bright | ((stack.saturated & ~stack.damaged)[:, group].any(axis=1) & served)
    damaged = ~valid & ~bright
    values[damaged] = 0
    measured = ~context.darks.bad[list(ordered[0][0])].all(axis=0)
    saturated = ~valid & bright
    return Stack(
        values,
        damaged,
        saturated,
        n_damaged=np.count_nonzero(recipe.grid.window(damaged & measured), axis=(1, 2)),
        n_saturated=np.count_nonzero(recipe.grid.window(saturated), axis=(1, 2)),
        noise=noise if recipe.merges_exposures else None,
    )


@preprocessing_steps.register("photons")
def photons(stack: Stack, context: Context) -> Stack:
    """ADU → photons; what lies below the threshold (or 0) becomes 0, unless it is next to what does not.

    Without a threshold in the settings each pixel has its own, see
    :mod:`bluesky_ptycho.preprocess.single_photons`.
    """
    recipe = context.recipe
    values = np.where(stack.damaged, np.float32(0), stack.values * np.float32(recipe.photons_per_adu))
    if recipe.counts_single_photons:
        repeats = np.float32(recipe.n_summed)
        counted = context.darks.photons.count(values * repeats, ~(stack.damaged | stack.saturated))
        return dataclasses.replace(stack, values=counted / repeats)
    kept = dilate(values >= np.float32(recipe.floor), recipe.settings.threshold_reach or 0)
    if recipe.settings.clip_negative:
        values = np.maximum(values, np.float32(0))
    return dataclasses.replace(stack, values=np.where(kept, values, np.float32(0)))


def dilate(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Dilate ``(…, rows, columns)`` by a square of `reach` pixels, which reaches down and right of its pixel."""
    grown = mask.copy()
    for axis in (-2, -1):
        before = np.moveaxis(grown, axis, -1).copy()
        after = np.moveaxis(grown, axis, -1)
        for step in range(1, reach):
            after[..., step:] |= before[..., :-step]
    return grown


@preprocessing_steps.register("count_photons")
def count_photons(stack: Stack, context: Context) -> Stack:
    """Round to whole photons, for sparse frames: what the threshold has left counts as one more from there on.

    Whole they are in the sum of the longest exposure's repeats, in whose mean one is a fraction.
    """
    threshold = np.float32(context.recipe.settings.photon_threshold or 0.5)
    repeats = np.float32(len(context.recipe.exposure_groups[0]))
    counts = np.floor(stack.values * repeats + (1 - threshold)) / repeats
    return dataclasses.replace(stack, values=np.maximum(counts, 0).astype(np.float32))


@preprocessing_steps.register("flat_field")
def flat_field(stack: Stack, context: Context) -> Stack:
    """Divide by the sensitivity of the pixels."""
    factor = context.recipe.flat
    return stack if factor is None else dataclasses.replace(stack, values=stack.values * factor)


@preprocessing_steps.register("beamstop")
def beamstop(stack: Stack, context: Context) -> Stack:
    """Divide by the transmission of the beamstop."""
    factor = context.recipe.beamstop
    return stack if factor is None else dataclasses.replace(stack, values=stack.values * factor)


@preprocessing_steps.register("resample")
def resample(stack: Stack, context: Context) -> Stack:
    """Make solver pixels of raw ones; one invalid contributor makes a solver pixel invalid, and 0."""
    grid = context.recipe.grid
    lost = stack.damaged | stack.saturated
    valid = grid.all_valid(~lost)
    saturated = ~valid & grid.all_valid(~stack.damaged)
    image = np.where(lost, np.float32(0), stack.values)
    values = grid.resample(image)
    # A Fourier crop rings below 0, which no number of photons does.
    values = np.where(valid, np.maximum(values, 0) if grid.kernel == "fourier" else values, np.float32(0))
    weight = None
    if stack.noise is not None:
        recipe = context.recipe
        single = stack.noise / np.float32(len(recipe.exposure_groups[0]))
        for factor in (recipe.flat, recipe.beamstop):
            single = single if factor is None else single * factor
        excess = np.where(lost, np.float32(0), np.maximum(image, single) * (stack.noise - np.float32(1)))
        excess = grid.resample(excess)
        weight = weight_of(values, excess, valid, context.recipe.worst_noise)
    return dataclasses.replace(
        stack, values=values, damaged=~(valid | saturated), saturated=saturated, noise=None, weight=weight
    )


@preprocessing_steps.register("orient")
def orient_patterns(stack: Stack, context: Context) -> Stack:
    """Turn the image as the solver wants it."""
    return stack.map(context.recipe.grid.to_solver)
