"""The frames that a reconstruction works on.

Arrays are allocated from the scan plan before the first frame; a slot carries no weight until a
frame lies in it. Slots are found by the frame's sequence number, so that a frame that comes again
replaces the old one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend
from ..errors import MetadataError
from ..frames import Batch
from ..geometry import Canvas
from .subpixel import N_TAPS, shift_taps, split_corners


class FrameStore:
    """Amplitudes on the device; positions and bookkeeping on the host.

    Parameters
    ----------
    capacity : int
        Frames to allocate for; grows when more come.
    window : tuple of int
        Shape of a frame.
    backend : Backend
    subpixel : bool
        Whether fractions of a pixel are kept.

    Attributes
    ----------
    amplitude : (capacity, ny, nx) float32 on the device
        Zero frequency at [0, 0]; -1 where the pixel is not valid.
    positions_m : (capacity, 2) float64
    corners : (capacity, 2) int64
        First pixel of the window on the canvas.
    taps : (capacity, 2, N_TAPS) float32
    fractional : (capacity,) bool
        Where `taps` matter.
    photons : (capacity,) float64
        Photons in valid pixels.
    numbers : (capacity,) int64
        Sequence number of the frame in each slot.
    """

    def __init__(self, capacity: int, window: tuple[int, int], backend: Backend, subpixel: bool) -> None:
        self.backend, self.window, self.subpixel = backend, window, subpixel
        self._slot_of: dict[int, int] = {}
        self._free = list(range(capacity))
        self.amplitude = backend.xp.zeros((capacity, *window), dtype=backend.xp.float32)
        self.positions_m = np.zeros((capacity, 2))
        self.corners = np.zeros((capacity, 2), np.int64)
        self.taps = np.zeros((capacity, 2, N_TAPS), np.float32)
        self.fractional = np.zeros(capacity, bool)
        self.photons = np.zeros(capacity)
        self.numbers = np.zeros(capacity, np.int64)

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def seq_nums(self) -> NDArray[np.int64]:
        """Sequence numbers held, sorted."""
        return np.array(sorted(self._slot_of), dtype=np.int64)

    def slots(self, *, lit: bool = False) -> NDArray[np.int64]:
        """Return the slots in use, in the order of their sequence numbers.

        With `lit` only frames that hold a photon: an empty frame (a lost beam) says nothing of the
        sample, and would ask for an object of zero.
        """
        found = np.array([self._slot_of[s] for s in sorted(self._slot_of)], dtype=np.int64)
        return found[self.photons[found] > 0] if lit else found

    def put(self, batch: Batch, canvas: Canvas) -> None:
        """Take the frames of `batch`; those known already are replaced."""
        window = self.window
        if batch.amplitude.shape != (batch.n, *window):
            raise MetadataError(f"Batch.amplitude has shape {batch.amplitude.shape}; expected {(batch.n, *window)}")
        positions = np.asarray(batch.positions_m, dtype=np.float64)
        if positions.shape != (batch.n, 2) or not np.isfinite(positions).all():
            raise MetadataError(f"Batch.positions_m has shape {positions.shape}; expected {(batch.n, 2)}, all finite")
        mask = np.broadcast_to(batch.mask, batch.amplitude.shape)
        for i, seq in enumerate(np.asarray(batch.seq_nums).tolist()):
            slot = self._take_slot(int(seq))
            raw = np.asarray(batch.amplitude[i], dtype=np.float32)
            valid = mask[i] & np.isfinite(raw)
            amplitude = np.where(valid, np.maximum(raw, 0), np.float32(-1))
            self.photons[slot] = np.sum(np.square(amplitude, dtype=np.float64), where=valid)
            self.amplitude[slot, ...] = self.backend.to_device(np.fft.ifftshift(amplitude))
            self.positions_m[slot], self.numbers[slot] = positions[i], seq
        self.place(canvas)

    def _take_slot(self, seq: int) -> int:
        if seq not in self._slot_of:
            if not self._free:
                self._grow()
            self._slot_of[seq] = self._free.pop(0)
        return self._slot_of[seq]

    def _grow(self) -> None:
        old = len(self.photons)
        new = old + max(16, old // 2)
        xp = self.backend.xp
        grown = xp.zeros((new, *self.window), dtype=xp.float32)
        grown[:old, ...] = self.amplitude
        self.amplitude = grown
        for name in ("positions_m", "corners", "taps", "fractional", "photons", "numbers"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros((new - old, *array.shape[1:]), array.dtype)]))
        self._free.extend(range(old, new))

    def drop(self, seq_nums: NDArray[np.int64]) -> None:
        """Forget frames; numbers that are not held are passed over."""
        for seq in np.asarray(seq_nums).ravel().tolist():
            slot = self._slot_of.pop(int(seq), None)
            if slot is not None:
                self._free.append(slot)
                self.photons[slot] = 0.0

    def place(self, canvas: Canvas) -> None:
        """Work out where every frame lies on `canvas`."""
        slots = self.slots()
        whole, fractions = split_corners(canvas.corners_px(self.positions_m[slots]), self.subpixel)
        self.corners[slots], self.taps[slots] = whole, shift_taps(fractions)
        self.fractional[slots] = (fractions > 0).any(axis=1)

    def amplitude_of(self, slots: NDArray[np.int64]) -> Any:
        """Return the amplitudes ``(n, ny, nx)`` of `slots`."""
        return self.backend.xp.take(self.amplitude, self.backend.to_device(slots), axis=0)
