"""Positions that are refined with the object.

Each visit notes the shift that would make the object's window explain its exit wave best; see
:func:`bluesky_ptycho.recon.reference.shift_sums`. After a pass all frames step, in pixels, within a bound around the
measured positions. A common shift of all frames is none: object and probe move with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .state import ReconState

MOMENTUM = 0.7
"""A linearised shift falls short of the true one; momentum makes up for it."""

MOST_PX = 0.3
"""Longest step of a pass: further the linearisation does not hold."""

DRIFT_ORDER = 3


class PositionRefinement:
    """Steps the frames' positions after each pass.

    Parameters
    ----------
    model : {"free", "affine", "drift"}
        Each frame by itself; a common scale, rotation and shear of the scan; or a polynomial of third order in the
        order of acquisition.
    bound_px : float
        Longest correction along each axis.
    """

    def __init__(self, model: str, bound_px: float) -> None:
        self.model, self.bound_px = model, bound_px

    def begin(self, state: ReconState, slots: NDArray[np.int64], *, active: bool) -> None:
        """Have visits note what they ask."""
        state.tracks_shifts = active

    def finish(self, state: ReconState, slots: NDArray[np.int64]) -> None:
        """Step, keep to model and bound, and place the frames anew."""
        frames = state.frames
        sums = frames.shift_sums[slots].astype(np.float64)
        weight = sums[:, 1::2]
        wish = np.clip(sums[:, ::2] / np.maximum(weight, 1e-12), -MOST_PX, MOST_PX)
        frames.shift_speed[slots] = np.clip(MOMENTUM * frames.shift_speed[slots] + wish, -MOST_PX, MOST_PX)
        shift = frames.shift_px[slots] + frames.shift_speed[slots]
        if self.model != "free":
            shift = fitted(shift, weight, self._basis(state, slots))
        shift -= np.average(shift, axis=0, weights=weight + 1e-12)
        shift = np.clip(shift, -self.bound_px, self.bound_px)
        frames.shift_px[slots] = _on_canvas(state, slots, shift)
        frames.place(state.canvas)
        state.tracks_shifts = False

    def _basis(self, state: ReconState, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        frames = state.frames
        if self.model == "affine":
            centred = frames.positions_m[slots] - frames.positions_m[slots].mean(axis=0)
            return np.column_stack([np.ones(len(slots)), centred / max(np.abs(centred).max(), 1e-12)])
        order = frames.numbers[slots].astype(np.float64)
        middle, half = (order.max() + order.min()) / 2, max((order.max() - order.min()) / 2, 1.0)
        return np.vander((order - middle) / half, DRIFT_ORDER + 1)


def fitted(shift: NDArray[np.float64], weight: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted least-squares fit of `shift` ``(n, 2)`` by the columns of `basis` ``(n, k)``, each axis."""
    out = np.empty_like(shift)
    for axis in (0, 1):
        root = np.sqrt(weight[:, axis] / max(weight[:, axis].max(), 1e-30) + 1e-9)
        factors = np.linalg.lstsq(basis * root[:, None], shift[:, axis] * root, rcond=None)[0]
        out[:, axis] = basis @ factors
    return out


def _on_canvas(state: ReconState, slots: NDArray[np.int64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `shift` cut so that no window leaves the canvas."""
    canvas, frames = state.canvas, state.frames
    corners = canvas.corners_px(frames.positions_m[slots])
    most = np.asarray(canvas.shape) - np.asarray(canvas.window)
    return np.asarray(np.clip(corners + shift, 0, most) - corners)


def mean_drift_m(state: ReconState, slots: NDArray[np.int64], shift_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far ``(y, x)`` in m the positions ran away from the first to the last frame, by a straight line."""
    frames = state.frames
    weight = frames.shift_sums[slots, 1::2].astype(np.float64)
    order = frames.numbers[slots].astype(np.float64)
    span = order.max() - order.min()
    basis = np.column_stack([np.ones(len(slots)), (order - order.min()) / max(span, 1.0)])
    line = fitted(shift_px, weight, basis)
    ends = line[np.argmax(order)] - line[np.argmin(order)]
    return np.asarray(ends * np.asarray(state.canvas.pixel_m))
