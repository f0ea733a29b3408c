"""How much memory a reconstruction takes, to be known before the scan begins."""

from __future__ import annotations

import re
from typing import Any

from ..backend import Backend, cpu_count
from ..errors import SettingsError
from .schedule import Schedule
from .settings import REFLECTING, SolverSettings

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

BYTES_PER_PIXEL_OF_A_SNAPSHOT = 8 + 4 + 4 + 4
"""Object (complex64), coverage, transmission map and uncertainty (float32)."""


BYTES_PER_FRAME_PIXEL_OF_WEIGHTS = 1
"""Weight of each pixel (uint8), where they are asked for."""

BYTES_PER_PIXEL_OF_CONJUGACY = 2 * 8
"""Gradient and direction of the last pass (complex64), which maximum likelihood keeps."""

BYTES_PER_PIXEL_OF_A_WAVE = 8
"""An exit wave (complex64), which reflecting algorithms keep of every frame and mode in each state."""


def bytes_of(budget: str | int | None) -> int | None:
    """Return a stated memory in bytes: a number, or a text like "2 GB" (10⁹ bytes each), "500 MB"; None for none.

    Raises
    ------
    SettingsError
        If it is no such text, or not positive.
    """
    if budget is None:
        return None
    found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([kMGT]?)B?\s*", str(budget))
    value = 0 if found is None else int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " "))
    if value <= 0:
        raise SettingsError(f"memory_budget is {budget!r}; expected a number of bytes, or a text like '2 GB'")
    return value


def keep_frames_on_disk(budget: int | None, *of_reconstruction: Any, backend: Backend, **more: Any) -> bool:
    """Tell whether the frames must lie on the disk for a reconstruction to keep its budget.

    Parameters
    ----------
    budget : int or None
        Bytes of the host's memory; None for no bound.
    *of_reconstruction, **more
        As :func:`reconstruction_bytes` takes them.
    backend : Backend
        Frames on a device are in its own memory.

    Raises
    ------
    SettingsError
        If it cannot be kept even so.
    """
    if budget is None or not backend.threaded or reconstruction_bytes(*of_reconstruction, **more) <= budget:
        return False
    _, *others = of_reconstruction
    least = reconstruction_bytes(0, *others, **more)
    if least > budget:
        raise SettingsError(
            f"memory_budget is {budget / 1e6:.0f} MB, and without its frames this reconstruction takes "
            f"{least / 1e6:.0f} MB; give more, or bin the frames (preprocess.binning)"
        )
    return True


def reconstruction_bytes(
    n_frames: int,
    canvas: tuple[int, int],
    window: tuple[int, int],
    settings: SolverSettings | None = None,
    *,
    threads: int | None = None,
) -> int:
    """Return the bytes that the solver allocates, with both half data sets, and one snapshot of it.

    Parameters
    ----------
    n_frames : int
    canvas, window : tuple of int
        Shapes ``(rows, cols)`` of the object and ``(ny, nx)`` of a frame.
    settings : SolverSettings, optional
        Algorithms, modes, slices and refinements; the defaults without it.
    threads : int, optional
        Cores that share the work; those of this process by default.
    """
    settings = settings or SolverSettings()
    modes, slices = settings.modes or 1, settings.slices
    lanes = (threads or cpu_count()) if slices == 1 else 1  # slices are worked on in whole batches, by one lane
    names = {stage.name for stage in Schedule.parse(settings.algorithm).stages}
    kept = BYTES_PER_PIXEL_OF_A_STATE + (BYTES_PER_PIXEL_OF_CONJUGACY if "ml" in names else 0)
    each = slices * (STATES * kept + lanes * BYTES_PER_PIXEL_OF_A_LANE + BYTES_PER_PIXEL_OF_A_DIRECTION)
    each += BYTES_PER_PIXEL_OF_LIGHT + BYTES_PER_PIXEL_OF_A_SNAPSHOT + (8 * slices if slices > 1 else 0)
    rows, cols = canvas
    ny, nx = window
    # A lane has a probe gradient, a shifted probe, one with a rim and the buffers of two transforms of every mode; the
    # lanes share the probe and its direction with a rim around them.
    probes = modes * (STATES * kept + 3 * 8 + lanes * 5 * 8)
    # Of each variation there are two copies, conjugate and power, and one of each state in the past; a lane sums its
    # gradient and weight.
    probes += settings.probe_variations * (5 * 8 + (8 + 4) + lanes * (8 + 4))
    frame = BYTES_PER_FRAME_PIXEL + (BYTES_PER_FRAME_PIXEL_OF_WEIGHTS if settings.pixel_weights else 0)
    frame += STATES * modes * BYTES_PER_PIXEL_OF_A_WAVE if names & set(REFLECTING) else 0
    return rows * cols * each + ny * nx * (n_frames * frame + probes)
