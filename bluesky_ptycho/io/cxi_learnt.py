"""What the solver learnt beside object and probe, in one group of a result's CXI file."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from ..frames import Snapshot
from . import hdf5

_DATASETS = {
    "uncertainty": "uncertainty",
    "shifts_m": "position_shifts",
    "drift_m": "drift",
    "gain": "gain",
    "background": "background",
}
"""Field of a snapshot → data set."""


def write_learnt(group: h5py.Group, snapshot: Snapshot) -> None:
    """Write what is known, and whether the residual has stopped falling, into `group`.

    Modes of the probe's variation are stored one by one, so that the object stays the file's largest complex data set.
    """
    for field, name in _DATASETS.items():
        values = getattr(snapshot, field)
        if values is not None:
            group[name] = values
            if field.endswith("_m"):
                group[name].attrs.update({"units": "m", "description": "(y, x)"})
    for index, mode in enumerate(() if snapshot.variation is None else snapshot.variation, start=1):
        group[f"probe_variation/mode_{index}"] = mode
    group["converged"] = int(snapshot.converged)


def read_learnt(file: h5py.File, where: str, n: int, image: tuple[int, ...], window: tuple[int, int]) -> dict[str, Any]:
    """Return what :func:`write_learnt` wrote, by the names of :class:`~bluesky_ptycho.frames.Snapshot`.

    Parameters
    ----------
    file : h5py.File
    where : str
        Name of the group; nothing is known where there is none.
    n : int
        Frames of the result.
    image, window : tuple of int
        Shapes of object and probe.

    Raises
    ------
    MetadataError
        If something has the wrong type or shape.
    """
    shapes = {"uncertainty": image, "shifts_m": (n, 2), "drift_m": (2,), "gain": (n,), "background": window}
    found: dict[str, Any] = {"variation": hdf5.numbered_images(file, f"{where}/probe_variation/mode_")}
    for field, name in _DATASETS.items():
        stored = hdf5.find_dataset(file, f"{where}/{name}")
        if stored is not None:
            dtype = np.float64 if field.endswith("_m") else np.float32
            found[field] = hdf5.array(stored, "f", shapes[field], dtype)
    converged = hdf5.find_dataset(file, f"{where}/converged")
    return {**found, "converged": converged is not None and bool(hdf5.scalar(converged))}
