"""Careful reading of HDF5 files that somebody else wrote.

A file from elsewhere may be truncated, lack fields, or point at files that are none of its
business. Whatever is wrong ends in one :class:`PtychoError` that names file and field.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError, NotFoundError, PtychoError

MAX_LINKS = 16
"""Soft links followed one after the other before a loop is suspected."""
MAX_CHUNK_BYTES = 2**30
"""Most that one chunk may unpack to; HDF5 unpacks whole chunks however little of them is read."""
MAX_UNPACKINGS = 1
"""Filters of a chunk that unpack: one after the other, they would make gigabytes of a kilobyte."""
_KEEP_THE_SIZE = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


@contextmanager
def open_for_reading(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises
    ------
    NotFoundError
        If there is no such file.
    MetadataError
        If it is not an HDF5 file, or turns out to be damaged while it is read.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PtychoError:
        raise
    # h5py meets a damaged file, or a type that NumPy has not, with any of these.
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise MetadataError(f"{path} {_told(path, ' '.join(str(error).split()))}") from error


def _told(path: Path, said: str) -> str:
    """Return what is wrong with a file in words that are more use than h5py's, where there are such."""
    if "already open for write" in said:
        return (
            "is being written, or its writer has crashed; expected a closed file (where nothing writes to it any more, "
            f"HDF5's `h5clear -s {path.name}` closes it)"
        )
    if cut := re.search(r"truncated file: eof = (\d+),.* stored_eof = (\d+)", said):
        return f"cannot be read: cut short, {cut[1]} of {cut[2]} bytes"
    if not os.access(path, os.R_OK):
        return "cannot be read: permission denied"
    if h5py.is_hdf5(path):
        return f"cannot be read: {said}"
    return "is not an HDF5 file" if path.stat().st_size else "is not an HDF5 file: it is empty"


def find_dataset(file: h5py.File, *names: str) -> h5py.Dataset | None:
    """Return the first of several data sets that is there, None if none is.

    Soft links are followed; whatever leads out of the file, data of no fixed-size type, and chunks that unpack to
    more than memory may be asked for are refused.

    Raises
    ------
    MetadataError
        On such a link, type or chunk.
    """
    for name in names:
        found = _follow(file, name, MAX_LINKS)
        if isinstance(found, h5py.Dataset):
            _refuse_hostile(found, f"{file.filename}: {name}")
            return found
    return None


def _refuse_hostile(found: h5py.Dataset, where: str) -> None:
    if found.dtype.hasobject or found.dtype.names:
        raise MetadataError(f"{where} has type {found.dtype}; expected numbers")
    if found.is_virtual or found.external:
        raise MetadataError(f"{where} keeps its data in other files; expected them inside")
    if found.chunks is None:
        return
    unpacked = math.prod(found.chunks) * found.dtype.itemsize
    if unpacked > MAX_CHUNK_BYTES:
        raise MetadataError(f"{where} has chunks {found.chunks}, {unpacked / 1e9:.2f} GB; expected at most 1.07 GB")
    created = found.id.get_create_plist()
    filters = [created.get_filter(i)[0] for i in range(created.get_nfilters())]
    if sum(code not in _KEEP_THE_SIZE for code in filters) > MAX_UNPACKINGS:
        raise MetadataError(f"{where} is packed by {len(filters)} filters; expected one at most that unpacks")


def overfull(found: h5py.Dataset, stored_bytes: int) -> str | None:
    """Say what is wrong with a chunk that takes more bytes in the file than packed numbers can; None if nothing is.

    HDF5 unpacks whatever is there, a thousand times as much, before it looks how much it needs.
    """
    most = math.prod(found.chunks or ()) * found.dtype.itemsize * 17 // 16 + 4096
    return f"{stored_bytes} bytes of a chunk; expected at most {most}" if stored_bytes > most else None


def refuse_overfull_chunks(found: h5py.Dataset) -> None:
    """Raise MetadataError if a chunk of a data set is :func:`overfull`."""
    if found.chunks is None:
        return
    largest = 0

    def look(chunk: Any) -> None:
        nonlocal largest
        largest = max(largest, chunk.size)

    found.id.chunk_iter(look)
    if (problem := overfull(found, largest)) is not None:
        raise MetadataError(f"{found.file.filename}: {found.name} has {problem}")


