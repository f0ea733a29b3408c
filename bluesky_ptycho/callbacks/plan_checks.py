"""What a scan plan says that can hardly be meant."""

from __future__ import annotations

import math

from ..errors import MetadataError
from ..geometry import Canvas, Geometry
from ..io.hdf5 import physical_memory
from ..scan_plan import ScanPlan

ENERGIES_EV = (30.0, 200e3)
DISTANCES_M = (1e-3, 50.0)
PIXELS_M = (0.5e-6, 1e-3)
EXTENTS_M = (0.0, 0.02)
"""Beyond these a value was probably given in another unit."""
BYTES_PER_OBJECT_PIXEL = 24
"""Object, its velocity and a copy (complex64): the least that any reconstruction needs."""


def doubts(plan: ScanPlan) -> list[str]:
    """Return, one line each, what values of the plan are hardly in the unit that they should be in."""
    y_min, y_max, x_min, x_max = plan.extent_m
    values = [
        ("energy_ev", plan.energy_ev, ENERGIES_EV, "eV"),
        ("distance_m", plan.distance_m, DISTANCES_M, "m"),
        ("extent_m", max(y_max - y_min, x_max - x_min), EXTENTS_M, "m"),
    ]
    if plan.detector is not None:
        values += [(f"detector.pixel_m[{i}]", pitch, PIXELS_M, "m") for i, pitch in enumerate(plan.detector.pixel_m)]
    return [
        f"scan plan: {name} is {value:g} {unit}; expected {low:g} to {high:g} {unit}: is it in another unit?"
        for name, value, (low, high), unit in values
        if not low <= value <= high
    ]


def refuse_endless_object(plan: ScanPlan, geometry: Geometry) -> None:
    """Raise MetadataError where the object alone would not fit into this machine's memory."""
    shape = Canvas.for_extent(plan.extent_m, geometry).shape
    needed, there = math.prod(shape) * BYTES_PER_OBJECT_PIXEL, physical_memory()
    if needed > there:
        raise MetadataError(
            f"scan plan: extent_m is {plan.extent_m}, an object of {shape[0]} x {shape[1]} pixels; "
            f"expected one that fits into {there / 1e9:.0f} GB"
        )
