"""What travels through the steps of preprocessing, and what comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recipe import PreparedDarks, Recipe


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
    noise : ndarray (n, rows, columns) float32 or None
        How many times the variance of as many photons in all repeats of the longest exposure each pixel has; None
        before exposures of different times are merged, and after solver pixels are made.
    weight : ndarray (n, boxes down, boxes across) float32 or None
        One over that for solver pixels, see :func:`weight_of`.
    """

    values: NDArray[Any]
    damaged: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    n_damaged: NDArray[np.int64] | None = None
    n_saturated: NDArray[np.int64] | None = None
    noise: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, frames: NDArray[Any]) -> Stack:
        """Start with raw frames ``(n, K, H, W)``."""
        return cls(frames, np.zeros(frames.shape, dtype=bool), np.zeros(frames.shape, dtype=bool))

    def map(self, function: Callable[[NDArray[Any]], NDArray[Any]], **changes: Any) -> Stack:
        """Apply a change of shape to values, both masks and what is said of the noise."""
        names = ("values", "damaged", "saturated", "noise", "weight")
        parts = {name: function(part) for name in names if (part := getattr(self, name)) is not None}
        return dataclasses.replace(self, **parts, **changes)


@dataclass(frozen=True)
class Cleaned:
    """What all steps give for n frames: `photons`, `mask` and `weight` oriented, counts as in :class:`Stack`."""

    photons: NDArray[np.float32]
    mask: NDArray[np.bool_]
    n_damaged: NDArray[np.int64]
    n_saturated: NDArray[np.int64]
    weight: NDArray[np.float32]

    @classmethod
    def empty(cls, n: int, recipe: Recipe) -> Cleaned:
        """Return room for n patterns; for weights where there are different exposures, else these have no pixels."""
        shape = recipe.grid.output_shape
        photons, mask = np.empty((n, *shape), dtype=np.float32), np.empty((n, *shape), dtype=bool)
        # A step of somebody's own may make a stack without noise.
        weight = np.ones((n, *(shape if recipe.merges_exposures else (0, 0))), dtype=np.float32)
        n_damaged, n_saturated = np.zeros((2, n), dtype=np.int64)
        return cls(photons, mask, n_damaged, n_saturated, weight)


def weight_of(
    photons: NDArray[np.float32], excess: NDArray[np.float32], valid: NDArray[np.bool_], worst: float
) -> NDArray[np.float32]:
    """Return the weights of solver pixels: the variance that their photons lead to expect, over what they have.

    Parameters
    ----------
    photons, valid : ndarray (…, ny, nx)
    excess : ndarray (…, ny, nx) float32
        Sum over a pixel's raw ones of their photons times how much more than 1 their noise is, see :class:`Stack`. A
        shorter exposure without a photon counts as if it had one: nothing says that there is no light.
    worst : float
        Largest noise that a raw pixel can have.
    """
    light, more = np.maximum(photons, np.float32(0)), np.maximum(excess, np.float32(0))
    share = np.divide(light, light + more, out=np.ones_like(light), where=valid & (more > 0))
    return np.maximum(share, np.float32(1 / worst))


@dataclass(frozen=True)
class Context:
    """What a step may look at besides the stack."""

    recipe: Recipe
    darks: PreparedDarks