def dataset(file: h5py.File, *names: str) -> h5py.Dataset:
    """Return the first of several data sets that is there; raise :class:`MetadataError` if none is."""
    found = find_dataset(file, *names)
    if found is None:
        raise MetadataError(f"{file.filename} has no {' or '.join(names)}")
    return found


def number(file: h5py.File, *names: str) -> float:
    """Return a positive, finite number; raise :class:`MetadataError` if it is missing or none."""
    found = dataset(file, *names)
    value = scalar(found)
    if not (np.isfinite(value) and value > 0):
        raise MetadataError(f"{file.filename}: {found.name} is {value}; expected a positive number")
    return value


def scalar(found: h5py.Dataset) -> float:
    """Return the only number of a data set; raise :class:`MetadataError` if it holds something else."""
    if found.size != 1 or found.dtype.kind not in "iufb":
        raise MetadataError(f"{found.file.filename}: {found.name} is {found.dtype} {found.shape}; expected one number")
    return float(np.asarray(found[()]).reshape(())[()])


def array(found: h5py.Dataset, kinds: str, shape: tuple[int | None, ...], dtype: Any) -> NDArray[Any]:
    """Read a whole data set as `dtype`, after its kind, shape and size have been found in order.

    Parameters
    ----------
    found : h5py.Dataset
    kinds : str
        Kinds of type that are allowed (``"iuf"``).
    shape : tuple of int or None
        Expected shape; None stands for any length but 0.
    dtype : dtype
        Of the result.

    Raises
    ------
    MetadataError
        If the data set is not like that, or would not fit into this machine's memory.
    """
    where = f"{found.file.filename}: {found.name}"
    if found.dtype.kind not in kinds:
        raise MetadataError(f"{where} has type {found.dtype}; expected {_described(kinds)}")
    fits = len(found.shape) == len(shape) and all(
        n == m if m is not None else n > 0 for n, m in zip(found.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("n" if n is None else str(n) for n in shape)
        raise MetadataError(f"{where} has shape {found.shape}; expected ({wanted})")
    refuse_overfull_chunks(found)
    needed = int(np.prod(found.shape, dtype=np.float64)) * np.dtype(dtype).itemsize
    if needed > physical_memory():
        raise MetadataError(
            f"{where} has shape {found.shape}, {needed / 1e9:.0f} GB; this machine has {physical_memory() / 1e9:.0f} GB"
        )
    values = np.empty(found.shape, dtype)
    if found.size:
        found.read_direct(values)
    return values


def numbered_images(file: h5py.File, name: str) -> NDArray[np.complex64] | None:
    """Return the complex images `name`1, `name`2, … in one array ``(n, rows, cols)``; None where there is none.

    Raises
    ------
    MetadataError
        If one has the wrong type, or their shapes differ.
    """
    images: list[NDArray[np.complex64]] = []
    while (found := find_dataset(file, f"{name}{len(images) + 1}")) is not None:
        images.append(array(found, "c", (None, None), np.complex64))
    if any(image.shape != images[0].shape for image in images):
        raise MetadataError(f"{file.filename}: {name}1 and others have unequal shapes")
    return np.stack(images) if images else None


def physical_memory() -> int:
    """Return the size of this machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _described(kinds: str) -> str:
    names = {"i": "integers", "u": "unsigned integers", "f": "floats", "b": "booleans", "c": "complex numbers"}
    return " or ".join(names[k] for k in kinds)


def _follow(file: h5py.File, name: str, links_left: int) -> h5py.Dataset | h5py.Group | None:
    """Return what `name` means, walking link by link so that none leads out of the file."""
    here: Any = file
    for part in (p for p in name.split("/") if p and p != "."):
        if not isinstance(here, h5py.Group):
            return None
        link = here.get(part, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise MetadataError(f"{file.filename}: {name} is a link to another file ({link.filename}); refused")
        if isinstance(link, h5py.SoftLink):
            if not links_left:
                raise MetadataError(f"{file.filename}: {name} is a link that leads nowhere but to itself")
            target = link.path if link.path.startswith("/") else f"{here.name}/{link.path}"
            here = _follow(file, target, links_left - 1)
        else:
            here = here[part]
    return here
