"""How much memory a reconstruction takes, to be known before the scan begins."""

from __future__ import annotations

from ..backend import cpu_count

BYTES_PER_FRAME_PIXEL = 2
"""Amplitude (uint16); invalid pixels are marked in it."""

BYTES_PER_PIXEL_OF_A_STATE = 8 + 8 + 2 * 8
"""Object, its velocity and the guard's two copies (complex64)."""

BYTES_PER_PIXEL_OF_LIGHT = 4
"""What the object has received, by which newly lit regions are found (float32)."""

STATES = 3
"""All frames, and the two halves of the Fourier ring correlation."""

BYTES_PER_PIXEL_OF_A_LANE = 8 + 4
"""Sums of a core: gradient (complex64) and illumination (float32)."""

BYTES_PER_PIXEL_OF_A_DIRECTION = 8
"""Where the lanes' sums ask the object to go (complex64)."""

BYTES_PER_PIXEL_OF_A_SNAPSHOT = 8 + 4 + 4
"""Object (complex64), coverage and transmission map (float32)."""


def reconstruction_bytes(
    n_frames: int, canvas: tuple[int, int], window: tuple[int, int], *, modes: int = 1, threads: int | None = None
) -> int:
    """Return the bytes that the solver allocates with the default algorithm, and one snapshot of it.

    Parameters
    ----------
    n_frames : int
    canvas, window : tuple of int
        Shapes ``(rows, cols)`` of the object and ``(ny, nx)`` of a frame.
    modes : int
        Probe modes.
    threads : int, optional
        Cores that share the work; those of this process by default.
    """
    lanes = threads or cpu_count()
    each = STATES * BYTES_PER_PIXEL_OF_A_STATE + lanes * BYTES_PER_PIXEL_OF_A_LANE
    each += BYTES_PER_PIXEL_OF_A_DIRECTION + BYTES_PER_PIXEL_OF_LIGHT + BYTES_PER_PIXEL_OF_A_SNAPSHOT
    rows, cols = canvas
    ny, nx = window
    # A lane has a probe gradient, a shifted probe, one with a rim and the buffers of two transforms of every mode; the
    # lanes share the probe and its direction with a rim around them.
    probes = modes * (STATES * BYTES_PER_PIXEL_OF_A_STATE + 3 * 8 + lanes * 5 * 8)
    return rows * cols * each + ny * nx * (n_frames * BYTES_PER_FRAME_PIXEL + probes)
