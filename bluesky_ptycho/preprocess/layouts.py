"""Where the pixels of the image lie in a raw frame.

The FCCD reads 192 ADC channels of 12 slots (10 image columns between two overscan slots). Its
two halves are read towards the seam between them, so that in the assembled frame the upper half
(channels 96..191) stands upright and the lower one (channels 0..95) is rotated by 180°.
Within a half, counted from its outer edge: junk rows, image rows, 1 seam row, empty rows.
A channel is one tile of a half; its samples in the order of readout are its *sequence*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..registry import detectors
from ..scan_plan import ScanPlan

N_CHANNELS = 192
N_SLOTS = 12
OVERSCAN_SLOTS = (0, 11)

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
    half_rows, junk_rows, n_image_rows : int
        Rows of a half of the frame, junk rows at its outer edge, rows of the image behind them.
    """

    name: str
    binning: int
    fccd: bool
    wire: bool = False
    half_rows: int = 520
    junk_rows: int = 6
    n_image_rows: int = 480

    def image_shape(self, frame_shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape of the image in a frame of `frame_shape`.

        Raises
        ------
        MetadataError
            If frames of this layout cannot have that shape.
        """
        if not self.fccd:
            return frame_shape
        if tuple(frame_shape) != self.frame_shape:
            raise MetadataError(f"frames of layout {self.name!r} have shape {frame_shape}; expected {self.frame_shape}")
        return 2 * self.n_image_rows, N_CHANNELS // 2 * (N_SLOTS - len(OVERSCAN_SLOTS))

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Shape of an FCCD frame."""
        return 2 * self.half_rows, N_CHANNELS // 2 * N_SLOTS

    def image_rows(self) -> NDArray[np.intp]:
        """Return the assembled frame's row for each row of the image."""
        upper = self.junk_rows + np.arange(self.n_image_rows)
        return np.concatenate([upper, 2 * self.half_rows - 1 - upper[::-1]])


for _layout in (
    Layout("fccd-assembled", binning=4, fccd=True),
    Layout("fccd-wire", binning=4, fccd=True, wire=True),
    # Full readout, before the frame store: what lies beyond the 960 rows of a half is split as above.
    Layout("fccd-full", binning=4, fccd=True, half_rows=970, n_image_rows=960),
    Layout("fccd-full-wire", binning=4, fccd=True, wire=True, half_rows=970, n_image_rows=960),
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
    """Put frames ``(…, H, W)`` in wire order (row, slot, channel) in their places.

    The wire's words are big-endian; reading them as ``">u2"`` is up to the file or socket.
    """
    lead = wire.shape[:-2]
    rows = wire.shape[-2] // 2
    words = wire.reshape(*lead, rows, N_SLOTS, N_CHANNELS)
    tiles = np.moveaxis(words[..., wire_word_of_channel()], -2, -1)  # row, channel, slot
    half = N_CHANNELS // 2
    upper = tiles[..., half:, :].reshape(*lead, rows, half * N_SLOTS)
    lower = tiles[..., :half, :].reshape(*lead, rows, half * N_SLOTS)
    return np.concatenate([upper, lower[..., ::-1, ::-1]], axis=-2)


def disassemble(assembled: NDArray[Any]) -> NDArray[Any]:
    """Put assembled frames ``(…, H, W)`` back in wire order; the inverse of :func:`assemble`."""
    lead = assembled.shape[:-2]
    half, rows = N_CHANNELS // 2, assembled.shape[-2] // 2
    upper, lower = assembled[..., :rows, :], assembled[..., rows:, :][..., ::-1, ::-1]
    tiles = np.concatenate([part.reshape(*lead, rows, half, N_SLOTS) for part in (lower, upper)], axis=-2)
    words = np.empty((*lead, rows, N_SLOTS, N_CHANNELS), dtype=assembled.dtype)
    words[..., wire_word_of_channel()] = np.moveaxis(tiles, -1, -2)
    return words.reshape(assembled.shape)


def split_channels(image_rows: NDArray[Any], n_slots: int = N_SLOTS) -> NDArray[Any]:
    """Return the sequences of all channels as ``(…, 2, rows, 96, slots)``: half, row and slot in order of readout.

    Parameters
    ----------
    image_rows : ndarray (…, 2 * rows, 1152)
        The image's rows of assembled frames, overscan included. A view of it is returned if it can be.
        Half 0 is the upper one; channels are counted along its columns as they are read.
    n_slots : int
        Columns of each channel that are given.
    """
    lead, rows = image_rows.shape[:-2], image_rows.shape[-2] // 2
    upper, lower = image_rows[..., :rows, :], image_rows[..., rows:, :][..., ::-1, ::-1]
    halves = np.stack([upper, lower], axis=-3)
    return halves.reshape(*lead, 2, rows, -1, n_slots)


def join_channels(sequences: NDArray[Any]) -> NDArray[Any]:
    """Return the image's rows ``(…, 2 * rows, 1152)`` of ``(…, 2, rows, 96, 12)``: split_channels undone."""
    halves = sequences.reshape(*sequences.shape[:-2], -1)
    return np.concatenate([halves[..., 0, :, :], halves[..., 1, ::-1, ::-1]], axis=-2)


def shift_channels(assembled: NDArray[Any], shifts: tuple[int, ...]) -> NDArray[Any]:
    """Bring channels whose samples come late back to their places, in a copy.

    Parameters
    ----------
    assembled : ndarray (…, H, W)
        Whole frames.
    shifts : tuple of int
        Pairs of ADC channel (0..191) and slots that it is late, negative where early.
    """
    if not shifts:
        return assembled
    frames, half, rows = assembled.copy(), N_CHANNELS // 2, assembled.shape[-2] // 2
    for channel, late in zip(shifts[::2], shifts[1::2], strict=True):
        # A half is turned so that its rows and slots stand in the order of readout.
        part = frames[..., :rows, :] if channel >= half else frames[..., rows:, :][..., ::-1, ::-1]
        first = channel % half * N_SLOTS
        tile = part[..., first : first + N_SLOTS]
        sequence = tile.reshape(*tile.shape[:-2], -1)
        tile[...] = np.roll(sequence, -late, axis=-1).reshape(tile.shape)
    return frames


def check_gain(plan: ScanPlan) -> None:
    """Refuse a camera's gain by which ADU cannot be told as photons; frames in photons have none.

    Raises
    ------
    MetadataError
        If it is no positive number.
    """
    gain: object = None if plan.detector is None else plan.detector.adu_per_ev
    if layout_of(plan).fccd and not (isinstance(gain, Real) and 0 < float(gain) < math.inf):
        raise MetadataError(f"scan plan: detector.adu_per_ev is {gain!r}; expected a positive number")
