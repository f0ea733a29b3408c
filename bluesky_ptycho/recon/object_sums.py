"""How a device adds what overlapping windows ask of the object: by atomic additions, or tile by tile.

Atomics read the waves once and wait where windows overlap; tiles read them twice, wait for nobody and add up in the
same order each time. Which is faster depends on the card, the overlap and the number of frames, so both are timed when
the engine warms up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import Backend
from .device_kernels import TILE, WORK, SolveKernels, record, tiles_of, tiles_under
from .state import ReconState

REPEATS = 3


@dataclass(frozen=True)
class Asked:
    """A chunk's waves, what they were made of and what they are added to, as the kernels take them.

    Attributes
    ----------
    work : record of device_kernels.WORK
    slots : (n,) int32
    corners : (capacity, 2) int32
    probes : (n or 1, m, ny, nx) complex64
    object : (rows, cols) complex64
    waves : (n, m, ny, nx) complex64
        What the probe is asked takes their place.
    gradient, illumination : (rows, cols) complex64, float32
    """

    work: Any
    slots: Any
    corners: Any
    probes: Any
    object: Any
    waves: Any
    gradient: Any
    illumination: Any

    @property
    def frames(self) -> int:
        """Frames in the chunk."""
        return int(self.waves.shape[0])

    @property
    def pixels(self) -> int:
        """Pixels of a window."""
        return int(np.prod(self.waves.shape[-2:]))


class ObjectSums:
    """Adds in the way that was found faster for about as many frames; by atomics where nothing was measured.

    Parameters
    ----------
    backend : Backend
    kernels : SolveKernels
    tiled : bool, optional
        One way for all numbers of frames, which no measurement changes.

    Attributes
    ----------
    seconds : dict of int to (float, float)
        For numbers of frames, how long atomics and tiles took when the engine was warmed up.
    """

    def __init__(self, backend: Backend, kernels: SolveKernels, tiled: bool | None = None) -> None:
        self._backend, self._launch, self._always = backend, kernels.launch, tiled
        self.seconds: dict[int, tuple[float, float]] = {}

    def tiled(self, frames: int) -> bool:
        """Tell whether so many frames are added tile by tile."""
        if self._always is not None:
            return self._always
        near = [each for n, each in self.seconds.items() if n.bit_length() == frames.bit_length()]
        return bool(near) and near[0][1] < near[0][0]

    def add(self, asked: Asked) -> None:
        """Add what a chunk asks of the object to the sums; what it asks of the probe takes its waves' place."""
        (self._by_tiles if self.tiled(asked.frames) else self._by_atomics)(asked)

    def _by_atomics(self, asked: Asked) -> None:
        self._launch(
            "pie_gradients", asked.frames, asked.pixels, asked.work, asked.slots, asked.corners, asked.probes,
            asked.object, asked.waves, asked.gradient, asked.illumination,
        )  # fmt: skip

    def _by_tiles(self, asked: Asked) -> None:
        xp, tiles = self._backend.xp, tiles_of(asked.object.shape)
        counts = xp.empty((tiles,), dtype=xp.int32)
        where = asked.work, np.int32(tiles), asked.slots, asked.corners, counts
        self._launch("count_windows", 1, tiles, *where)
        ends = xp.cumsum(counts, dtype=xp.int32)
        listed = xp.empty((asked.frames * tiles_under(asked.waves.shape[-2:]),), dtype=xp.int32)
        self._launch("list_windows", 1, tiles, *where, ends, listed)
        self._launch(
            "object_gradients", tiles, TILE[0] * TILE[1], asked.work, asked.slots, asked.corners, counts, ends, listed,
            asked.probes, asked.object, asked.waves, asked.gradient, asked.illumination,
        )  # fmt: skip
        self._launch(
            "probe_wishes", asked.frames, asked.pixels, asked.work, asked.slots, asked.corners, asked.probes,
            asked.object, asked.waves,
        )  # fmt: skip

    def measure(self, state: ReconState, most_frames: int) -> None:
        """Time both ways for chunks of one frame, two or three, …, up to `most_frames`, anywhere on the object.

        What does not fit into the memory is not measured.
        """
        if self._always is not None:
            return
        rng = np.random.default_rng(0)
        for bits in range(1, most_frames.bit_length() + 1):
            frames = min(most_frames, max(1, 3 << bits >> 2))
            try:
                asked = self._rehearsed(state, frames, rng)
                self.seconds[frames] = self._seconds(self._by_atomics, asked), self._seconds(self._by_tiles, asked)
            except MemoryError:
                return

    def _rehearsed(self, state: ReconState, frames: int, rng: np.random.Generator) -> Asked:
        xp, upload, own = self._backend.xp, self._backend.to_device, state.frames.subpixel
        room = np.asarray(state.object.shape) - state.probe.shape[-2:]
        corners = rng.integers(0, room + 1, (frames, 2)).astype(np.int32)
        shapes = (frames if own else 1, *state.probe.shape), (frames, *state.probe.shape)
        return Asked(
            record(WORK, frames, *state.probe.shape, *state.object.shape, own, False, 1),
            upload(np.arange(frames, dtype=np.int32)),
            upload(corners),
            *(xp.zeros(shapes[0], dtype=xp.complex64), state.object, xp.zeros(shapes[1], dtype=xp.complex64)),
            *(xp.zeros(state.object.shape, dtype=dtype) for dtype in (xp.complex64, xp.float32)),
        )

    def _seconds(self, add: Callable[[Asked], None], asked: Asked) -> float:
        """Return the time of the fastest of some runs after a first one."""
        taken = []
        for _ in range(1 + REPEATS):
            self._backend.synchronize()
            began = time.perf_counter()
            add(asked)
            self._backend.synchronize()
            taken.append(time.perf_counter() - began)
        return min(taken[1:])
