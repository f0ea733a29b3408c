"""Which frames must not reach the solver.

Damage, saturation and the absence of any light are seen in a frame by itself. Whether a frame is dim can
only be told beside the others of its scan: :func:`dim_frames` is a function of the whole set, so that neither
the order in which frames come nor how many are cleaned at once changes a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .recipe import Recipe

N_BLOCKS = 16
"""Blocks along each axis in which light is looked for."""
NOISE_RATIO = 2.0
"""Variance of the blocks over their mean, in photons, up to which a frame holds no more than noise.

Counted photons give 1, noise pixels that pass a threshold what each is worth; a dim diffraction pattern gives tens.
"""
EMPTY_QUANTILE = 0.1
"""Quantile of a frame's blocks that counts as without light."""
NORMAL_QUANTILE = 1.2816
"""Distance of that quantile from the mean of a normal distribution, in σ."""
USUAL_QUANTILE = 0.9
"""Quantile of the flux that counts as usual: half the scan may be dark, or behind a thick part of the sample."""


@dataclass(frozen=True)
class Light:
    """What frames hold beyond an even background.

    Parameters
    ----------
    flux : ndarray (n,) float64
        Photons above the background.
    found : ndarray (n,) bool
        Whether they are unevenly spread as a diffraction pattern is, not as noise.
    """

    flux: NDArray[np.float64]
    found: NDArray[np.bool_]


def measure_light(photons: NDArray[np.float32], mask: NDArray[np.bool_], grain: float = 1.0) -> Light:
    """Measure frames ``(n, ny, nx)``; pixels that are not valid in `mask` hold 0 and are left out.

    `grain` is what a noise pixel counts as, in photons. The noise of a million raw pixels may hold more photons
    than a pattern: the flux counts from the darkest blocks. What remains of drift runs along rows and channels: to
    find light at all, the median of each row of blocks goes first, then that of each column.
    """
    blocks = _blocks(photons)
    partial = ~mask.all(axis=(1, 2))
    if partial.any():
        # Nothing here may depend on the other frames of the chunk: a whole block is taken as it is.
        size = float(_blocks(np.ones_like(mask[:1], dtype=np.float32))[0, 0, 0])
        valid = np.full(blocks.shape, size)
        valid[partial] = _blocks(mask[partial].astype(np.float32))
        enough = valid > 0.5 * size
        blocks = np.where(enough, blocks * (size / np.maximum(valid, 1.0)), np.nan)
        blocks[~enough.any(axis=(1, 2))] = 0.0
    mean = np.nanmean(blocks, axis=(1, 2))
    # Without NaN those that don't look for it give the same numbers in a fifth of the time, but not of no frames.
    known = len(blocks) > 0 and not np.isnan(blocks).any()
    quantile, median = (np.quantile, np.median) if known else (np.nanquantile, np.nanmedian)
    empty = quantile(blocks, EMPTY_QUANTILE, axis=(1, 2), keepdims=True)
    # Where all blocks hold the same, that quantile lies below their mean by so much of their noise.
    background = empty + NORMAL_QUANTILE * np.sqrt(grain * np.maximum(empty, 0.0))
    flux = np.nansum(blocks - background, axis=(1, 2))
    for axis in (2, 1):
        lines = np.where(np.isnan(blocks).all(axis=axis, keepdims=True), 0.0, blocks)
        blocks = blocks - median(lines, axis=axis, keepdims=True)
    noise = grain * np.maximum(mean, 0.0)
    return Light(flux, np.nanvar(blocks, axis=(1, 2)) > NOISE_RATIO * noise)


def _blocks(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum ``(n, ny, nx)`` over at most 16 × 16 equal blocks; rows and columns left over at the end go without."""
    n, *shape = frames.shape
    across = [min(N_BLOCKS, size) for size in shape]
    size = [length // blocks for length, blocks in zip(shape, across, strict=True)]
    cut = frames[:, : across[0] * size[0], : across[1] * size[1]]
    rows = cut.reshape(n, across[0], size[0], cut.shape[-1]).sum(axis=2, dtype=np.float32)
    return rows.reshape(n, across[0], across[1], size[1]).sum(axis=3, dtype=np.float64)


def dim_frames(flux: NDArray[np.float64], limit: float) -> tuple[NDArray[np.bool_], float]:
    """Tell which frames of a scan are too dim beside the others.

    Parameters
    ----------
    flux : ndarray (n,) float64
        Of all frames of the scan so far that light was found in.
    limit : float
        Share of the usual flux that a frame must have.

    Returns
    -------
    ndarray (n,) bool, float
        Which they are, and the usual flux.
    """
    if not len(flux):
        return np.zeros(0, dtype=bool), 0.0
    usual = float(np.quantile(flux, USUAL_QUANTILE))
    return flux < limit * usual, usual


class FrameChecks:
    """Judge each frame by itself.

    Parameters
    ----------
    recipe : Recipe
        Gives limits and the number of raw pixels.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._settings = recipe.settings
        self._n_pixels = recipe.grid.size[0] * recipe.grid.size[1]

    def __call__(
        self, n_damaged: NDArray[np.int64], n_saturated: NDArray[np.int64], light: Light | None = None
    ) -> dict[int, str]:
        """Return row → reason for the frames to reject; a reason is a kind, a colon and details.

        Parameters
        ----------
        n_damaged, n_saturated : ndarray (n,) int64
            Raw pixels of each frame that were lost.
        light : Light, optional
            What was found in them; without it no frame is called dark.
        """
        settings = self._settings
        limits = (
            (n_damaged, settings.max_damaged_fraction, "corrupt", "damaged"),
            (n_saturated, settings.max_saturated_fraction, "saturated", "saturated"),
        )
        reasons: dict[int, str] = {}
        for lost, limit, verdict, what in limits:
            for i in np.flatnonzero(lost > limit * self._n_pixels):
                share = 100 * lost[i] / self._n_pixels
                reasons.setdefault(int(i), f"{verdict}: {share:.1f} % of the pixels are {what}")
        if light is not None and settings.min_relative_flux > 0:
            for i in np.flatnonzero(~light.found):
                reasons.setdefault(int(i), f"dark: nothing stands out of the noise, {light.flux[i]:.3g} photons")
        return reasons
