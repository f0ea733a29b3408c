"""Where the pixels of the image lie in a raw frame.

The FCCD reads 192 ADC channels of 12 slots (10 image columns between two overscan slots). Its
two halves are read towards the seam between them, so that in the assembled frame the upper half
(channels 96..191) stands upright and the lower one (channels 0..95) is rotated by 180°.
Within a half, counted from its outer edge: 6 junk rows, 480 image rows, 1 seam row, empty rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..registry import detectors
from ..scan_plan import ScanPlan

N_CHANNELS = 192
N_SLOTS = 12
OVERSCAN_SLOTS = (0, 11)
JUNK_ROWS = 6
IMAGE_ROWS = 480
HALF_ROWS = 520

ADC_MASK = 0x1FFF
"""Bits 12..0 of a raw pixel; all of them set means saturated."""
DAMAGED_BIT = 0x2000
"""Bit 13: the pixel's packet was lost or erroneous."""
GAIN_BITS = {8: 0x0000, 2: 0x8000, 1: 0xC000}
"""Bits 15 and 14 for each gain."""


@dataclass(frozen=True)
class Layout:
    """How raw frames of one kind are read.

    Parameters
    ----------
    name : str
    binning : int
        Raw pixels per side that make one solver pixel unless the settings say otherwise.
    fccd : bool
        True for frames with the FCCD's channels and bits; False for frames that are diffraction
        patterns in photons already.
    wire : bool
        True where the words stand in the order of the wire (row, slot, channel), not assembled.
    """

    name: str
    binning: int
    fccd: bool
    wire: bool = False

    def image_shape(self, frame_shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape of the image in a frame of `frame_shape`.

        Raises
        ------
        MetadataError
            If frames of this layout cannot have that shape.
        """
        if not self.fccd:
            return frame_shape
        expected = (2 * HALF_ROWS, N_CHANNELS // 2 * N_SLOTS)
        if tuple(frame_shape) != expected:
            raise MetadataError(f"frames of layout {self.name!r} have shape {frame_shape}; expected {expected}")
        return 2 * IMAGE_ROWS, N_CHANNELS // 2 * (N_SLOTS - len(OVERSCAN_SLOTS))


for _layout in (
    Layout("fccd-assembled", binning=4, fccd=True),
    Layout("fccd-wire", binning=4, fccd=True, wire=True),
    Layout("plain", binning=1, fccd=False),
):
    detectors.register(_layout.name)(_layout)


def find_layout(name: str) -> Layout:
    """Return the layout called `name` in the registry of detectors; NotFoundError names those there are."""
    layout: Layout = detectors[name]
    return layout


def layout_of(plan: ScanPlan) -> Layout:
    """Return the layout of a plan's detector; plans without one bring clean patterns."""
    return find_layout("plain" if plan.detector is None else plan.detector.layout)


def image_rows() -> NDArray[np.intp]:
    """Return the assembled frame's row for each row of the image, ``(960,)``."""
    upper = JUNK_ROWS + np.arange(IMAGE_ROWS)
    lower = 2 * HALF_ROWS - JUNK_ROWS - IMAGE_ROWS + np.arange(IMAGE_ROWS)
    return np.concatenate([upper, lower])


def image_columns() -> NDArray[np.intp]:
    """Return the assembled frame's column for each column of the image, ``(960,)``."""
    slots = np.arange(N_CHANNELS // 2 * N_SLOTS)
    return slots[~np.isin(slots % N_SLOTS, OVERSCAN_SLOTS)]


def wire_word_of_channel() -> NDArray[np.intp]:
    """Return the place of each ADC channel among the 192 words of one row and slot."""
    k = np.arange(N_CHANNELS)
    block, place = np.divmod(N_CHANNELS - 1 - k, 12)
    return 16 * place + 15 - 4 * (k // 48) - block % 4


def assemble(wire: NDArray[Any]) -> NDArray[Any]:
    """Put frames ``(…, 1040, 1152)`` in wire order (row, slot, channel) in their places.

    The wire's words are big-endian; reading them as ``">u2"`` is up to the file or socket.
    """
    lead = wire.shape[:-2]
    words = wire.reshape(*lead, HALF_ROWS, N_SLOTS, N_CHANNELS)
    tiles = np.moveaxis(words[..., wire_word_of_channel()], -2, -1)  # row, channel, slot
    half = N_CHANNELS // 2
    upper = tiles[..., half:, :].reshape(*lead, HALF_ROWS, half * N_SLOTS)
    lower = tiles[..., :half, :].reshape(*lead, HALF_ROWS, half * N_SLOTS)
    return np.concatenate([upper, lower[..., ::-1, ::-1]], axis=-2)


def disassemble(assembled: NDArray[Any]) -> NDArray[Any]:
    """Put assembled frames ``(…, 1040, 1152)`` back in wire order; the inverse of :func:`assemble`."""
    lead = assembled.shape[:-2]
    half = N_CHANNELS // 2
    upper, lower = assembled[..., :HALF_ROWS, :], assembled[..., HALF_ROWS:, :][..., ::-1, ::-1]
    tiles = np.concatenate([part.reshape(*lead, HALF_ROWS, half, N_SLOTS) for part in (lower, upper)], axis=-2)
    words = np.empty((*lead, HALF_ROWS, N_SLOTS, N_CHANNELS), dtype=assembled.dtype)
    words[..., wire_word_of_channel()] = np.moveaxis(tiles, -1, -2)
    return words.reshape(assembled.shape)
