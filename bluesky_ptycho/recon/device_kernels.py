"""The kernels of ``cuda/solve.cu``, launched over chunks of frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend
from .store import FrameStore
from .subpixel import N_TAPS

KERNELS = (
    "shift_probe", "exit_waves", "exit_changes", "blend", "relay", "project_modulus", "project_model", "curvature",
    "pie_gradients", "count_windows", "list_windows", "object_gradients", "probe_wishes", "probe_gradients", "couple",
    "shift_sums", "direction", "best_steps", "advance",
)  # fmt: skip
WORK = np.dtype(
    [(name, np.int32) for name in (
        "frames", "modes", "ny", "nx", "rows", "columns", "own_probes", "own_changes", "parts",
    )]
)  # fmt: skip
"""The kernels' ``struct Work``, field by field."""
MODEL = np.dtype(
    [(name, np.int32) for name in ("poisson", "has_weights", "has_background")]
    + [(name, np.float32) for name in ("strength", "scale", "back")]
)
"""The kernels' ``struct Model``, field by field."""
MIXTURE = np.dtype([("keep", np.float32, 3), ("give", np.float32, 3)])
"""The kernels' ``struct Mixture``."""

THREADS = 256
"""In a block."""
PIXELS_PER_PART = 16
"""Pixels that a thread adds up by itself: few enough that 16 frames fill a card, and that sums cost little memory."""
MOST_PARTS = 1 << 16
"""Threads that share the sums over an object."""
STRIP = 8
"""The kernels' own: rows that a thread shifts."""
TILE = (8, 32)
"""The kernels' own: rows and columns of the object that a block of threads has."""
ENOUGH_THREADS = 1 << 18
"""As many as the largest cards hold at once."""


class SolveKernels:
    """Compiled kernels and the way to call them.

    Parameters
    ----------
    backend : Backend
        One that compiles CUDA.
    """

    def __init__(self, backend: Backend) -> None:
        source = resources.files(__package__).joinpath("cuda", "solve.cu").read_text("utf-8")
        compiled = backend.compile_cuda(source, KERNELS, fused_multiply_add=True)
        self._kernels = dict(zip(KERNELS, compiled, strict=True))

    def launch(self, name: str, frames: int, items: int, *arguments: Any) -> None:
        """Run a kernel with a thread for each of the `items` of each of the `frames`."""
        self._kernels[name]((frames * -(-items // THREADS), 1), (THREADS,), arguments)


def parts_of(pixels: int) -> int:
    """Return how many threads share the sums of a frame."""
    return -(-pixels // PIXELS_PER_PART)


def strips_of(shape: Sequence[int]) -> int:
    """Return how many threads share the shift of one frame's probe ``(m, ny, nx)``."""
    return int(shape[0] * -(-shape[1] // STRIP) * shape[2])


def groups_of(frames: int, items: int) -> int:
    """Return into how many groups to deal `frames` whose sums `items` threads make."""
    return min(frames, -(-ENOUGH_THREADS // items))


def tiles_of(shape: Sequence[int]) -> int:
    """Return how many tiles an object ``(rows, cols)`` has."""
    return math.prod(-(-size // side) for size, side in zip(shape, TILE, strict=True))


def tiles_under(window: Sequence[int]) -> int:
    """Return how many tiles a window ``(ny, nx)`` meets at most."""
    return math.prod((size - 2) // side + 2 for size, side in zip(window, TILE, strict=True))


def record(dtype: np.dtype[Any], *values: Any) -> NDArray[Any]:
    """Return an array of one record, which is passed by value."""
    return np.array(values, dtype=dtype)


class DeviceFrames:
    """What the kernels need to know of each frame, on the device; uploaded when it has changed.

    Attributes
    ----------
    corners : (capacity, 2) int32
    taps : (capacity, 2, N_TAPS) float32
    fractional : (capacity,) bool
    unit : (capacity,) float32
        Amplitude of one count under a common beam.
    brightness : (capacity,) float32
        One over the square of the gain.
    any_fractional : bool
        Whether any frame lies between pixels.
    """

    corners: Any
    taps: Any
    fractional: Any
    unit: Any
    brightness: Any

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._of: tuple[Any, int] = (None, -1)
        self._gain = np.zeros(0, np.float32)
        self.any_fractional = False

    def update(self, frames: FrameStore) -> None:
        """Make sure that all is that of `frames`."""
        placed = self._of == (frames, frames.version)
        if not placed:
            self._of = frames, frames.version
            self._upload("corners", frames.corners, np.int32)
            self._upload("taps", frames.taps.reshape(-1, 2 * N_TAPS), np.float32)
            self._upload("fractional", frames.fractional, np.bool_)
            self.any_fractional = bool(frames.fractional.any())
        if not placed or not np.array_equal(self._gain, frames.gain):  # a refinement steps the gains in place
            self._gain = frames.gain.copy()
            self._upload("unit", frames.unit / self._gain, np.float32)
            self._upload("brightness", 1 / self._gain**2, np.float32)

    def _upload(self, name: str, array: Any, dtype: Any) -> None:
        """Put `array` where what is known under this name lies, if it fits: what was recorded reads it there."""
        new, old = self._backend.to_device(np.ascontiguousarray(array, dtype=dtype)), getattr(self, name, None)
        if old is None or old.shape != new.shape:
            setattr(self, name, new)
        else:
            old[...] = new
