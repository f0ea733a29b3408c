"""Images that settings name by file: masks, flat fields, backgrounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError

LARGEST = 2**26
"""Pixels of an image whose shape nobody knows beforehand."""


def load_image(location: str, shape: tuple[int, int] | None, name: str) -> NDArray[Any]:
    """Read an image that the setting `name` gives the place of.

    Parameters
    ----------
    location : str
        ``FILE.npy``, or ``FILE::DATASET`` for HDF5.
    shape : tuple of int or None
        Expected shape, checked before anything is read from HDF5; None for any image of at most :data:`LARGEST` pixels.
    name : str
        What it is, for messages.

    Raises
    ------
    SettingsError
        If there is no such file or data set, or it does not hold finite numbers in that shape.
    """
    path, _, dataset = location.partition("::")
    if not Path(path).is_file():
        raise SettingsError(f"{name} is {location!r}; there is no such file")
    try:
        image = _from_hdf5(path, dataset, shape) if dataset else _from_npy(path)
    except (OSError, ValueError, KeyError) as error:
        why = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
        raise SettingsError(f"{name} is {location!r}; it cannot be read: {why}") from error
    if not _fits(image.shape, shape) or image.dtype.kind not in "buif":
        raise SettingsError(
            f"{name} is {location!r} ({image.dtype}, {image.shape}); "
            f"expected numbers in {'two dimensions' if shape is None else tuple(shape)}"
        )
    image = np.asarray(image)
    if not np.isfinite(image).all():
        raise SettingsError(f"{name} is {location!r}; expected finite numbers")
    return image


def _from_npy(path: str) -> NDArray[Any]:
    """Map a .npy file; numpy's own words about other files advise to unpickle them."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError("no whole .npy file; expected FILE.npy, or FILE::DATASET of an HDF5 file") from error


def _from_hdf5(path: str, dataset: str, shape: tuple[int, int] | None) -> NDArray[Any]:
    with h5py.File(path, "r") as file:
        data = file[dataset]
        if not isinstance(data, h5py.Dataset) or not _fits(data.shape, shape):
            raise ValueError(f"{dataset} is no data set of {'two dimensions' if shape is None else f'shape {shape}'}")
        return np.asarray(data[()])


def _fits(found: tuple[int, ...], shape: tuple[int, int] | None) -> bool:
    """Tell whether an image has the shape that is wanted, or any sensible one."""
    return found == tuple(shape) if shape is not None else len(found) == 2 and 0 < math.prod(found) <= LARGEST
