"""What a channel reads without light, from its overscan slots: running median or polynomial."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..registry import preprocessing_steps
from .layouts import N_SLOTS, OVERSCAN_SLOTS, join_channels, split_channels
from .recipe import PreparedDarks, Recipe
from .stack import Context, Stack

MEDIAN_OF_MINIMUM = -0.54485
"""Median of the minimum of two samples of a normal distribution, in σ."""


@preprocessing_steps.register("subtract_overscan")
def subtract_overscan(stack: Stack, context: Context) -> Stack:
    """Subtract row by row what a channel reads without light.

    The lesser of the two overscan slots (the other may have caught charge from bright pixels),
    running median over the rows of the half, clamped. The median of the minimum of two samples lies
    0.545 σ below the mean: that is put right with the σ of the channel in the darks. (The median difference
    of the slots would tell it, too, but that of whole numbers is 4 % too large at 0.9 ADU.)
    Where a whole window of overscan is lost, the pixels are damaged.
    """
    recipe, darks = context.recipe, context.darks
    limits, bias = limits_of(recipe, darks), bias_of(darks)
    values, damaged = stack.values.copy(), stack.damaged.copy()
    lost = stack.damaged | stack.saturated
    for half, rows in enumerate(recipe.layout.image_rows().reshape(2, -1)):
        block = slice(rows[0], rows[-1] + 1)
        slots = [np.where(lost[..., block, s::N_SLOTS], np.inf, values[..., block, s::N_SLOTS]) for s in OVERSCAN_SLOTS]
        background = np.clip(running_median(np.minimum(*slots), recipe.settings.overscan_rows), *limits)
        background -= bias[:, half, None, :]
        background = np.repeat(background.astype(np.float32), N_SLOTS, axis=-1)
        values[..., block, :] -= background
        damaged[..., block, :] |= np.isnan(background)
    return dataclasses.replace(stack, values=values, damaged=damaged)


def limits_of(recipe: Recipe, darks: PreparedDarks) -> NDArray[np.float32]:
    """Return the lowest and the highest background ``(2,)`` in ADU; there are none where the offset is part of it."""
    settings = recipe.settings
    limits = (settings.overscan_low, settings.overscan_high) if darks.corrected else (-np.inf, np.inf)
    return np.array(limits, dtype=np.float32)


def bias_of(darks: PreparedDarks) -> NDArray[np.float32]:
    """Return what the running median of the lesser of two samples differs from their mean by, like ``darks.noise``."""
    return np.float32(MEDIAN_OF_MINIMUM) * darks.noise


def dark_overscan(darks: PreparedDarks, recipe: Recipe) -> NDArray[np.float32]:
    """Return the dark of the overscan slots ``(K, rows, 2, groups)``, as the kernels take it."""
    rows = darks.mean[:, recipe.layout.image_rows()]
    return np.ascontiguousarray(np.stack([rows[..., slot::N_SLOTS] for slot in OVERSCAN_SLOTS], axis=-2))


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


@preprocessing_steps.register("subtract_overscan_polynomial")
def subtract_overscan_polynomial(stack: Stack, context: Context) -> Stack:
    """Subtract from each channel a parabola over readout time, fitted to its overscan (Daurer et al. 2017).

    It is the same for all slots of a row. Lost samples are left out; the pixels of a channel that has
    fewer than three left are damaged.
    """
    rows = context.recipe.layout.image_rows()
    values, damaged = stack.values.copy(), stack.damaged.copy()
    lost = split_channels((stack.damaged | stack.saturated)[..., rows, :])[..., OVERSCAN_SLOTS]
    overscan = split_channels(stack.values[..., rows, :])[..., OVERSCAN_SLOTS]
    background = parabolas(overscan, ~lost, context.recipe.settings.overscan_skip)
    wide = join_channels(np.broadcast_to(background[..., None], (*background.shape, N_SLOTS)))
    values[..., rows, :] -= wide
    damaged[..., rows, :] |= np.isnan(wide)
    return dataclasses.replace(stack, values=values, damaged=damaged)


def parabolas(overscan: NDArray[np.float32], good: NDArray[np.bool_], skip: int) -> NDArray[np.float32]:
    """Fit a parabola over the rows to the good samples of each channel; return its values.

    Parameters
    ----------
    overscan : ndarray (…, rows, channels, 2)
    good : ndarray of bool
        Like `overscan`.
    skip : int
        First rows that are not fitted to.

    Returns
    -------
    ndarray (…, rows, channels) float32
        NaN for channels with fewer than three rows with good samples.
    """
    n_rows = overscan.shape[-3]
    time = np.linspace(-1, 1, n_rows)
    powers = time[:, None] ** np.arange(3)
    used = good & (np.arange(n_rows) >= skip)[:, None, None]
    count = used.sum(axis=-1, dtype=np.float64)
    total = np.where(used, overscan, 0).sum(axis=-1, dtype=np.float64)
    normal = np.einsum("rp,rq,...rc->...cpq", powers, powers, count)
    right = np.einsum("rp,...rc->...cp", powers, total)
    enough = (count > 0).sum(axis=-2) >= 3
    normal[~enough] = np.eye(3)
    fitted = np.einsum("rp,...cp->...rc", powers, np.linalg.solve(normal, right[..., None])[..., 0])
    return np.where(enough[..., None, :], fitted, np.nan).astype(np.float32)


@preprocessing_steps.register("subtract_common_mode")
def subtract_common_mode(stack: Stack, context: Context) -> Stack:
    """Subtract what all channels of a half read in common at one time: the median of their background samples.

    Samples above the background threshold, and lost ones, are left out.
    """
    recipe = context.recipe
    rows = recipe.layout.image_rows()
    limit = np.float32(recipe.settings.background_photons / recipe.photons_per_adu)
    cut = stack.values[..., rows, :]
    lost = (stack.damaged | stack.saturated)[..., rows, :]
    sequences = split_channels(np.where(lost | (np.abs(cut) >= limit), np.nan, cut))
    known = np.isfinite(sequences).any(axis=-2, keepdims=True)
    common = np.nanmedian(np.where(known, sequences, np.float32(0)), axis=-2, keepdims=True)
    values = stack.values.copy()
    values[..., rows, :] -= join_channels(np.broadcast_to(common, sequences.shape)).astype(np.float32)
    return dataclasses.replace(stack, values=values)
