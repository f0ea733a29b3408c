"""The scan plan of a run that carries none, out of what its documents tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError, SettingsError
from ..geometry import JOULE_PER_EV, metres_per_unit
from ..given import check_name
from ..preprocess import find_layout
from ..scan_plan import Axis, DetectorInfo, ScanPlan

INDEX_KEY = "bluesky_ptycho_row"
"""Key of the row of its first frame that each event is given."""
SLACK = 0.05
"""Part of a grid's larger side by which the first points may lie outside of the grid that the start document tells."""
EV_PER_UNIT = {"eV": 1.0, "keV": 1e3, "J": 1 / JOULE_PER_EV}

Fact = float | str
Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class OwnKeys:
    """Names of the data keys of a scan, and what its documents may not tell.

    Parameters
    ----------
    frames_key : str
        Data key of the frames, ``(H, W)`` or ``(K, H, W)`` in each event, stored by stream documents in one HDF5 file.
    position_keys : tuple of str
        Data keys ``(y, x)`` of the stage's readings in the events of the same stream; their units are the descriptor's.
    dark_stream : str
        Stream of the dark frames, if there are any.
    energy, distance : float or str
        Photon energy in eV and distance from sample to detector in m, or the key that tells it.
    pixel : float or str
        Pitch of the detector's square pixels in m, or the key that tells it.
    exposure : float or str
        Exposure time in s, or the key that tells it; relative ones serve.
    layout : str
        How frames are read: "plain" for patterns, or a registered detector.
    adu_per_ev : float
        Gain of the camera, where the layout asks for it.

    Raises
    ------
    SettingsError
        If a name or a number cannot be used.
    NotFoundError
        If the layout is not known.
    """

    frames_key: str
    position_keys: tuple[str, str]
    dark_stream: str = "dark"
    energy: Fact = "energy"
    distance: Fact = "distance"
    pixel: Fact = "pixel_size"
    exposure: Fact = 1.0
    layout: str = "plain"
    adu_per_ev: float = 1.0

    def __post_init__(self) -> None:
        check_name("LivePtycho: layout", self.layout, "the name of a layout")
        find_layout(self.layout)
        given: object = self.position_keys
        keys = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
        if len(keys) != 2 or not all(isinstance(key, str) and key for key in keys):
            raise SettingsError(f"LivePtycho: position_keys is {given!r}; expected two data keys, (y, x)")
        object.__setattr__(self, "position_keys", keys)
        if not isinstance(self.frames_key, str) or not self.frames_key:
            raise SettingsError(f"LivePtycho: frames_key is {self.frames_key!r}; expected the data key of the frames")
        if not isinstance(self.dark_stream, str) or not self.dark_stream:
            raise SettingsError(f"LivePtycho: dark_stream is {self.dark_stream!r}; expected the name of a stream")
        for name in ("energy", "distance", "pixel", "exposure", "adu_per_ev"):
            value = getattr(self, name)
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            is_key = isinstance(value, str) and name != "adu_per_ev"
            if not is_key and not (is_number and 0 < value < math.inf):
                or_key = "" if name == "adu_per_ev" else " or a key"
                raise SettingsError(f"LivePtycho: {name} is {value!r}; expected a positive number{or_key}")


def plan_of(
    start: Mapping[str, Any],
    descriptor: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    keys: OwnKeys,
    *,
    over: bool,
) -> ScanPlan | None:
    """Return the plan of a run as soon as its field is known: from its first point, or when it is over.

    Parameters
    ----------
    start : mapping
    descriptor : mapping
        Of the stream of the frames.
    events : sequence of mapping
        Of that stream, so far; one or more.
    keys : OwnKeys
    over : bool
        Whether no more events will come.

    Raises
    ------
    MetadataError
        If a key is missing, or something has no value or a unit that it cannot have.
    """
    axes = {axis: Axis(key, _units(descriptor, key)) for axis, key in zip("yx", keys.position_keys, strict=True)}
    seen = np.array([[event["data"][axis.key] * axis.metres for axis in axes.values()] for event in events])
    found = _grid(start, axes)
    if found is None or not _within(seen, found[0]):
        if not over:
            return None
        (y_min, x_min), (y_max, x_max) = seen.min(axis=0).tolist(), seen.max(axis=0).tolist()
        found = (y_min, y_max, x_min, x_max), len(events)
    facts = _Facts(start, descriptor, events[0])
    pixel, exposure = facts.metres("pixel", keys.pixel), facts.number("exposure", keys.exposure)[0]
    rows, columns = (int(n) for n in descriptor["data_keys"][keys.frames_key]["shape"][-2:])
    device = next((d for d, of in descriptor["object_keys"].items() if keys.frames_key in of), keys.frames_key)
    return ScanPlan(
        n_points=found[1],
        extent_m=found[0],
        energy_ev=facts.energy_ev("energy", keys.energy),
        distance_m=facts.metres("distance", keys.distance),
        detector=DetectorInfo(
            device, keys.frames_key, INDEX_KEY, (rows, columns), (pixel, pixel), keys.layout, keys.adu_per_ev
        ),
        axes=axes,
        trajectory=str(start.get("plan_name", "list")),
        exposures_s=(exposure,) * frames_per_event(descriptor, keys.frames_key),
        frames_stream=descriptor["name"],
        dark_stream=keys.dark_stream,
    )


