"""Files of every format with fields that are missing or wrong, or that end too soon: one line names them once."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.io import read_cxi, read_result_cxi, write_result_cxi
from bluesky_ptycho.io.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from bluesky_ptycho.io.clean_cxi import CleanCxiWriter
from bluesky_ptycho.io.nxs import CleanNxsWriter
from bluesky_ptycho.io.patterns import open_patterns
from bluesky_ptycho.io.ptyd_writer import PtydWriter
from tests.snapshots import learnt, make_snapshot

GEOMETRY = Geometry(800.0, 0.1, (200e-6, 200e-6), (8, 8))
PHOTONS, MASK = np.ones((4, 8, 8), np.float32), np.ones((4, 8, 8), bool)
POSITIONS = np.arange(8.0).reshape(4, 2) * 1e-8


def write_patterns(path: Path) -> None:
    if path.suffix == ".ptyd":
        with PtydWriter(path, GEOMETRY, 4) as writer:
            writer.append(PHOTONS, MASK, POSITIONS)
        return
    with (CleanNxsWriter if path.suffix == ".nxs" else CleanCxiWriter)(path, GEOMETRY) as writer:
        writer.append(PHOTONS, MASK, POSITIONS, np.arange(4))


def read_patterns(path: Path) -> None:
    with open_patterns(path) as patterns:
        patterns.read(0, patterns.n)


def write_saved(path: Path) -> None:
    write_checkpoint(path, Checkpoint("beef", {"seq_nums": np.arange(3), "object": np.ones((4, 4))}, {}, 3, 1.0))


def write_result(path: Path) -> None:
    snapshot = make_snapshot()
    write_result_cxi(path, make_snapshot(**learnt(snapshot)))


FORMATS = {
    "clean.cxi": (write_patterns, read_patterns),
    "solver.cxi": (write_patterns, read_cxi),
    "clean.nxs": (write_patterns, read_patterns),
    "clean.ptyd": (write_patterns, read_patterns),
    "result.cxi": (write_result, read_result_cxi),
    "saved.h5": (write_saved, read_checkpoint),
}


def told(read, path: Path) -> str:
    """Return what a reader says of a file, empty where it reads it."""
    try:
        read(path)
    except PtychoError as error:
        return str(error)
    return ""


def complaint(message: str, path: Path) -> str:
    """Say what is wrong with a message."""
    if message and (message.count(path.name) != 1 or "\n" in message):
        return message
    return ""


WRONG = {
    "missing": None,
    "text": "red",
    "zero": 0.0,
    "negative": -1.0,
    "no number": np.nan,
    "vast": 1e300,
    "other shape": np.zeros((3, 5)),
    "empty": np.zeros((0,)),
    "complex": np.full((2, 2), np.nan + 0j),
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda name: name.replace(" ", "_"))
@pytest.mark.parametrize("name", FORMATS)
def test_a_field_that_is_wrong_is_told_in_one_line_with_the_file_once(tmp_path, name, wrong):
    write, read = FORMATS[name]
    write(tmp_path / name)
    fields: list[str] = []
    with h5py.File(tmp_path / name) as file:
        file.visititems(lambda key, item: fields.append(key) if isinstance(item, h5py.Dataset) else None)
    assert told(read, tmp_path / name) == ""
    said, found = {}, 0
    for field in fields:
        path = Path(shutil.copy(tmp_path / name, tmp_path / f"damaged{Path(name).suffix}"))
        with h5py.File(path, "a") as file:
            del file[field]
            if WRONG[wrong] is not None:
                file[field] = WRONG[wrong]
        message = told(read, path)
        found += bool(message)
        said |= {field: bad} if (bad := complaint(message, path)) else {}
    assert not said and (found or name == "saved.h5"), "a checkpoint may hold any arrays"


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_ends_too_soon_is_told_in_one_line_with_its_name_once(tmp_path, name):
    write, read = FORMATS[name]
    write(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    path = tmp_path / f"cut{Path(name).suffix}"
    for length in [0, 1, 8, 48, 96, *np.linspace(100, len(content) - 1, 12).astype(int).tolist()]:
        path.write_bytes(content[:length])
        message = told(read, path)
        assert re.search("cannot be read|is not an HDF5 file", message) and not complaint(message, path), length


def test_a_file_that_may_not_be_read_is_told_as_such(tmp_path, monkeypatch):
    (tmp_path / "secret.cxi").write_bytes(b"unreadable")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PtychoError, match=r"secret\.cxi cannot be read: permission denied$"):
        read_cxi(tmp_path / "secret.cxi")
