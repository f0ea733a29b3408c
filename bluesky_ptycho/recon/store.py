"""The frames that a reconstruction works on.

Arrays are allocated from the scan plan before the first frame; a slot carries no weight until a
frame lies in it. Slots are found by the frame's sequence number, so that a frame that comes again
replaces the old one.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend
from ..errors import MetadataError
from ..frames import Batch
from ..geometry import Canvas
from .subpixel import N_TAPS, shift_taps, split_corners

INVALID = 65535
WHOLE_WEIGHT = 255
"""Weights are stored as squares of bytes: a weight of a hundredth to a twelfth of itself, larger ones finer."""
MOST_COUNTS = 65534
"""Sixteen bits hold an amplitude to a hundredth of the photons' own noise of one half, up to a million
photons in the brightest pixel, and are half the memory of a float."""


BOOKKEEPING = (
    "positions_m", "corners", "taps", "fractional", "photons", "numbers", "unit", "gain", "brightness", "shift_sums",
    "shift_px", "shift_speed", "fractions", "arrivals",
)  # fmt: skip
"""Arrays on the host, one row a slot."""

SCRATCH = Path("/var/tmp")
"""For large files that need not last; the usual place for temporary files is often in memory."""

PLACED_AT_ONCE = 4096
"""Frames whose filters are made together: a filter asks for hundreds of numbers on the way."""


def zeros_on_disk(shape: tuple[int, ...], dtype: str = "uint16") -> NDArray[Any]:
    """Return an array in a temporary file without a name, whose space is taken at once.

    Where it could run out later, writing into the map would end the process (SIGBUS).

    Raises
    ------
    OSError
        If there is not enough.
    """
    with tempfile.TemporaryFile(dir=SCRATCH if SCRATCH.is_dir() else None) as file:
        os.posix_fallocate(file.fileno(), 0, max(1, np.dtype(dtype).itemsize * math.prod(shape)))
        return np.asarray(np.memmap(file, dtype, "r+", shape=shape))


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
    far_field : bool
        Whether patterns are Fourier transforms, whose zero frequency moves to [0, 0].
    on_disk : bool
        Whether `counts` and weights lie in a temporary file that the system maps, and drops from memory where that is
        wanted elsewhere; of the CPU's backend only.
    keeps_weights : bool
        Whether weights of pixels are kept; else only those of 0 count, as masked.

    Raises
    ------
    OSError
        If the disk has no room for them.

    Attributes
    ----------
    counts : (capacity, ny, nx) uint16 on the device
        Amplitudes in units of `unit`, INVALID where the pixel is not valid; where they leave a device too little room,
        in the host's memory, which the device reads.
    unit : (capacity,) float32
        Amplitude of one count: the brightest pixel's over MOST_COUNTS.
    gain : (capacity,) float32
        Factor that the amplitudes are divided by: how bright the beam was in this frame.
    stored_weights : (capacity, ny, nx) uint8 where `counts` are, or None
        Root of the weight of each pixel, in units of 1 / WHOLE_WEIGHT; None while no frame brought any.
    weighing : bool
        Whether they count.
    positions_m : (capacity, 2) float64
    corners : (capacity, 2) int64
        First pixel of the window on the canvas.
    fractions : (capacity, 2) float64
        What is left of the corner's position, in [0, 1) pixel.
    taps : (capacity, 2, N_TAPS) float32
        Filters that shift by `fractions`.
    fractional : (capacity,) bool
        Where `fractions` and `taps` matter.
    photons : (capacity,) float64
        Photons in valid pixels.
    numbers : (capacity,) int64
        Sequence number of the frame in each slot.
    brightness : (capacity, 2) float32
        Sums of measured times modelled amplitude and of the model's photons, from the frame's last visit; kept
        where gains are fitted.
    shift_sums : (capacity, 4) float32
        What `reference.shift_sums` found at the frame's last visit; kept where shifts are tracked.
    shift_px : (capacity, 2) float64
        Correction of the position, in pixels.
    shift_speed : (capacity, 2) float64
        What the correction's momentum carries from pass to pass.
    arrivals : (capacity,) int64
        Running number, from 1, of each frame's arrival; it tells a frame from those that lay in the slot before.
    arrived : int
        Frames that have come so far, replacements too.
    version : int
        Grows whenever frames come, go or move, for copies on the device to be renewed.
    """

    def __init__(
        self,
        capacity: int,
        window: tuple[int, int],
        backend: Backend,
        subpixel: bool,
        far_field: bool = True,
        on_disk: bool = False,
        keeps_weights: bool = False,
    ) -> None:
        self.on_disk, self.keeps_weights = on_disk, keeps_weights
        self.backend, self.window, self.subpixel, self.far_field = backend, window, subpixel, far_field
        self._slot_of: dict[int, int] = {}
        self.version = 0
        self._free = deque(range(capacity))
        self.arrived = 0
        self.counts = self._room_for(capacity)
        self.stored_weights: Any = None
        self.weighing = False
        self.unit = np.ones(capacity, np.float32)
        self.gain = np.ones(capacity, np.float32)
        self.positions_m = np.zeros((capacity, 2))
        self.corners = np.zeros((capacity, 2), np.int64)
        self.fractions = np.zeros((capacity, 2))
        self.taps = np.zeros((capacity, 2, N_TAPS), np.float32)
        self.fractional = np.zeros(capacity, bool)
        self.photons = np.zeros(capacity)
        self.numbers = np.zeros(capacity, np.int64)
        self.brightness = np.zeros((capacity, 2), np.float32)
        self.shift_sums = np.zeros((capacity, 4), np.float32)
        self.shift_px = np.zeros((capacity, 2))
        self.shift_speed = np.zeros((capacity, 2))
        self.arrivals = np.zeros(capacity, np.int64)

    def _room_for(self, n: int, name: str = "counts") -> Any:
        shape, dtype = (n, *self.window), "uint16" if name == "counts" else "uint8"
        if self.on_disk:
            return zeros_on_disk(shape, dtype)
        return self.backend.zeros_of_frames(shape, getattr(self.backend.xp, dtype))

    @property
    def weights(self) -> Any:
        """Weights of the pixels that count now; None where all pixels count alike."""
        return self.stored_weights if self.weighing else None

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

    def check(self, batch: Batch) -> None:
        """Raise MetadataError unless `put` can take `batch`."""
        window = self.window
        if batch.amplitude.shape != (batch.n, *window):
            raise MetadataError(f"Batch.amplitude has shape {batch.amplitude.shape}; expected {(batch.n, *window)}")
        shape = np.shape(batch.positions_m)
        if shape != (batch.n, 2) or not np.isfinite(batch.positions_m).all():
            raise MetadataError(f"Batch.positions_m has shape {shape}; expected {(batch.n, 2)}, all finite")
        for name in ("mask", "weight"):
            given = getattr(batch, name)
            if given is not None and np.shape(given) not in (window, (batch.n, *window)):
                raise MetadataError(
                    f"Batch.{name} has shape {np.shape(given)}; expected {window} or {(batch.n, *window)}"
                )
        weight = np.zeros(0) if batch.weight is None else np.asarray(batch.weight)
        if not (np.isfinite(weight).all() and weight.min(initial=0) >= 0 and weight.max(initial=0) <= 1):
            raise MetadataError(
                f"Batch.weight holds values from {weight.min():g} to {weight.max():g}; expected 0 to 1, all finite"
            )

    def put(self, batch: Batch, canvas: Canvas) -> NDArray[np.int64]:
        """Take the frames of `batch`, which lie on `canvas`; those known already are replaced. Return their slots."""
        window, positions = self.window, batch.positions_m
        mask = np.broadcast_to(batch.mask, batch.amplitude.shape)
        if batch.weight is not None:
            mask = mask & (np.asarray(batch.weight) > 0)
            if self.keeps_weights and self.stored_weights is None:
                self.stored_weights = self._room_for(len(self.photons), "stored_weights")
                for slot in self._slot_of.values():
                    self.stored_weights[slot, ...] = WHOLE_WEIGHT
        slots = np.zeros(batch.n, np.int64)
        for i, seq in enumerate(np.asarray(batch.seq_nums).tolist()):
            slot = slots[i] = self._take_slot(int(seq))
            self.counts[slot, ...] = self.backend.to_device(self._coded(slot, batch.amplitude[i], mask[i]))
            if self.stored_weights is not None:
                given = 1.0 if batch.weight is None else np.broadcast_to(batch.weight, mask.shape)[i]
                root = np.clip(np.rint(np.sqrt(np.broadcast_to(given, window)) * WHOLE_WEIGHT), 1, WHOLE_WEIGHT)
                self.stored_weights[slot, ...] = self.backend.to_device(self._ordered(root.astype(np.uint8)))
            self.positions_m[slot], self.numbers[slot], self.gain[slot] = positions[i], seq, 1.0
            self.shift_px[slot] = self.shift_speed[slot] = 0.0
            self.arrived += 1
            self.arrivals[slot] = self.arrived
        self.place(canvas, slots)
        return slots

    def _coded(self, slot: int, amplitude: Any, mask: NDArray[np.bool_]) -> NDArray[np.uint16]:
        raw = np.asarray(amplitude, dtype=np.float32)
        valid = mask & np.isfinite(raw)
        clean = np.where(valid, np.maximum(raw, 0), np.float32(0))
        self.photons[slot] = np.sum(np.square(clean, dtype=np.float64))
        self.unit[slot] = clean.max(initial=0.0) / MOST_COUNTS or 1.0
        counts = np.where(valid, np.rint(clean / self.unit[slot]), INVALID)
        return self._ordered(counts.astype(np.uint16))

    def _ordered(self, pattern: NDArray[Any]) -> NDArray[Any]:
        return np.fft.ifftshift(pattern) if self.far_field else pattern

    def _take_slot(self, seq: int) -> int:
        if seq not in self._slot_of:
            if not self._free:
                self._grow()
            self._slot_of[seq] = self._free.popleft()
        return self._slot_of[seq]

    def _grow(self) -> None:
        old = len(self.photons)
        new = old + max(16, old // 2)
        grown = {}  # all of them, or none: there may be no room for the second
        for name in ("counts", "stored_weights"):
            array = getattr(self, name)
            if array is not None:
                grown[name] = self._room_for(new, name)
                grown[name][:old, ...] = array
        for name, array in grown.items():
            setattr(self, name, array)
        for name in BOOKKEEPING:
            array = getattr(self, name)
            # whole arrays are divided by these two
            rest = np.full((new - old, *array.shape[1:]), 1 if name in ("unit", "gain") else 0, array.dtype)
            setattr(self, name, np.concatenate([array, rest]))
        self._free.extend(range(old, new))

    def drop(self, seq_nums: NDArray[np.int64]) -> None:
        """Forget frames; numbers that are not held are passed over."""
        self.version += 1
        for seq in np.asarray(seq_nums).ravel().tolist():
            slot = self._slot_of.pop(int(seq), None)
            if slot is not None:
                self._free.append(slot)
                self.photons[slot] = 0.0

    def place(self, canvas: Canvas, slots: NDArray[np.int64] | None = None) -> None:
        """Work out where the frames of `slots`, or all, lie on `canvas`."""
        self.version += 1
        slots = self.slots() if slots is None else slots
        for first in range(0, len(slots), PLACED_AT_ONCE):
            self._place(canvas, slots[first : first + PLACED_AT_ONCE])

    def _place(self, canvas: Canvas, slots: NDArray[np.int64]) -> None:
        whole, fractions = split_corners(
            canvas.corners_px(self.positions_m[slots]) + self.shift_px[slots], self.subpixel
        )
        self.corners[slots], self.fractions[slots], self.taps[slots] = whole, fractions, shift_taps(fractions)
        self.fractional[slots] = (fractions > 0).any(axis=1)

    def used_positions_m(self, canvas: Canvas) -> NDArray[np.float64]:
        """Return the positions ``(n, 2)`` with their corrections, in the order of the sequence numbers."""
        slots = self.slots()
        return np.asarray(self.positions_m[slots] + self.shift_px[slots] * np.asarray(canvas.pixel_m))

    def amplitude_of(self, slots: NDArray[np.int64]) -> Any:
        """Return the amplitudes ``(n, ny, nx) float32`` of `slots` under a common beam; -1 where not valid."""
        xp, backend = self.backend.xp, self.backend
        counts = xp.take(self.counts, backend.to_device(slots), axis=0)
        unit = backend.to_device(self.unit[slots] / self.gain[slots])[:, None, None]
        return xp.where(counts == INVALID, xp.asarray(-1.0, dtype=xp.float32), xp.astype(counts, xp.float32) * unit)

    def weights_of(self, slots: NDArray[np.int64]) -> Any:
        """Return the weights ``(n, ny, nx) float32`` of `slots`, None where they do not count."""
        if self.weights is None:
            return None
        xp = self.backend.xp
        stored = xp.take(self.weights, self.backend.to_device(slots), axis=0)
        return (xp.astype(stored, xp.float32) * np.float32(1 / WHOLE_WEIGHT)) ** 2