class _Facts:
    """Numbers of a run by the keys that tell them: configuration, then the first event, then the start document."""

    def __init__(self, start: Mapping[str, Any], descriptor: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        configured = descriptor.get("configuration", {}).values()
        self._places = [(place.get("data", {}), place.get("data_keys", {})) for place in configured]
        self._places += [(event["data"], descriptor["data_keys"]), (start, {})]

    def number(self, name: str, fact: Fact) -> tuple[float, str]:
        """Return a number and its unit, "" where none is told."""
        if not isinstance(fact, str):
            return float(fact), ""
        for data, keys in self._places:
            if fact in data:
                try:
                    return float(np.asarray(data[fact]).item()), str(keys.get(fact, {}).get("units") or "")
                except (TypeError, ValueError):
                    raise MetadataError(f"{name}: {fact} is {data[fact]!r}; expected a number") from None
        raise MetadataError(
            f"{name} is unknown: no {fact!r} in configuration, events or start document; "
            f"expected LivePtycho({name}=NUMBER) or {name}=KEY"
        )

    def metres(self, name: str, fact: Fact) -> float:
        value, units = self.number(name, fact)
        return value * (metres_per_unit(units, f"{name} ({fact})") if units else 1.0)

    def energy_ev(self, name: str, fact: Fact) -> float:
        value, units = self.number(name, fact)
        if units and units not in EV_PER_UNIT:
            raise MetadataError(f"units of {name} ({fact}) are {units!r}; expected one of {', '.join(EV_PER_UNIT)}")
        return value * (EV_PER_UNIT[units] if units else 1.0)


def _units(descriptor: Mapping[str, Any], key: str) -> str:
    if key not in descriptor["data_keys"]:
        known = ", ".join(sorted(descriptor["data_keys"]))
        stream = descriptor["name"]
        raise MetadataError(
            f"stream {stream!r} has no data key {key!r}; it has {known}; "
            f"expected the stage's readings beside the frames, or dark_stream={stream!r} if they are darks"
        )
    units = str(descriptor["data_keys"][key].get("units") or "")
    metres_per_unit(units, key)
    return units


def _grid(start: Mapping[str, Any], axes: Mapping[str, Axis]) -> tuple[Extent, int] | None:
    """Return the extent in m and the number of points of a grid scan; None where they are not told."""
    motors, extents, n_points = start.get("motors"), start.get("extents"), start.get("num_points")
    relative = str(start.get("plan_name", "")).startswith("rel_")
    if relative or not (motors and extents and n_points and len(motors) == len(extents)):
        return None
    found: list[float] = []
    for axis in axes.values():
        # A readback's key begins with its motor's name: "stage_y", "stage_y_readback", "stage_y-user_readback".
        sides = [extent for motor, extent in zip(motors, extents, strict=True) if axis.key.startswith(motor)]
        if len(sides) != 1:
            return None
        found += sorted(float(edge) * axis.metres for edge in sides[0])
    return (found[0], found[1], found[2], found[3]), int(n_points)


def _within(seen: NDArray[np.float64], extent: Extent) -> bool:
    """Tell whether positions ``(n, 2)`` lie within an extent, or nearly."""
    low, high = np.array(extent[::2]), np.array(extent[1::2])
    tolerance = SLACK * float((high - low).max())
    return bool(((seen >= low - tolerance) & (seen <= high + tolerance)).all())


def frames_per_event(descriptor: Mapping[str, Any], key: str) -> int:
    """Return the frames that each event carries."""
    shape = descriptor["data_keys"][key]["shape"]
    return int(shape[0]) if len(shape) == 3 else 1
