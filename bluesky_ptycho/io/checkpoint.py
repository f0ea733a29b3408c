"""Checkpoints: all that is needed to go on with a reconstruction, but for its frames, in one HDF5 file.

Attributes of the root: ``schema`` and ``schema_version``, ``raw_uid``, ``visits``, ``saved_at`` (s since epoch), and
``settings`` and ``versions`` as JSON. Group ``solver`` holds the arrays of
:meth:`bluesky_ptycho.recon.IncrementalSolver.state` by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..whole_file import whole_hdf5
from .hdf5 import array, dataset, open_for_reading

SCHEMA = "bluesky_ptycho.checkpoint"
SCHEMA_VERSION = 1
GROUP = "solver"

MOST_ARRAYS = 64
MOST_TEXT = 1 << 20
"""Characters of an attribute that are read; settings take a thousandth of it."""


@dataclass(frozen=True)
class Checkpoint:
    """A reconstruction that can be gone on with.

    Parameters
    ----------
    raw_uid : str
        The run whose frames it is made of.
    arrays : mapping of str to ndarray
        What the solver knows.
    settings : mapping
        All settings of the reconstruction, as JSON can hold them.
    visits : int
        How often a frame was visited, all frames together.
    saved_at : float
        In s since epoch.
    versions : mapping of str to str
        The software that made it.
    """

    raw_uid: str
    arrays: Mapping[str, NDArray[Any]]
    settings: Mapping[str, Any]
    visits: int
    saved_at: float
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def seq_nums(self) -> frozenset[int]:
        """Scan points whose frames it is made of."""
        return frozenset(self.arrays.get("seq_nums", np.zeros(0, int)).tolist())


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `path` whole or not at all, so that a whole checkpoint is there at any time.

    Raises
    ------
    OSError
        If it cannot be written; the checkpoint before stays.
    """
    with whole_hdf5(path) as file:
        file.attrs["schema"], file.attrs["schema_version"] = SCHEMA, SCHEMA_VERSION
        file.attrs["raw_uid"], file.attrs["visits"] = checkpoint.raw_uid, checkpoint.visits
        file.attrs["saved_at"] = checkpoint.saved_at
        for name in ("settings", "versions"):
            file.attrs[name] = json.dumps(dict(getattr(checkpoint, name)))
        group = file.create_group(GROUP)
        for name, values in checkpoint.arrays.items():
            group.create_dataset(name, data=values)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    NotFoundError
        If there is none.
    MetadataError
        If the file is damaged or none of ours, or a newer version of this package has written it.
    """
    with open_for_reading(path) as file:
        schema, version = file.attrs.get("schema"), file.attrs.get("schema_version")
        if schema != SCHEMA:
            raise MetadataError(f"{path}: schema is {schema!r}; expected {SCHEMA!r}")
        if version != SCHEMA_VERSION:
            raise MetadataError(
                f"{path}: schema_version is {version}; this version of bluesky_ptycho reads {SCHEMA_VERSION}"
            )
        names = list(file[GROUP])[: MOST_ARRAYS + 1]
        if len(names) > MOST_ARRAYS:
            raise MetadataError(f"{path}: {GROUP} holds more than {MOST_ARRAYS} arrays")
        found = {name: dataset(file, f"{GROUP}/{name}") for name in names}
        return Checkpoint(
            raw_uid=_text(file, "raw_uid"),
            arrays={name: array(data, "biufc", data.shape, data.dtype) for name, data in found.items()},
            settings=_mapping(file, "settings"),
            visits=int(file.attrs["visits"]),
            saved_at=float(file.attrs["saved_at"]),
            versions=_mapping(file, "versions"),
        )


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise MetadataError(f"{file.filename}: attribute {name} is no text of at most {MOST_TEXT} characters")
    return value


def _mapping(file: h5py.File, name: str) -> dict[str, Any]:
    value = json.loads(_text(file, name))
    if not isinstance(value, dict):
        raise MetadataError(f"{file.filename}: attribute {name} holds a {type(value).__name__}; expected an object")
    return value
