"""Geometry in CXI files.

CXI has no word for the near field: the attributes ``propagation`` ("far" or "near") and ``focus_to_sample_m`` of the
file's root say it; without them a pattern is of the far field.
"""

from __future__ import annotations

import math
from typing import Any

import h5py

from ..errors import MetadataError, SettingsError
from ..geometry import ENERGIES_EV, JOULE_PER_EV, Geometry
from . import hdf5

DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"


def read_geometry(
    file: h5py.File, shape: tuple[int, int], propagation: str | None = None, focus_to_sample_m: float | None = None
) -> Geometry:
    """Return the geometry of frames of `shape`; `propagation` and `focus_to_sample_m` go before the file's own.

    Raises
    ------
    MetadataError
        If a field is missing, or its value or unit cannot be.
    SettingsError
        If `focus_to_sample_m` is given and the patterns are of the far field.
    """
    energy_ev = hdf5.number(file, f"{SOURCE}/energy") / JOULE_PER_EV
    low, high = ENERGIES_EV
    if not low <= energy_ev <= high:
        joule = energy_ev * JOULE_PER_EV
        raise MetadataError(
            f"{file.filename}: {SOURCE}/energy is {joule:g}; expected joule, "
            f"{low * JOULE_PER_EV:.2g} to {high * JOULE_PER_EV:.2g} (CXI's unit)"
        )
    pixel = (hdf5.number(file, f"{DETECTOR}/y_pixel_size"), hdf5.number(file, f"{DETECTOR}/x_pixel_size"))
    way = propagation or read_propagation(file)
    if focus_to_sample_m not in (None, math.inf) and way == "far":  # the caller's, not the file's
        raise SettingsError(f"focus_to_sample_m is {focus_to_sample_m:g}; expected only with propagation 'near'")
    if focus_to_sample_m is None and way == "near":
        focus_to_sample_m = _number_attribute(file, "focus_to_sample_m")
    distance_m = hdf5.number(file, f"{DETECTOR}/distance")
    return geometry_in(file, energy_ev, distance_m, pixel, shape, way, focus_to_sample_m)


def read_propagation(file: h5py.File) -> str:
    """Return what the file says of the field that its patterns are of."""
    return _text_attribute(file, "propagation") or "far"


def geometry_in(file: h5py.File, *facts: Any) -> Geometry:
    """Return ``Geometry(*facts)``; what it refuses is told with the file, which whatever reads facts names itself."""
    try:
        return Geometry(*facts)
    except MetadataError as error:
        raise MetadataError(f"{file.filename}: {error}") from None


def write_geometry(file: h5py.File, geometry: Geometry) -> None:
    """Write what :func:`read_geometry` reads."""
    file[f"{SOURCE}/energy"] = geometry.energy_ev * JOULE_PER_EV
    file[f"{DETECTOR}/distance"] = geometry.distance_m
    file[f"{DETECTOR}/y_pixel_size"], file[f"{DETECTOR}/x_pixel_size"] = geometry.pixel_m
    file.attrs["propagation"] = geometry.propagation
    if geometry.focus_to_sample_m is not None:
        file.attrs["focus_to_sample_m"] = geometry.focus_to_sample_m


def refuse_off_centre(where: str, centre_px: float, n: int) -> None:
    """Raise MetadataError unless a beam at `centre_px` from the edge meets pixel ``n // 2`` of `n`, or its rim."""
    if not -0.5 <= centre_px - n // 2 <= 1.5:
        raise MetadataError(f"{where} is pixel {centre_px:.6g} of {n}; expected frames with the beam on pixel {n // 2}")


def _text_attribute(file: h5py.File, name: str) -> str | None:
    value = file.attrs.get(name)
    return value.decode(errors="replace") if isinstance(value, bytes) else None if value is None else str(value)


def _number_attribute(file: h5py.File, name: str) -> float | None:
    value = file.attrs.get(name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise MetadataError(f"{file.filename}: attribute {name} is {value!r}; expected one number") from None
