"""The arrays of a reconstruction and the HDF5 file that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..paths import scan_label
from ..whole_file import whole_hdf5
from .updates import Update

GROUP = "/entry"
_CHUNK = 1024
"""Longest side of an HDF5 chunk, so that a part of a large object can be read alone."""

LEARNT = {
    "uncertainty": ("uncertainty", np.float32),
    "position_shifts": ("shifts_m", np.float64),
    "gain": ("gain", np.float32),
    "background": ("background", np.float32),
    "probe_variation": ("variation", np.complex64),
    "slices": ("slices", np.complex64),
}
"""Array → field of the snapshot, and dtype, of what the solver only knows where it was asked to learn it."""


def result_path(directory: Path, start: Mapping[str, Any]) -> Path:
    """Return the file in the results' directory that the result run with `start` has its arrays in."""
    return directory / f"{scan_label(start)}_{start['uid']}.h5"


def result_arrays(update: Update) -> dict[str, NDArray[Any]]:
    """Return the arrays of a final update by name; empty without a snapshot.

    ``object`` (rows, cols) and ``probe`` (modes, ny, nx) are complex64; ``coverage`` and
    ``stxm`` are maps on the object's grid; ``positions`` (n, 2) are ``(y, x)`` in m of the
    scan points ``seq_nums`` (n,); ``residual_history`` has one value a pass; and
    ``frc_frequency_per_m`` with ``frc_correlation`` and ``frc_half_bit`` are the curves of the Fourier ring
    correlation and of its 1/2-bit criterion. The arrays of :data:`LEARNT` have the shapes of the fields of
    :class:`~bluesky_ptycho.frames.Snapshot`.
    What is not there or has no elements is left out.
    """
    snapshot = update.snapshot
    if snapshot is None:
        return {}
    frc = snapshot.frc or {}
    found: dict[str, Any] = {
        "object": (snapshot.object, np.complex64),
        "probe": (snapshot.probe, np.complex64),
        "coverage": (snapshot.coverage, np.float32),
        "stxm": (update.stxm, np.float32),
        "positions": (snapshot.positions_m, np.float64),
        "seq_nums": (snapshot.seq_nums, np.int64),
        "residual_history": (snapshot.residuals, np.float64),
        "frc_frequency_per_m": (frc.get("frequency_per_m"), np.float64),
        "frc_correlation": (frc.get("correlation"), np.float64),
        "frc_half_bit": (frc.get("half_bit"), np.float64),
        **{name: (getattr(snapshot, field), dtype) for name, (field, dtype) in LEARNT.items()},
    }
    arrays = {name: np.asarray(value, dtype) for name, (value, dtype) in found.items() if value is not None}
    return {name: array for name, array in arrays.items() if array.size}


def stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that an array is stored in: ``(1, *shape)``; a single number has no axis of its own.

    tiled's writer takes data of shape ``(1,)`` for numbers.
    """
    return shape if shape == (1,) else (1, *shape)


def chunk_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunk of an array of `shape` as it is stored."""
    return tuple(min(n, _CHUNK) for n in stored_shape(shape))


def write_result_file(path: Path, arrays: Mapping[str, NDArray[Any]], update: Update) -> None:
    """Write `arrays` to `path` at once: beside first, then renamed.

    Each data set is stored in its :func:`stored_shape`, one row for one event, as the catalog expects.

    Raises
    ------
    OSError
        If the file cannot be written; no partial file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_hdf5(path) as file:
        group = file.create_group(GROUP)
        for name, array in arrays.items():
            group.create_dataset(name, data=array.reshape(stored_shape(array.shape)), chunks=chunk_shape(array.shape))
        if update.snapshot is not None:
            for name, value in canvas_fields(update).items():
                group["object"].attrs[name] = value


def canvas_fields(update: Update) -> dict[str, list[float]]:
    """Return where the object's pixels lie: pitch and stage position of pixel [0, 0], ``(y, x)`` in m."""
    assert update.snapshot is not None
    canvas = update.snapshot.canvas
    return {"pixel_size_m": [float(v) for v in canvas.pixel_m], "origin_m": [float(v) for v in canvas.origin_m]}
