"""Raw frames as the kernels of the fast chains take them: assembled, late channels in their places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .kernels import assemble_frame
from .layouts import shift_channels, wire_word_of_channel
from .recipe import Recipe


def room_to_assemble(recipe: Recipe) -> NDArray[np.uint16]:
    """Return a buffer for :func:`assembled`, empty where frames come assembled."""
    shape = (len(recipe.exposures_s), *recipe.frame_shape) if recipe.layout.wire else (0, 0, 0)
    return np.empty(shape, dtype=np.uint16)


def assembled(frame: NDArray[np.uint16], recipe: Recipe, room: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the exposures ``(K, H, W)`` of a scan point; in `room`, `frame` itself, or a copy."""
    raw = np.ascontiguousarray(frame, dtype=np.uint16)
    if recipe.layout.wire:
        for k, words in enumerate(raw):
            assemble_frame(words.reshape(-1), wire_word_of_channel(), room[k])
        raw = room
    return np.ascontiguousarray(shift_channels(raw, recipe.settings.channel_shifts))
