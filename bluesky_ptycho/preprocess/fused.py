"""The fused chain on many frames: buffers for each thread around the kernel."""

from __future__ import annotations

import threading
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .assembling import assembled, room_to_assemble
from .kernels import BAD, clean_frame, make_scratch
from .layouts import GAIN_BITS, N_CHANNELS, image_columns
from .overscan import bias_of, dark_overscan, limits_of
from .recipe import PreparedDarks, Recipe
from .stack import Cleaned
from .work import exposure_table, share_frames


@dataclass(frozen=True)
class _KnownDamage:
    """What the darks say of bad pixels and of the overscan, in the kernel's form."""

    state: NDArray[np.uint8]
    rows: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    overscan: NDArray[np.float32]


class FusedChain:
    """Run the kernel over frames with one set of buffers for each thread.

    Parameters
    ----------
    recipe : Recipe
        Of an FCCD layout.
    executor : Executor
        Its threads share the frames of a call; the kernel holds no interpreter lock.
    n_threads : int
    """

    def __init__(self, recipe: Recipe, executor: Executor, n_threads: int) -> None:
        self._recipe = recipe
        self._executor = executor
        self._n_threads = n_threads
        self._buffers = threading.local()
        self._rows, self._columns = recipe.layout.image_rows(), image_columns()
        grid = recipe.grid
        rows, columns = grid.first[0], grid.first[1] + np.arange(grid.size[1])
        inside = (columns >= 0) & (columns < grid.image_shape[1])
        self._start = rows
        self._box_columns = np.where(inside, self._columns[np.where(inside, columns, 0)], -1)
        self._groups, self._factors = exposure_table(recipe)
        width = recipe.frame_shape[1]
        self._factor = np.zeros((0, width), dtype=np.float32)
        if (factor := recipe.pixel_factors) is not None:
            self._factor = np.ones((grid.image_shape[0], width), dtype=np.float32)
            self._factor[:, self._columns] = factor
        self._known: tuple[PreparedDarks, _KnownDamage] | None = None

    def __call__(self, frames: NDArray[np.uint16], darks: PreparedDarks) -> Cleaned:
        """Clean frames ``(n, K, H, W)`` in the layout's own order."""
        result = Cleaned.empty(len(frames), self._recipe)
        known = self._known_damage(darks)
        share_frames(
            self._executor, self._n_threads, len(frames), lambda i: self._clean(frames[i], darks, known, result, i)
        )
        return result

    def _clean(
        self, frame: NDArray[np.uint16], darks: PreparedDarks, known: _KnownDamage, result: Cleaned, i: int
    ) -> None:
        recipe, settings = self._recipe, self._recipe.settings
        state, background, room, scratch = self._thread_buffers()
        lost = np.empty(2, dtype=np.int64)
        clean_frame(
            assembled(frame, recipe, room),
            darks.mean,
            known.overscan,
            np.uint16(GAIN_BITS[settings.gain]),
            self._rows,
            self._columns,
            settings.overscan_rows,
            limits_of(recipe, darks),
            bias_of(darks),
            self._groups,
            self._factors,
            np.float32(recipe.photons_per_adu),
            np.float32(recipe.floor),
            self._factor,
            self._start,
            np.array(recipe.grid.boxes),
            self._box_columns,
            int(recipe.grid.binning),
            known.state,
            known.rows,
            known.valid,
            state,
            background,
            scratch,
            np.float32(recipe.worst_noise),
            result.photons[i],
            result.mask[i],
            result.weight[i],
            lost,
        )
        result.n_damaged[i], result.n_saturated[i] = lost

    def _thread_buffers(self) -> tuple[Any, ...]:
        if not hasattr(self._buffers, "value"):
            n, width = len(self._recipe.exposures_s), self._recipe.frame_shape[1]
            rows = self._recipe.grid.image_shape[0]
            self._buffers.value = (
                np.empty((n, rows, width), dtype=np.uint8),
                np.empty((n, rows, N_CHANNELS // 2), dtype=np.float32),
                room_to_assemble(self._recipe),
                make_scratch(self._recipe.settings.overscan_rows, rows // 2),
            )
        return self._buffers.value

    def _known_damage(self, darks: PreparedDarks) -> _KnownDamage:
        """Return the bad pixels of `darks`, worked out once for each dark."""
        known = self._known
        if known is not None and known[0] is darks:
            return known[1]
        n, rows, _ = darks.bad.shape
        longest = list(self._recipe.exposure_groups[0])
        state = np.zeros((n, rows, self._recipe.frame_shape[1]), dtype=np.uint8)
        state[..., self._columns] = np.where(darks.bad, BAD, 0)
        # With one exposure nothing can stand in for a bad pixel: its box is invalid, its NaN adds nothing.
        flagged = np.zeros(rows, dtype=np.uint8)
        if n > 1:
            flagged[:] = darks.bad.any(axis=(0, 2))
        valid = self._recipe.grid.all_valid(~np.asarray(darks.bad[longest].all(axis=0)))
        made = _KnownDamage(state, flagged, valid, dark_overscan(darks, self._recipe))
        self._known = (darks, made)
        return made
