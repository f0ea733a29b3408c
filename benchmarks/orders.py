"""Orders in which the points of a square grid can be measured, as the trajectories of the plans have them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Order = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def raster(row: np.ndarray, col: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Row after row."""
    return np.lexsort((col, row))


def snake(row: np.ndarray, col: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Row after row, every other one backwards."""
    return np.lexsort((np.where(row % 2, -col, col), row))


def interlaced(row: np.ndarray, col: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Four passes over every other row and column."""
    passes = np.array([[0, 2], [3, 1]])[row % 2, col % 2]
    return np.lexsort((np.where(row // 2 % 2, -col, col), row, passes))


def spiral(row: np.ndarray, col: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ring after ring from the middle, each along its angle."""
    y, x = row - row.mean(), col - col.mean()
    return np.lexsort((np.arctan2(y, x), np.rint(np.hypot(y, x))))


def random(row: np.ndarray, col: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Without order."""
    return rng.permutation(len(row))


ORDERS: dict[str, Order] = {f.__name__: f for f in (raster, snake, interlaced, spiral, random)}


def order_of(name: str, side: int, seed: int = 0) -> np.ndarray:
    """Return which points ``(side ** 2,) int`` of a grid, numbered row after row, are measured one after another."""
    row, col = (a.ravel() for a in np.mgrid[:side, :side])
    return ORDERS[name](row, col, np.random.default_rng(seed))
