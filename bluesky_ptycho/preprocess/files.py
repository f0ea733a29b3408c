"""Images that settings name by file: masks, flat fields, backgrounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError


def load_image(location: str, shape: tuple[int, int], name: str) -> NDArray[Any]:
    """Read an image that the setting `name` gives the place of.

    Parameters
    ----------
    location : str
        ``FILE.npy``, or ``FILE::DATASET`` for HDF5.
    shape : tuple of int
        Expected shape, checked before anything is read from HDF5.
    name : str
        Of the setting, for messages.

    Raises
    ------
    SettingsError
        If there is no such file or data set, or it does not hold finite numbers in that shape.
    """
    path, _, dataset = location.partition("::")
    if not Path(path).is_file():
        raise SettingsError(f"PreprocessSettings.{name} is {location!r}; there is no such file")
    try:
        image = _from_hdf5(path, dataset, shape) if dataset else np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(f"PreprocessSettings.{name} is {location!r}; it cannot be read: {error}") from error
    if image.shape != tuple(shape) or image.dtype.kind not in "buif":
        raise SettingsError(
            f"PreprocessSettings.{name} is {location!r} ({image.dtype}, {image.shape}); "
            f"expected numbers in {tuple(shape)}"
        )
    image = np.asarray(image)
    if not np.isfinite(image).all():
        raise SettingsError(f"PreprocessSettings.{name} is {location!r}; expected finite numbers")
    return image


def _from_hdf5(path: str, dataset: str, shape: tuple[int, int]) -> NDArray[Any]:
    with h5py.File(path, "r") as file:
        data = file[dataset]
        if not isinstance(data, h5py.Dataset) or data.shape != tuple(shape):
            raise ValueError(f"{dataset} is no data set of shape {tuple(shape)}")
        return np.asarray(data[()])
