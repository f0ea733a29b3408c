"""Cleaning of raw frames channel by channel, some at once: what lies between the staged chain and the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import channel_kernels
from .background import MIN_SHARE, MOST_LIT, N_PASSES, drift_cosines, tone_rounds, tone_tables
from .channel_kernels import AT_ONCE, TILE
from .layouts import N_CHANNELS, N_SLOTS, OVERSCAN_SLOTS
from .recipe import Recipe

GROUPS = N_CHANNELS // 2

Tones = tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]
"""What :func:`channel_kernels.clean_channels` takes: each channel's first tone, reaches, and tables."""


@dataclass
class ChannelBuffers:
    """What one thread works in: samples ``(columns, rows)``, which of them are good, and a tile of frame rows."""

    values: NDArray[np.float32]
    good: NDArray[np.uint8]
    tile: NDArray[np.float32]

    @classmethod
    def of(cls, n_rows: int) -> ChannelBuffers:
        """Return buffers for images of `n_rows`."""
        columns = AT_ONCE * N_SLOTS
        return cls(
            np.empty((columns, n_rows // 2), dtype=np.float32),
            np.empty((columns, n_rows // 2), dtype=np.uint8),
            np.empty(TILE * columns, dtype=np.float32),
        )


class Channels:
    """Subtract dark, parabolas, drift and tones."""

    def __init__(self, recipe: Recipe) -> None:
        settings = recipe.settings
        self._rows = recipe.layout.image_rows()
        self._skip = settings.overscan_skip
        self._limits = np.float32(recipe.background_limit), np.float32(MOST_LIT)
        self._n_passes = N_PASSES if settings.drift_terms else 0
        self._cosines = np.ascontiguousarray(drift_cosines(len(self._rows) // 2, settings.drift_terms).T)

    def clean(
        self, raw: NDArray[np.uint16], dark: NDArray[np.float32], tones: Tones, state: NDArray[np.uint8],
        flagged_rows: NDArray[np.uint8], buffers: ChannelBuffers, out: NDArray[np.float32], scale: np.float32,
    ) -> None:  # fmt: skip
        """Clean a frame ``(H, W)``; write it times `scale` to `out`, an image or the image's rows of all slots.

        Channels without overscan become damaged in `state` (rows, W).
        """
        n_rows = len(self._rows) // 2
        first_tone, reaches, tables = tones
        first_slot = 0 if out.shape[1] == GROUPS * N_SLOTS else OVERSCAN_SLOTS[0] + 1
        width = N_SLOTS - 2 * first_slot
        for half in range(2):
            here = slice(half * n_rows, (half + 1) * n_rows)
            fitted = (self._skip, n_rows) if half == 0 else (0, n_rows - self._skip)
            for group in range(0, GROUPS, AT_ONCE):
                columns = slice(group * N_SLOTS, (group + AT_ONCE) * N_SLOTS)
                channel_kernels.split_channels(
                    raw, dark, self._rows[here], columns.start, state[here], flagged_rows[here], buffers.tile,
                    buffers.values, buffers.good,
                )  # fmt: skip
                if not channel_kernels.clean_channels(
                    buffers.values, buffers.good, *fitted, *self._limits, self._n_passes, self._cosines,
                    np.float32(MIN_SHARE), first_tone[half * GROUPS + group :], reaches, tables, state[here, columns],
                ):  # fmt: skip
                    flagged_rows[here] = 1
                target = out[here, group * width : (group + AT_ONCE) * width]
                channel_kernels.join_channels(buffers.values, first_slot, scale, buffers.tile, target)


def tone_table(tones: Sequence[NDArray[np.float64]], limit: float, n_rows: int) -> Tones:
    """Return the tones of one exposure's channels as the kernel takes them, in the order of their removal."""
    first, reaches, tables = [0], [], []
    for half in range(2):
        for group in range(GROUPS):
            c = group if half == 0 else GROUPS - 1 - group  # the lower half is read from its other end
            for frequency, reach in tone_rounds(tones[half * GROUPS + c], limit) if tones else ():
                table = np.reshape(tone_tables(frequency, n_rows * N_SLOTS), (2, n_rows, N_SLOTS))
                reaches.append(reach)
                tables.append(table.swapaxes(1, 2))
            first.append(len(reaches))
    shaped = np.array(tables, dtype=np.float32).reshape(-1, 2, N_SLOTS, n_rows)
    return np.array(first), np.array(reaches, dtype=np.float32), shaped
