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

    @classmethod
    def empty(cls, n: int, shape: tuple[int, int]) -> Cleaned:
        """Return room for n patterns of `shape`."""
        photons, mask = np.empty((n, *shape), dtype=np.float32), np.empty((n, *shape), dtype=bool)
        return cls(photons, mask, *np.zeros((2, n), dtype=np.int64))


@dataclass(frozen=True)
class Context:
    """What a step may look at besides the stack."""

    recipe: Recipe
    darks: PreparedDarks
