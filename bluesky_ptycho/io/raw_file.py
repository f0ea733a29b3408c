"""Raw frames from an HDF5 file that no catalog knows, with what it tells of the measurement itself."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError, NotFoundError
from ..geometry import JOULE_PER_EV, metres_per_unit
from ..spelling import spelled
from . import hdf5
from .cxi import TRANSLATION, refuse_reconstruction
from .cxi_geometry import DETECTOR, SOURCE

USUAL_DATASETS = (f"{DETECTOR}/data", "entry_1/data_1/data", "entry/data/data", "entry/instrument/detector/data")
DARK_DATASET = f"{DETECTOR}/data_dark"


@dataclass(frozen=True)
class RawFileFacts:
    """What a file says; None where it says nothing.

    Parameters
    ----------
    dataset : str
        Name of the frames' data set.
    n_frames : int
    frame_shape : tuple of int
    dtype : dtype
    dark_dataset : str or None
        Name of the data set of dark frames.
    energy_ev, distance_m : float or None
    pixel_m : tuple of float or None
        ``(y, x)``.
    positions_m : ndarray (n, 2) float64 or None
        ``(y, x)``.
    """

    dataset: str
    n_frames: int
    frame_shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    dark_dataset: str | None
    energy_ev: float | None
    distance_m: float | None
    pixel_m: tuple[float, float] | None
    positions_m: NDArray[np.float64] | None


def read_facts(path: Path, dataset: str | None = None) -> RawFileFacts:
    """Look a raw file over, without reading a frame.

    What lies where CXI has it is found: energy, distance, pixel, translations, darks.

    Parameters
    ----------
    path : Path
    dataset : str, optional
        Data set of the frames; where it usually is, else the only one of three dimensions.

    Raises
    ------
    NotFoundError, MetadataError
        If there is no such file, it is no HDF5 file, or its frames cannot be told.
    """
    with hdf5.open_for_reading(path) as file:
        frames = _find_frames(file, dataset)
        optional = {
            name: hdf5.number(file, place) if hdf5.find_dataset(file, place) is not None else None
            for name, place in (
                ("energy", f"{SOURCE}/energy"), ("distance", f"{DETECTOR}/distance"),
                ("y", f"{DETECTOR}/y_pixel_size"), ("x", f"{DETECTOR}/x_pixel_size"),
            )
        }  # fmt: skip
        translation = hdf5.find_dataset(file, TRANSLATION, f"{DETECTOR}/translation")
        dark = hdf5.find_dataset(file, DARK_DATASET)
        energy, y, x = (optional[name] for name in ("energy", "y", "x"))
        n, height, width = frames.shape
        return RawFileFacts(
            dataset=str(frames.name),
            n_frames=n,
            frame_shape=(height, width),
            dtype=frames.dtype,
            dark_dataset=None if dark is None or dark.ndim != 3 else str(dark.name),
            energy_ev=None if energy is None else energy / JOULE_PER_EV,
            distance_m=optional["distance"],
            pixel_m=None if y is None or x is None else (y, x),
            positions_m=None if translation is None else _rows_of_xy(translation, 1.0),
        )


@contextmanager
def open_frames(path: Path, dataset: str) -> Iterator[h5py.Dataset]:
    """Give the frames' data set, open for reading; raises as :func:`read_facts` does."""
    with hdf5.open_for_reading(path) as file:
        yield _find_frames(file, dataset)


def _find_frames(file: h5py.File, dataset: str | None) -> h5py.Dataset:
    if dataset is not None:
        found = hdf5.find_dataset(file, dataset)
        if found is None:
            raise MetadataError(f"{file.filename} has no data set {dataset!r}; it has {_listed(file)}")
    else:
        found = hdf5.find_dataset(file, *USUAL_DATASETS)
        if found is None:
            refuse_reconstruction(file)
            stacks = _stacks(file)
            if len(stacks) != 1:
                raise MetadataError(
                    f"{file.filename} has {_listed(file)}; expected one data set of frames, or its name with "
                    + spelled("dataset=", "--dataset")
                )
            found = hdf5.dataset(file, stacks[0])
    if found.ndim != 3 or not found.size or found.dtype.kind not in "uif":
        raise MetadataError(
            f"{file.filename}: {found.name} is {found.dtype} {found.shape}; expected numbers (frames, rows, columns)"
        )
    hdf5.refuse_overfull_chunks(found)
    return found


def _stacks(file: h5py.File) -> list[str]:
    """Return the names of all three-dimensional data sets."""
    found: list[str] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 3:
            found.append(name)

    file.visititems(visit)
    return found


def _listed(file: h5py.File) -> str:
    stacks = _stacks(file)
    return f"3-D data sets {', '.join(stacks)}" if stacks else "no 3-D data set"


def read_positions(location: str, units: str | None = None) -> NDArray[np.float64]:
    """Read positions ``(n, 2)`` ``(y, x)`` in m.

    Parameters
    ----------
    location : str
        ``FILE.csv`` with named columns x and y, or ``FILE::DATASET`` with columns x, y (and z).
    units : str, optional
        Their unit: "um" in a CSV file, "m" in HDF5 unless told.

    Raises
    ------
    NotFoundError, MetadataError
        If there is no such file, or it does not hold positions.
    """
    path, _, dataset = location.partition("::")
    if dataset:
        with hdf5.open_for_reading(Path(path)) as file:
            return _rows_of_xy(hdf5.dataset(file, dataset), metres_per_unit(units or "m", location))
    if not Path(path).is_file():
        raise NotFoundError(f"positions file {path} does not exist")
    with open(path, newline="", encoding="utf-8-sig") as lines:
        try:
            table = csv.DictReader(lines)
            names = {name.strip().lower(): name for name in table.fieldnames or ()}
            if not {"x", "y"} <= set(names):
                found = ", ".join(table.fieldnames or ()) or "nothing"
                raise MetadataError(f"positions file {path} begins with {found}; expected columns named x and y")
            positions = np.array([_position(row, names, f"{path} line {table.line_num}") for row in table])
        except (ValueError, TypeError, csv.Error) as error:
            if isinstance(error, MetadataError):
                raise
            raise MetadataError(f"positions file {path} cannot be read: {error}") from error
    if not len(positions):
        raise MetadataError(f"positions file {path} holds no rows; expected finite numbers x and y")
    return positions * metres_per_unit(units or "um", location)


def _position(row: Mapping[str, str], names: Mapping[str, str], where: str) -> list[float]:
    """Return y and x of a line of a table; `names` are the columns'."""
    position = []
    for axis in ("y", "x"):
        text = row[names[axis]]
        try:
            number = float(text)
        except (ValueError, TypeError):  # None where the line is short
            number = math.nan
        position.append(number)
        if not math.isfinite(number):
            raise MetadataError(f"positions file {where}: {axis} is {text!r}; expected a finite number")
    return position


def _rows_of_xy(found: h5py.Dataset, metres: float) -> NDArray[np.float64]:
    if found.ndim != 2 or found.shape[1] not in (2, 3):
        raise MetadataError(f"{found.file.filename}: {found.name} has shape {found.shape}; expected (n, 2) or (n, 3)")
    xyz = hdf5.array(found, "iuf", (None, found.shape[1]), np.float64)
    if not np.isfinite(xyz[:, :2]).all():
        raise MetadataError(f"{found.file.filename}: {found.name} holds values that are not finite")
    return np.ascontiguousarray(xyz[:, 1::-1]) * metres
