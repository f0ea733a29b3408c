"""NeXus files of the application definition NXcxi_ptycho: CXI's names with NeXus' classes, units and links.

The definition (https://manual.nexusformat.org/classes/contributed_definitions/NXcxi_ptycho.html) gives
``source_1/energy`` to the storage ring, CXI to the photons. Written is the photons' energy in J, there, as readers of
CXI expect it, and in ``beam_1``; read is ``beam_1``, with the units that the fields tell.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..geometry import ENERGIES_EV, JOULE_PER_EV, Geometry, metres_per_unit
from . import hdf5
from .clean_cxi import PROCESS, CleanCxiWriter
from .cxi import TRANSLATION, text
from .cxi_geometry import DETECTOR, SOURCE, geometry_in, refuse_off_centre

DEFINITION = "NXcxi_ptycho"
BEAM = "entry_1/instrument_1/beam_1"
_EV_PER_UNIT = {"J": 1 / JOULE_PER_EV, "eV": 1.0, "keV": 1e3}
_CLASSES = {
    "/": "NXroot",
    "entry_1": "NXentry",
    "entry_1/instrument_1": "NXinstrument",
    SOURCE: "NXsource",
    BEAM: "NXbeam",
    DETECTOR: "NXdetector",
    f"{DETECTOR}/transformations": "NXtransformations",
    "entry_1/data_1": "NXcollection",
    "entry_1/plot_1": "NXdata",
    "entry_1/sample_1": "NXsample",
    "entry_1/sample_1/transformations": "NXtransformations",
    "entry_1/sample_1/geometry_1": "NXcollection",
    PROCESS: "NXprocess",
}


class CleanNxsWriter(CleanCxiWriter):
    """A NeXus file of clean frames, which is a CXI file as well."""

    def _describe(self, file: h5py.File) -> None:
        describe(file, self._geometry)


def describe(file: h5py.File, geometry: Geometry) -> None:
    """Add to a CXI file of frames what NXcxi_ptycho wants to be told.

    What the definition asks for and nobody has measured (divergence, energy spread, the beam's extent where no first
    guess of the probe was written) is NaN; there is no monitor.
    """
    file["entry_1/definition"] = text(DEFINITION)
    _describe_beam(file, geometry)
    _describe_detector(file, geometry)
    _describe_sample(file)
    plot = file.create_group("entry_1/plot_1")
    plot["data"] = h5py.SoftLink(f"/{DETECTOR}/data")
    for axis in "xy":
        plot[axis] = h5py.SoftLink(f"/entry_1/sample_1/transformations/{axis}")
        plot.attrs[f"{axis}_indices"] = 0
    plot.attrs.update({"signal": "data", "axes": ["x", ".", "."]})
    file["entry_1"].attrs["default"] = "plot_1"
    file.attrs["default"] = "entry_1"
    for name, kind in _CLASSES.items():
        if name in file:
            file[name].attrs["NX_class"] = kind


def _describe_beam(file: h5py.File, geometry: Geometry) -> None:
    joule = geometry.energy_ev * JOULE_PER_EV
    fields = {
        "energy": (joule, "J"),
        "incident_beam_energy": (joule, "J"),
        "extent": (_beam_extent(file, geometry), "m"),
        "incident_beam_divergence": (np.nan, "rad"),
        "incident_energy_spread": (np.nan, "J"),
    }
    for name, (value, units) in fields.items():
        file[f"{BEAM}/{name}"] = value
        file[f"{BEAM}/{name}"].attrs["units"] = units
    file[f"{SOURCE}/energy"].attrs["units"] = "J"


def _beam_extent(file: h5py.File, geometry: Geometry) -> NDArray[np.float64]:
    """Return the full width at half maximum ``(x, y)`` in m of a Gaussian that is as wide as the probe (rms)."""
    found = file.get(f"{SOURCE}/illumination")
    if found is None:
        return np.full(2, np.nan)
    power = np.abs(found[()].astype(np.complex128)) ** 2
    widths = []
    for axis, pitch in zip((1, 0), geometry.object_pixel_m[::-1], strict=True):
        profile = power.sum(axis=1 - axis)
        place = np.arange(len(profile)) * pitch
        mean = np.average(place, weights=profile)
        widths.append(2.3548 * np.sqrt(np.average((place - mean) ** 2, weights=profile)))
    return np.array(widths)


def _describe_detector(file: h5py.File, geometry: Geometry) -> None:
    detector = file[DETECTOR]
    for axis, n, pitch in zip("yx", geometry.shape, geometry.pixel_m, strict=True):
        detector[f"beam_center_{axis}"] = (n // 2 + 0.5) * pitch
    for name in ("distance", "y_pixel_size", "x_pixel_size", "beam_center_y", "beam_center_x"):
        detector[name].attrs["units"] = "m"
    detector.attrs.update({"signal": "data", "axes": "[, data]"})
    detector["transformations/vector"] = np.array([0.0, 0.0, 1.0])
    file[TRANSLATION].attrs.update({"axes": "translation:y:x", "interpretation": "image"})


def _describe_sample(file: h5py.File) -> None:
    xyz = file[TRANSLATION][()]
    for column, axis in enumerate("xy"):
        name = f"entry_1/sample_1/transformations/{axis}"
        file[name] = xyz[:, column]
        vector = np.eye(3)[column]
        file[name].attrs.update({"units": "m", "vector": vector, "transformation_type": "translation"})


def is_nxs(file: h5py.File) -> bool:
    """Tell whether a CXI file is a NeXus file of that definition as well."""
    return hdf5.find_dataset(file, f"{BEAM}/incident_beam_energy", f"{BEAM}/energy") is not None


def read_geometry(file: h5py.File, shape: tuple[int, int]) -> Geometry:
    """Return the geometry of frames of `shape`, by the units that the fields tell (SI without).

    Raises
    ------
    MetadataError
        If a field is missing, or its value or unit cannot be, or the beam does not meet the middle of the frames.
    """
    found = hdf5.dataset(file, f"{BEAM}/incident_beam_energy", f"{BEAM}/energy")
    energy_ev = hdf5.number(file, found.name) * _ev_per_unit(found)
    if not ENERGIES_EV[0] <= energy_ev <= ENERGIES_EV[1]:
        low, high = ENERGIES_EV
        raise MetadataError(f"{file.filename}: {found.name} is {energy_ev:.3g} eV; expected {low:g} to {high:g}")
    distance, dy, dx = (_length(file, f"{DETECTOR}/{name}") for name in ("distance", "y_pixel_size", "x_pixel_size"))
    for axis, n, pitch in zip("yx", shape, (dy, dx), strict=True):
        _refuse_off_centre(file, f"{DETECTOR}/beam_center_{axis}", n, pitch)
    return geometry_in(file, energy_ev, distance, (dy, dx), shape)


def read_positions(file: h5py.File, n: int) -> NDArray[np.float64]:
    """Return the positions ``(n, 2)`` ``(y, x)`` in m of `n` frames; raises MetadataError if there are none."""
    found = hdf5.dataset(file, TRANSLATION, f"{DETECTOR}/translation", "entry_1/data_1/translation")
    xyz = hdf5.array(found, "iuf", (n, 3), np.float64)
    if not np.isfinite(xyz[:, :2]).all():
        raise MetadataError(f"{file.filename}: {found.name} holds values that are not finite")
    return np.ascontiguousarray(xyz[:, 1::-1]) * metres_per_unit(_units(found, "m"), f"{file.filename}: {found.name}")


def _length(file: h5py.File, name: str) -> float:
    found = hdf5.dataset(file, name)
    return hdf5.number(file, name) * metres_per_unit(_units(found, "m"), f"{file.filename}: {name}")


def _ev_per_unit(found: h5py.Dataset) -> float:
    units = _units(found, "J")
    if units not in _EV_PER_UNIT:
        known = ", ".join(_EV_PER_UNIT)
        raise MetadataError(f"{found.file.filename}: units of {found.name} are {units!r}; expected one of {known}")
    return _EV_PER_UNIT[units]


def _refuse_off_centre(file: h5py.File, name: str, n: int, pitch: float) -> None:
    found = hdf5.find_dataset(file, name)
    if found is None:
        return
    units = _units(found, "m")
    in_pixels = units in ("pixel", "pixels", "px")
    centre = hdf5.number(file, name) / (
        1.0 if in_pixels else pitch / metres_per_unit(units, f"{file.filename}: {name}")
    )
    refuse_off_centre(f"{file.filename}: {name}", centre, n)


def _units(found: h5py.Dataset, usual: str) -> Any:
    value = found.attrs.get("units", usual)
    return value.decode(errors="replace") if isinstance(value, bytes) else value
