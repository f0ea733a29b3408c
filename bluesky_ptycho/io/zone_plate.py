"""The zone plate in files of frames, by NeXus' names (NXfresnel_zone_plate), in m.

Neither CXI nor PtyPy has words for it; readers of theirs pass it over. Without it a probe starts from the mean pattern.
"""

from __future__ import annotations

import h5py
import numpy as np

from ..errors import MetadataError
from ..scan_plan import Illumination
from . import hdf5

PLACE = "entry_1/instrument_1/zone_plate_1"
_FIELDS = {
    "diameter_m": "outer_diameter",
    "outer_zone_m": "outermost_zone_width",
    "stop_m": "central_stop_diameter",
    "defocus_m": "defocus",
}


def write_zone_plate(file: h5py.File, light: Illumination | None) -> None:
    """Write a zone plate, if there is one."""
    if light is None:
        return
    group = file.create_group(PLACE)
    group.attrs["NX_class"] = "NXfresnel_zone_plate"
    for field, name in _FIELDS.items():
        group[name] = float(getattr(light, field))
        group[name].attrs["units"] = "m"


def read_zone_plate(file: h5py.File) -> Illumination | None:
    """Return the zone plate that :func:`write_zone_plate` wrote; None where there is none.

    Raises
    ------
    MetadataError
        If a field is missing or no zone plate has such sizes.
    """
    if hdf5.find_dataset(file, f"{PLACE}/outer_diameter") is None:
        return None
    found = {field: hdf5.dataset(file, f"{PLACE}/{name}") for field, name in _FIELDS.items()}
    sizes = {field: float(hdf5.array(data, "f", (), np.float64)) for field, data in found.items()}
    light = Illumination(**sizes)
    fits = 0 < light.outer_zone_m < light.diameter_m < 1 and 0 <= light.stop_m < light.diameter_m
    if not (fits and abs(light.defocus_m) < 1):
        raise MetadataError(f"{file.filename}: {PLACE} is {sizes}; expected the sizes of a zone plate in m")
    return light
