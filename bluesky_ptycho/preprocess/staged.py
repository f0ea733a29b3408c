"""The staged chain: one kernel after the other on each frame, for what the fused kernel does not do."""

from __future__ import annotations

import threading
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import channel_kernels, image_kernels, pattern_kernels
from .assembling import assembled, room_to_assemble
from .channels import ChannelBuffers, Channels, Tones, tone_table
from .kernels import BAD, find_background, flag_pixels, make_scratch, merge_image
from .layouts import GAIN_BITS, N_CHANNELS, image_columns
from .overscan import bias_of, dark_overscan, limits_of
from .recipe import PreparedDarks, Recipe
from .resampling import AxisResampling
from .single_photons import BORROWED, CELL, DARKEST, FIRST_THRESHOLD, HIGHEST, LOWEST, SINGLE, WIDE, SinglePhotons
from .stack import Cleaned, weight_of
from .work import exposure_table, share_frames

GROUPS = N_CHANNELS // 2
_LIMITS = np.array([LOWEST, HIGHEST], dtype=np.float32)
_Source = tuple[Any, ...]
"""What :func:`image_kernels.count_frame` makes an image of."""


class StagedChain:
    """Both presets with any resampling and threshold.

    Parameters
    ----------
    recipe : Recipe
        Of an FCCD layout.
    steps : tuple of str
        Those of a preset.
    executor : Executor
        Its threads share the frames of a call; the kernels hold no interpreter lock.
    n_threads : int
    """

    def __init__(self, recipe: Recipe, steps: tuple[str, ...], executor: Executor, n_threads: int) -> None:
        self._recipe, self._executor, self._n_threads = recipe, executor, n_threads
        self._by_channel = "subtract_background" in steps
        # Nothing but the overscan is needed between raw words and image: one pass does for both.
        self._direct = not self._by_channel and len(recipe.exposures_s) == 1
        self._rows, self._columns = recipe.layout.image_rows(), image_columns()
        self._groups, self._factors = exposure_table(recipe)
        self._channels = Channels(recipe)
        factor = recipe.pixel_factors
        self._factor = np.zeros((0, 0), dtype=np.float32) if factor is None else factor
        self._resampling = _Resampling.of(recipe)
        self._buffers = threading.local()
        self._prepared: tuple[PreparedDarks, _KnownDark] | None = None
        self._lock = threading.Lock()

    def __call__(self, frames: NDArray[np.uint16], darks: PreparedDarks) -> Cleaned:
        """Clean frames ``(n, K, H, W)`` in the layout's own order."""
        result = Cleaned.empty(len(frames), self._recipe)
        known = self._known(darks)
        share_frames(
            self._executor, self._n_threads, len(frames), lambda i: self._clean(frames[i], darks, known, result, i)
        )
        return result

    def _clean(
        self, frame: NDArray[np.uint16], darks: PreparedDarks, known: _KnownDark, result: Cleaned, i: int
    ) -> None:
        recipe, buffers = self._recipe, self._thread_buffers()
        raw = assembled(frame, recipe, buffers.room)
        buffers.state[:] = known.state
        scale = np.float32(recipe.photons_per_adu * recipe.n_summed)
        for k in range(len(raw)):
            buffers.flagged_rows[:] = known.flagged_rows
            self._clean_exposure(raw[k], darks, known, buffers, k)
            if self._by_channel:
                self._channels.clean(
                    raw[k], darks.mean[k], known.tones[k], buffers.state[k], buffers.flagged_rows, buffers.channels,
                    buffers.image if len(raw) == 1 else buffers.values[k], scale if len(raw) == 1 else np.float32(1),
                )  # fmt: skip
        if len(raw) > 1:
            buffers.flagged_rows[:] = 1  # merging writes all rows of what is lost
        self._to_image(raw, buffers, scale)
        source = (
            raw[0] if self._direct else raw[0, :0], darks.mean[0], self._rows, buffers.level, buffers.state[0], scale
        )  # fmt: skip
        if recipe.counts_single_photons:
            self._count_singles(source, darks.photons, buffers)
        else:
            self._apply_threshold(source, buffers)
        photons, mask, counts = result.photons[i], result.mask[i], np.empty(2, dtype=np.int64)
        how = self._resampling
        mask[:] = how.inside
        pattern_kernels.take_columns(
            buffers.rows_done, *how.columns, recipe.grid.kernel == "fourier", buffers.turned, photons
        )  # fmt: skip
        photons[~how.inside] = 0
        pattern_kernels.mark_lost(
            buffers.lost, buffers.flagged_rows, *how.needed_by, how.window, photons, mask, counts
        )  # fmt: skip
        result.n_damaged[i], result.n_saturated[i] = counts
        if recipe.merges_exposures:
            result.weight[i] = self._weights(buffers, photons, mask)

    def _weights(self, buffers: _Buffers, photons: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the weights of solver pixels from the photons and the noise of raw ones, which is overwritten."""
        excess = np.empty_like(photons)
        image_kernels.give_excess(
            buffers.image, buffers.lost, buffers.noise, np.float32(self._recipe.photon_share), self._factor,
            *self._resampling.rows, buffers.rows_done,
        )  # fmt: skip
        pattern_kernels.take_columns(buffers.rows_done, *self._resampling.columns, False, buffers.turned, excess)
        return weight_of(photons, excess, mask, self._recipe.worst_noise)

    def _to_image(self, raw: NDArray[np.uint16], buffers: _Buffers, scale: np.float32) -> None:
        """Write photons and what is lost, exposures merged, where the raw words aren't taken directly."""
        image, lost = buffers.image, buffers.lost
        if self._direct:
            return
        if len(raw) == 1:
            pattern_kernels.keep_lost(buffers.state[0], buffers.flagged_rows, image, lost)
        else:
            merge_image(
                buffers.values, buffers.state, self._columns, self._groups, self._factors, scale, image, lost,
                buffers.noise,
            )  # fmt: skip

    def _count_singles(self, source: _Source, photons: SinglePhotons, buffers: _Buffers) -> None:
        """Give each pixel its own threshold, as :meth:`SinglePhotons.count` does, and resample along the rows."""
        first = np.array([FIRST_THRESHOLD, SINGLE, photons.first_worth], dtype=np.float32)
        constants = np.array([photons.first_false, photons.noise**2, BORROWED, DARKEST], dtype=np.float32)
        image_kernels.count_frame(
            source, buffers.image, self._recipe.merges_exposures, buffers.lost, buffers.flagged_rows, first, constants,
            _LIMITS, photons.worths, self._factor, *self._resampling.rows, buffers.cells, buffers.rows_done,
        )  # fmt: skip

    def _apply_threshold(self, source: _Source, buffers: _Buffers) -> None:
        """Give all pixels the same threshold, and resample along the rows."""
        settings, image, lost, flagged_rows = self._recipe.settings, buffers.image, buffers.lost, buffers.flagged_rows
        if self._direct:
            raw, dark, rows, level, state, scale = source
            image_kernels.image_of_raw(
                raw, dark, rows, level, state, flagged_rows, scale, buffers.adu, image, lost
            )  # fmt: skip
        pattern_kernels.apply_threshold(
            image, lost, flagged_rows, np.float32(self._recipe.floor), settings.threshold_reach or 0,
            settings.clip_negative, self._factor, buffers.age,
        )  # fmt: skip
        image_kernels.give_rows(image, *self._resampling.rows, buffers.rows_done)

    def _clean_exposure(
        self, raw: NDArray[np.uint16], darks: PreparedDarks, known: _KnownDark, buffers: _Buffers, k: int
    ) -> None:
        """Flag pixels and find what the channels read without light; subtract that where exposures are merged."""
        settings, state = self._recipe.settings, buffers.state[k]
        gain_bits = np.uint16(GAIN_BITS[settings.gain])
        flag_pixels(raw, gain_bits, self._rows, self._columns, state, buffers.flagged_rows)
        if self._by_channel:
            channel_kernels.flag_overscan(raw, gain_bits, self._rows, state, buffers.flagged_rows)
            return
        find_background(
            raw, known.overscan[k], gain_bits, self._rows, settings.overscan_rows, limits_of(self._recipe, darks),
            bias_of(darks)[k], buffers.scratch, state, buffers.flagged_rows, buffers.level,
        )  # fmt: skip
        if not self._direct:
            channel_kernels.subtract_level(raw, darks.mean[k], self._rows, buffers.level, buffers.values[k])

    def _thread_buffers(self) -> _Buffers:
        if not hasattr(self._buffers, "value"):
            self._buffers.value = _Buffers.of(self._recipe, self._direct)
        value: _Buffers = self._buffers.value
        return value

    def _known(self, darks: PreparedDarks) -> _KnownDark:
        """Return what the kernels must know of `darks`, worked out once for each."""
        with self._lock:
            if self._prepared is None or self._prepared[0] is not darks:
                self._prepared = (darks, _KnownDark.of(darks, self._recipe))
            return self._prepared[1]


@dataclass(frozen=True)
class _KnownDark:
    """Bad pixels ``(K, rows, W) uint8``, rows that have some, the overscan, and the tones of each exposure."""

    state: NDArray[np.uint8]
    flagged_rows: NDArray[np.uint8]
    overscan: NDArray[np.float32]
    tones: list[Tones]

    @classmethod
    def of(cls, darks: PreparedDarks, recipe: Recipe) -> _KnownDark:
        rows = recipe.layout.image_rows()
        state = np.where(np.isnan(darks.mean[:, rows]), np.uint8(BAD), np.uint8(0))
        tones = darks.tones or ((),) * len(recipe.exposures_s)
        overscan = dark_overscan(darks, recipe)
        flagged = np.asarray(state.any(axis=(0, 2)), dtype=np.uint8)
        return cls(
            state, flagged, overscan, [tone_table(mine, recipe.background_limit, len(rows) // 2) for mine in tones]
        )


@dataclass
class _Buffers:
    """What one thread works in."""

    values: NDArray[np.float32]
    state: NDArray[np.uint8]
    flagged_rows: NDArray[np.uint8]
    level: NDArray[np.float32]
    channels: ChannelBuffers
    image: NDArray[np.float32]
    lost: NDArray[np.uint8]
    noise: NDArray[np.float32]
    age: NDArray[np.int16]
    adu: NDArray[np.float32]
    cells: tuple[Any, ...]
    rows_done: NDArray[np.float32]
    turned: NDArray[np.float32]
    room: NDArray[np.uint16]
    scratch: tuple[Any, ...]

    @classmethod
    def of(cls, recipe: Recipe, direct: bool) -> _Buffers:
        n, width = len(recipe.exposures_s), recipe.frame_shape[1]
        rows, columns = recipe.grid.image_shape
        kept = (WIDE + 1) * CELL if direct and recipe.counts_single_photons else rows
        return cls(
            values=np.empty((n if n > 1 else 0, rows, width), dtype=np.float32),
            state=np.empty((n, rows, width), dtype=np.uint8),
            flagged_rows=np.empty(rows, dtype=np.uint8),
            level=np.empty((rows, GROUPS), dtype=np.float32),
            channels=ChannelBuffers.of(rows),
            image=np.empty((kept, columns), dtype=np.float32),
            lost=np.empty((rows, columns), dtype=np.uint8),
            noise=np.empty((rows, columns) if n > 1 else (0, 0), dtype=np.float32),
            age=np.empty(columns, dtype=np.int16),
            adu=np.empty(width, dtype=np.float32),
            cells=image_kernels.count_scratch((rows, columns), width),
            rows_done=np.empty((recipe.grid.boxes[0], columns), dtype=np.float32),
            turned=np.empty((columns, pattern_kernels.AT_ONCE), dtype=np.float32),
            room=room_to_assemble(recipe),
            scratch=make_scratch(recipe.settings.overscan_rows, rows // 2),
        )


@dataclass(frozen=True)
class _Resampling:
    """The grid as the kernels take it."""

    rows: tuple[NDArray[Any], NDArray[Any]]
    columns: tuple[NDArray[Any], NDArray[Any]]
    needed_by: tuple[NDArray[np.intp], ...]
    inside: NDArray[np.bool_]
    window: NDArray[np.int64]

    @classmethod
    def of(cls, recipe: Recipe) -> _Resampling:
        grid = recipe.grid
        rows, columns = grid.axes()
        first_to, give, _, _ = rows.bands()
        _, _, first_from, take = columns.bands()
        window = [v for first, size in zip(grid.first, grid.size, strict=True) for v in (first, first + size)]
        inside = grid.to_solver(rows.inside[:, None] & columns.inside)
        return cls(
            (first_to, give),
            (first_from, take),
            (*_needed_by(rows), *_needed_by(columns)),
            np.ascontiguousarray(inside),
            np.array(window),
        )


def _needed_by(axis: AxisResampling) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return first and behind-last solver pixel that each raw pixel of an axis is needed by."""
    used = axis.support.T
    any_used = used.any(axis=1)
    first = np.where(any_used, used.argmax(axis=1), 0)
    last = np.where(any_used, used.shape[1] - used[:, ::-1].argmax(axis=1), 0)
    return first, last
