"""The scanning transmission image: the first low-resolution picture of a scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ..geometry import Canvas


def stxm_map(positions_m: ArrayLike, totals: ArrayLike, canvas: Canvas) -> NDArray[np.float32]:
    """Return the transmitted photons of each scan point as an image on `canvas`.

    Scattered points become an image by normalised convolution with a Gaussian as wide as the
    typical distance between neighbours (Knutsson & Westin 1993).

    Parameters
    ----------
    positions_m : array_like, (n, 2)
        Stage positions ``(y, x)`` in m.
    totals : array_like, (n,)
        Photons of the pattern at each position.
    canvas : Canvas
        Grid of the image.

    Returns
    -------
    ndarray (rows, cols) float32
        Transmission relative to the brightest point; NaN where no point is near.
    """
    positions = np.asarray(positions_m, dtype=np.float64).reshape(-1, 2)
    values = np.asarray(totals, dtype=np.float64)
    image = np.full(canvas.shape, np.nan, dtype=np.float32)
    inside = canvas.contains(positions) & np.isfinite(values)
    if not inside.any() or values[inside].max() <= 0:
        return image
    pixels = np.rint(canvas.corners_px(positions[inside])).astype(np.intp)
    pixels += np.array([canvas.window[0] // 2, canvas.window[1] // 2])
    width = _spacing_px(pixels)
    weight = np.zeros(canvas.shape, dtype=np.float32)
    signal = np.zeros_like(weight)
    np.add.at(weight, (pixels[:, 0], pixels[:, 1]), 1.0)
    np.add.at(signal, (pixels[:, 0], pixels[:, 1]), values[inside] / values[inside].max())
    margin = int(np.ceil(4 * width)) + 1
    low = np.maximum(pixels.min(axis=0) - margin, 0)
    high = pixels.max(axis=0) + margin + 1
    box = np.s_[low[0] : high[0], low[1] : high[1]]
    blurred, lit = (gaussian_filter(a[box], 0.6 * width, mode="constant") for a in (signal, weight))
    # A lone point one and a half spacings away still lights a pixel; farther out nothing is known.
    near = lit > np.exp(-0.5 * (1.5 / 0.6) ** 2) / (2 * np.pi * (0.6 * width) ** 2)
    target = image[box]
    target[near] = blurred[near] / lit[near]
    return image


def _spacing_px(pixels: NDArray[np.intp]) -> float:
    """Return the median distance to the nearest other point, at least one pixel."""
    distinct = np.unique(pixels, axis=0)
    if len(distinct) < 2:
        return 1.0
    distance, _ = cKDTree(distinct).query(distinct, k=2)
    return max(1.0, float(np.median(distance[:, 1])))
