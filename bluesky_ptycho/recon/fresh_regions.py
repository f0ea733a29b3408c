"""Object regions that light reaches for the first time start from a smooth continuation of what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import Canvas
from .newcomers import Newcomers
from .state import ReconState, offset_px

LIT = 0.01
"""Share of the brightest pixel's light from which a pixel counts as lit."""

NEWS = 0.3
"""Share of a frame's light that newly lit what it shows, from which the frame needs visits of its own.

A frame that falls between others brings little but its noise: rows and spirals measure 0.35 to 0.5, a point among
those of a random or interlaced scan 0.1 to 0.3 once a third has been measured.
"""

REACH = 1 / 16
"""Standard deviation, as a share of the window, of the Gaussian that carries known values over."""


class FreshRegions:
    """Keeps the light that the object has received, and fills what is newly lit."""

    def __init__(self) -> None:
        self._light = np.zeros((0, 0), np.float32)
        self._canvas: Canvas | None = None
        self._newcomers = Newcomers()

    def fill(self, state: ReconState, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Continue the object of `state` into what frames of `slots` have newly lit; return those with much news.

        The first frames of all have none: there is nothing to continue.
        """
        new = self._newcomers.meet(state.frames, slots)
        if not len(new):
            return new
        started = self._canvas is not None
        self._follow(state)
        before = self._light.copy() if started else self._light
        power = np.asarray(np.sum(np.abs(state.backend.to_host(state.probe)) ** 2, axis=0, dtype=np.float32))
        ny, nx = power.shape
        corners = state.frames.corners[new]
        for r, c in corners.tolist():
            self._light[r : r + ny, c : c + nx] += power
        if started:
            low, high = corners.min(axis=0), corners.max(axis=0) + np.array([ny, nx])
            box = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
            floor = LIT * float(self._light.max())
            fresh = (self._light[box] > floor) & (before[box] <= floor)
            known = np.where(before[box] > floor, before[box], np.float32(0))
            for layer in state.slices:
                self._continue(state, layer, box, fresh, known)
            return new[self._news(corners, power, before) >= NEWS]
        return new[:0]

    def to_array(self, state: ReconState) -> NDArray[np.float32]:
        """Return the light ``(rows, cols)`` on the canvas of `state`, for a checkpoint."""
        self._follow(state)
        return self._light.copy()

    def are_met(self, state: ReconState, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which frames of `slots` have been filled in."""
        return self._newcomers.known(state.frames, slots)

    def take_up(self, light: NDArray[np.float32], canvas: Canvas, state: ReconState, met: NDArray[np.int64]) -> None:
        """Go on with `light` on `canvas`; the frames in the slots `met` are no news."""
        self._light, self._canvas = np.array(light, np.float32), canvas
        self._newcomers.meet(state.frames, met)

    def _follow(self, state: ReconState) -> None:
        """Move the light to the state's canvas."""
        canvas = state.canvas
        if self._canvas == canvas:
            return
        light = np.zeros(canvas.shape, np.float32)
        if self._canvas is not None:
            r, c = offset_px(self._canvas, canvas)
            rows, cols = self._light.shape
            light[r : r + rows, c : c + cols] = self._light
        self._light, self._canvas = light, canvas

    def _news(
        self, corners: NDArray[np.int64], power: NDArray[np.float32], before: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return for frames at `corners` the share of their light that was not there `before`, weighted by itself."""
        ny, nx = power.shape
        windows = [(slice(r, r + ny), slice(c, c + nx)) for r, c in corners.tolist()]
        known = [np.sum(power * before[w] / np.maximum(self._light[w], np.float32(1e-30))) for w in windows]
        return 1 - np.array(known, np.float64) / float(power.sum())

    def _continue(
        self,
        state: ReconState,
        layer: Any,
        box: tuple[slice, slice],
        fresh: NDArray[np.bool_],
        known: NDArray[np.float32],
    ) -> None:
        if not fresh.any() or not known.any():
            return
        from scipy import ndimage

        image = np.array(state.backend.to_host(layer[box]))
        width = [n * REACH for n in state.frames.window]
        # A floor of light with the mean transmission takes over where nothing known is near.
        mean = np.sum(image * known) / np.sum(known)
        floor = np.float32(1e-3 * known.max())
        values = ndimage.gaussian_filter(image * known, width) + floor * mean
        weights = ndimage.gaussian_filter(known, width) + floor
        image[fresh] = (values / weights)[fresh]
        layer[box] = state.backend.to_device(image.astype(np.complex64))
