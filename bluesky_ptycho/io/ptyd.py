"""PtyPy's ``.ptyd`` files: ``meta`` tells of the measurement, ``chunks/0``, ``chunks/1``, ... hold the patterns.

PtyPy (B. Enders, P. Thibault, Proc. R. Soc. A 472, 20160640 (2016)) opens such a file by its path whenever it looks for
more, so that a file may grow while it reconstructs. Energies are keV, lengths metres, positions ``(y, x)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..geometry import ENERGIES_EV, Geometry
from . import hdf5
from .cxi_geometry import geometry_in, refuse_off_centre

META, CHUNKS = "meta", "chunks"
MOST_CHUNKS = 10**6
_PART = re.compile(r".+\.part\d+")


@dataclass(frozen=True)
class _Chunk:
    """One chunk: its file, its group there, and which frames of all it holds."""

    path: Path
    group: str
    first: int
    n: int


@dataclass(frozen=True)
class PtydData:
    """A ``.ptyd`` file that is open.

    Parameters
    ----------
    file : h5py.File
    geometry : Geometry
    positions_m : ndarray (n, 2) float64
        ``(y, x)``.
    chunks : tuple
        Where the frames lie.
    """

    file: h5py.File
    geometry: Geometry
    positions_m: NDArray[np.float64]
    chunks: tuple[_Chunk, ...]

    def read(self, first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return frames `first` to `last` and their masks, ``(m, ny, nx)`` both."""
        shape = (last - first, *self.geometry.shape)
        photons, mask = np.empty(shape, dtype=np.float32), np.ones(shape, dtype=bool)
        for chunk in self.chunks:
            low, high = max(first, chunk.first), min(last, chunk.first + chunk.n)
            if low >= high:
                continue
            source, to = slice(low - chunk.first, high - chunk.first), slice(low - first, high - first)
            with _opened(self.file, chunk.path) as file:
                photons[to] = hdf5.dataset(file, f"{chunk.group}/data")[source]
                weights = hdf5.find_dataset(file, f"{chunk.group}/weights")
                if weights is not None and weights.size:
                    mask[to] = weights[source] > 0
        return photons, mask


def is_ptyd(file: h5py.File) -> bool:
    """Tell whether a file has the groups of this format."""
    return all(isinstance(file.get(name, getlink=True), h5py.HardLink) for name in (META, CHUNKS))


def read_ptyd(file: h5py.File) -> PtydData:
    """Look a file over, without reading a frame; it must stay open as long as frames are read.

    Chunks may lie in files beside it, as PtyPy's ``save="link"`` keeps them: named ``*.partN``, in the same directory.

    Raises
    ------
    MetadataError
        If there is no chunk, a field is missing, has the wrong type or shape, or leads elsewhere.
    """
    positions: list[NDArray[np.float64]] = []
    chunks: list[_Chunk] = []
    shape, first = None, 0
    for path, group in _places(file):
        with _opened(file, path) as owner:
            n, *frame_shape = _check_frames(owner, group)
            if shape not in (None, tuple(frame_shape)):
                raise MetadataError(f"{path}: {group or '/'} has frames of {tuple(frame_shape)}; others have {shape}")
            shape = (frame_shape[0], frame_shape[1])
            found = hdf5.array(hdf5.dataset(owner, f"{group}/positions"), "iuf", (n, 2), np.float64)
            if not np.isfinite(found).all():
                raise MetadataError(f"{path}: {group}/positions holds values that are not finite")
        positions.append(found)
        chunks.append(_Chunk(path, group, first, n))
        first += n
    if shape is None:
        raise MetadataError(f"{file.filename} has no chunk yet; expected {CHUNKS}/0")
    return PtydData(file, _read_geometry(file, shape), np.concatenate(positions), tuple(chunks))


def _check_frames(owner: h5py.File, group: str) -> tuple[int, ...]:
    """Return the shape of a chunk's frames after they, and their weights, have been found in order."""
    data = hdf5.dataset(owner, f"{group}/data")
    if data.ndim != 3 or data.dtype.kind not in "iuf" or not data.size:
        raise MetadataError(f"{owner.filename}: {data.name} is {data.dtype} {data.shape}; expected frames")
    hdf5.refuse_overfull_chunks(data)
    weights = hdf5.find_dataset(owner, f"{group}/weights")
    if weights is not None and weights.size:
        if weights.shape != data.shape or weights.dtype.kind not in "iufb":
            raise MetadataError(
                f"{owner.filename}: {weights.name} is {weights.dtype} {weights.shape}; expected numbers {data.shape}"
            )
        hdf5.refuse_overfull_chunks(weights)
    return tuple(int(length) for length in data.shape)


def _places(file: h5py.File) -> Iterator[tuple[Path, str]]:
    """Yield file and group of each chunk, in order; links to files that are not there are left out, as PtyPy does."""
    here, chunks = Path(file.filename), file[CHUNKS]
    if not isinstance(chunks, h5py.Group) or len(chunks) > MOST_CHUNKS:
        raise MetadataError(f"{here}: {CHUNKS} is no group of at most {MOST_CHUNKS} chunks")
    for name in sorted((k for k in chunks if k.isdecimal()), key=int):
        link = chunks.get(name, getlink=True)
        if not isinstance(link, h5py.ExternalLink):
            yield here, f"{CHUNKS}/{name}"
            continue
        part = here.parent / Path(link.filename).name
        if link.path != "/" or not _PART.fullmatch(part.name) or part.is_symlink():
            raise MetadataError(
                f"{here}: {CHUNKS}/{name} is a link to {link.filename}; expected a part beside the file"
            )
        if part.is_file():
            yield part, ""


@contextmanager
def _opened(file: h5py.File, path: Path) -> Iterator[h5py.File]:
    if path == Path(file.filename):
        yield file
    else:
        with hdf5.open_for_reading(path) as part:
            yield part


def _read_geometry(file: h5py.File, shape: tuple[int, int]) -> Geometry:
    path = file.filename
    energy_kev = hdf5.number(file, f"{META}/energy")
    low, high = (energy / 1e3 for energy in ENERGIES_EV)
    if not low <= energy_kev <= high:
        raise MetadataError(f"{path}: {META}/energy is {energy_kev:g}; expected keV, {low:g} to {high:g}")
    psize = np.broadcast_to(_numbers(file, f"{META}/psize"), 2)
    if hdf5.find_dataset(file, f"{META}/center") is not None:
        for axis, centre, n in zip("yx", np.broadcast_to(_numbers(file, f"{META}/center"), 2), shape, strict=True):
            refuse_off_centre(f"{path}: {META}/center along {axis}", float(centre), n)
    distance_m = hdf5.number(file, f"{META}/distance")
    return geometry_in(file, 1e3 * energy_kev, distance_m, (float(psize[0]), float(psize[1])), shape)


def _numbers(file: h5py.File, name: str) -> NDArray[np.float64]:
    """Return one number, or two in ``(y, x)`` order."""
    found = hdf5.dataset(file, name)
    if found.dtype.kind not in "iuf" or found.shape not in ((), (1,), (2,)):
        raise MetadataError(f"{file.filename}: {name} is {found.dtype} {found.shape}; expected one number or two")
    return np.asarray(found[()], dtype=np.float64)
