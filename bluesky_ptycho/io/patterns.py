"""Patterns of any file that is read here, a part at a time: CXI, NXcxi_ptycho, and PtyPy's ``.ptyd``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..geometry import Geometry
from . import hdf5, nxs, ptyd
from .cxi import FRAME_MASK, read_positions, refuse_reconstruction
from .cxi_geometry import DETECTOR, read_geometry

FRAMES = (f"{DETECTOR}/data", "entry_1/data_1/data")
Part = tuple[NDArray[np.float32], NDArray[np.bool_]]


@dataclass(frozen=True)
class Patterns:
    """Patterns of a file that is open.

    Parameters
    ----------
    format : str
        "cxi", "nxs" or "ptyd".
    geometry : Geometry
    positions_m : ndarray (n, 2) float64
        ``(y, x)`` of the beam axis in m.
    read : callable
        ``read(first, last)`` gives photons ``(m, ny, nx) float32``, 0 where they are not valid, and the mask
        ``(m, ny, nx) bool``, True where they are.
    """

    format: str
    geometry: Geometry
    positions_m: NDArray[np.float64]
    read: Callable[[int, int], Part]

    @property
    def n(self) -> int:
        """Number of patterns."""
        return len(self.positions_m)


@contextmanager
def open_patterns(path: Path) -> Iterator[Patterns]:
    """Open a file of patterns; its format is told by what is in it, not by its name.

    Raises
    ------
    NotFoundError
        If there is no such file.
    MetadataError
        If it is none of these formats, a field is missing, has the wrong type, shape or unit, or leads out of the file.
    """
    with hdf5.open_for_reading(path) as file:
        if ptyd.is_ptyd(file):
            found = ptyd.read_ptyd(file)
            yield Patterns("ptyd", found.geometry, found.positions_m, lambda a, b: _checked(*found.read(a, b)))
        else:
            yield _cxi_patterns(file)


def _cxi_patterns(file: h5py.File) -> Patterns:
    frames = hdf5.find_dataset(file, *FRAMES)
    if frames is None:
        refuse_reconstruction(file)
        raise MetadataError(
            f"{file.filename} holds no patterns; expected {' or '.join(FRAMES)}, or PtyPy's meta and chunks"
        )
    is_nxs = nxs.is_nxs(file)
    if frames.dtype.kind not in "iuf" or not frames.size or frames.ndim not in ((3, 4) if is_nxs else (3,)):
        raise MetadataError(f"{frames.file.filename}: {frames.name} is {frames.dtype} {frames.shape}; expected frames")
    hdf5.refuse_overfull_chunks(frames)
    shape = (int(frames.shape[-2]), int(frames.shape[-1]))
    n = int(np.prod(frames.shape[:-2]))
    geometry = nxs.read_geometry(file, shape) if is_nxs else read_geometry(file, shape)
    positions = nxs.read_positions(file, n) if is_nxs else read_positions(file, n)
    mask_of = _mask_reader(file, n, shape)

    def read(first: int, last: int) -> Part:
        return _checked(_rows(frames, first, last), mask_of(first, last))

    return Patterns("nxs" if is_nxs else "cxi", geometry, positions, read)


def _rows(frames: h5py.Dataset, first: int, last: int) -> NDArray[np.float32]:
    """Read frames `first` to `last` of ``(n, ny, nx)`` or, by rows of a raster, ``(ny_points, nx_points, ny, nx)``."""
    if frames.ndim == 3:
        return np.asarray(frames[first:last], dtype=np.float32)
    width = frames.shape[1]
    return np.stack([np.asarray(frames[i // width, i % width], dtype=np.float32) for i in range(first, last)])


def _mask_reader(file: h5py.File, n: int, shape: tuple[int, int]) -> Callable[[int, int], NDArray[np.bool_]]:
    each = hdf5.find_dataset(file, FRAME_MASK)
    if each is not None:
        if each.shape != (n, *shape) or each.dtype.kind not in "iub":
            raise MetadataError(f"{file.filename}: {each.name} is {each.dtype} {each.shape}; expected {(n, *shape)}")
        hdf5.refuse_overfull_chunks(each)
        return lambda first, last: np.asarray(each[first:last] == 0)
    found = hdf5.find_dataset(file, f"{DETECTOR}/mask", f"{DETECTOR}/pixel_mask")
    bad = np.zeros(shape) if found is None else hdf5.array(found, "iub", shape, found.dtype)
    if bad.all():
        raise MetadataError(f"{file.filename}: the mask marks every pixel as bad; expected 0 for good ones")
    return lambda first, last: np.broadcast_to(bad == 0, (last - first, *shape))


def _checked(photons: NDArray[np.float32], mask: NDArray[np.bool_]) -> Part:
    """Mask what is not finite, and put 0 where nothing is valid."""
    mask = mask & np.isfinite(photons)
    return np.where(mask, photons, np.float32(0)), mask
