"""The versioned scan-plan schema: plans write it into the start document, callbacks read it.

The schema, version 1, is the value of the start document's key ``ptycho``::

    {"schema": "bluesky_ptycho.scan_plan", "schema_version": 1,
     "detector": {"name": "fccd", "image_key": "fccd_image", "index_key": "fccd_frame_index",
                  "shape": [1040, 1152], "pixel_m": [30e-6, 30e-6], "layout": "fccd-assembled",
                  "adu_per_ev": 0.004},
     "axes": {"y": {"key": "stage_y", "units": "um"}, "x": {"key": "stage_x", "units": "um"}},
     "streams": {"frames": "primary", "dark": "dark"},
     "trajectory": "spiral", "n_points": 400, "extent_m": [y_min, y_max, x_min, x_max],
     "positions_m": [[y, x], ...] or null,
     "exposures_s": [0.1], "n_darks": 10, "dark_uid": null or "uid of the run that has them",
     "energy_ev": 800.0, "distance_m": 0.121,
     "illumination": {"diameter_m": ..., "outer_zone_m": ..., "stop_m": ..., "defocus_m": ...} or null}

One event is one scan point. It carries ``len(exposures_s)`` frames, which are rows
``index .. index + len(exposures_s) - 1`` of its stream's frame data set, where ``index`` is
the event's value of ``index_key``; each stream counts from 0 in a file of its own.
Positions are absolute stage coordinates of the beam axis at mid-exposure.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .errors import MetadataError
from .geometry import check_energy, metres_per_unit

SCHEMA = "bluesky_ptycho.scan_plan"
SCHEMA_VERSION = 1
START_KEY = "ptycho"
"""Key of the start document under which the scan plan lies."""

MAX_DARK_AGE_S = 1800.0
"""Darks older than this are taken anew unless a plan is told otherwise."""

MAX_POINTS = 10**8
MAX_EXPOSURES = 64
MAX_SIDE = 2**16
"""Largest numbers of points, of exposures at each, and of pixels along a frame's side that a plan may name."""

MAX_STORED_POSITIONS = 20_000
"""Planned positions beyond this number stay out of the start document (extent and count suffice)."""


@dataclass(frozen=True)
class Axis:
    """A motor axis: data key of its readback, and the unit of its values."""

    key: str
    units: str

    @property
    def metres(self) -> float:
        """Length of one unit in metres."""
        return metres_per_unit(self.units, self.key)


@dataclass(frozen=True)
class DetectorInfo:
    """What a callback must know of the detector before the first frame.

    `layout` names an entry of the raw-frame layouts ("fccd-assembled", "fccd-wire"; "plain"
    for frames that are diffraction patterns already); `adu_per_ev` is the gain; `shape` and
    `pixel_m` are those of a raw frame, ``(y, x)``.
    """

    name: str
    image_key: str
    index_key: str
    shape: tuple[int, int]
    pixel_m: tuple[float, float]
    layout: str
    adu_per_ev: float


@dataclass(frozen=True)
class Illumination:
    """Zone plate in front of the sample, lengths in m; positive `defocus_m` is downstream of the focus."""

    diameter_m: float
    outer_zone_m: float
    stop_m: float = 0.0
    defocus_m: float = 0.0


@dataclass(frozen=True)
class ScanPlan:
    """What a scan is going to measure; see the module's docstring for the stored form.

    Parameters
    ----------
    n_points : int
        Scan points planned.
    extent_m : tuple of float
        ``(y_min, y_max, x_min, x_max)`` of the planned positions in m.
    energy_ev, distance_m : float
        Photon energy in eV and sample-detector distance in m.
    detector : DetectorInfo, optional
        None for data that come as clean patterns (a CXI file).
    axes : mapping of str to Axis
        Keys "y" and "x".
    positions_m : ndarray (n, 2) float64, optional
        Planned positions ``(y, x)`` in m.
    n_darks : int
        Dark points of the run's own.
    dark_uid : str or None
        Run with the darks that serve instead, at most `max_dark_age_s` older.

    Raises
    ------
    MetadataError
        If a number is not positive and finite or too large to be meant, the energy is not between 10 eV and 1 MeV, the
        extent is reversed, or the positions are not as many as the points, all within the extent.
    """

    n_points: int
    extent_m: tuple[float, float, float, float]
    energy_ev: float
    distance_m: float
    detector: DetectorInfo | None = None
    axes: Mapping[str, Axis] = dataclasses.field(default_factory=dict)
    trajectory: str = "list"
    positions_m: NDArray[np.float64] | None = dataclasses.field(default=None, compare=False, repr=False)
    exposures_s: tuple[float, ...] = (1.0,)
    n_darks: int = 0
    dark_uid: str | None = None
    max_dark_age_s: float = MAX_DARK_AGE_S
    illumination: Illumination | None = None
    frames_stream: str = "primary"
    dark_stream: str = "dark"

    def __post_init__(self) -> None:
        numbers = {"n_points": self.n_points, "energy_ev": self.energy_ev, "distance_m": self.distance_m}
        numbers |= {f"exposures_s[{i}]": v for i, v in enumerate(self.exposures_s)}
        for name, value in numbers.items():
            if not (np.isfinite(value) and value > 0):
                raise MetadataError(f"scan plan: {name} is {value}; expected a positive number")
        check_energy("scan plan: energy_ev", self.energy_ev)
        y_min, y_max, x_min, x_max = self.extent_m
        if not (np.isfinite(self.extent_m).all() and y_min <= y_max and x_min <= x_max):
            raise MetadataError(f"scan plan: extent_m is {self.extent_m}; expected (y_min, y_max, x_min, x_max)")
        self._check_sizes()
        self._check_positions()

    def _check_sizes(self) -> None:
        sizes: dict[str, tuple[float, float]] = {
            "n_points": (self.n_points, MAX_POINTS),
            "number of exposures_s": (len(self.exposures_s), MAX_EXPOSURES),
        }
        if self.detector is not None:
            sizes |= {f"detector.shape[{i}]": (v, MAX_SIDE) for i, v in enumerate(self.detector.shape)}
            sizes |= {f"detector.pixel_m[{i}]": (v, 1.0) for i, v in enumerate(self.detector.pixel_m)}
            if len(self.detector.shape) != 2 or len(self.detector.pixel_m) != 2:
                raise MetadataError(
                    f"scan plan: detector.shape is {self.detector.shape}; expected two sizes and pitches"
                )
        for name, (value, largest) in sizes.items():
            if not 0 < value <= largest:
                raise MetadataError(f"scan plan: {name} is {value}; expected 0 < value <= {largest:g}")

    def _check_positions(self) -> None:
        if self.positions_m is None:
            return
        if self.positions_m.shape != (self.n_points, 2):
            found = self.positions_m.shape
            raise MetadataError(
                f"scan plan: positions_m has shape {found}; expected ({self.n_points}, 2), as n_points says"
            )
        y_min, y_max, x_min, x_max = self.extent_m
        slack = 1e-9 * (1 + max(y_max - y_min, x_max - x_min))
        inside = (self.positions_m >= np.array([y_min, x_min]) - slack) & (
            self.positions_m <= np.array([y_max, x_max]) + slack
        )
        if not inside.all():
            n = int(np.argmin(inside.all(axis=1)))
            where = tuple(self.positions_m[n].tolist())
            raise MetadataError(f"scan plan: positions_m[{n}] is {where}; expected it within extent_m {self.extent_m}")

    @property
    def frames_per_point(self) -> int:
        """Frames that one event carries (one for each exposure)."""
        return len(self.exposures_s)

    @property
    def merges_exposures(self) -> bool:
        """Whether a pattern is made of exposures of different times."""
        return len(set(self.exposures_s)) > 1

    @property
    def dark_conditions(self) -> str:
        """What darks must have in common with this scan, as one key: detector, layout, shape, gain, exposures."""
        return dark_conditions(self.detector, self.exposures_s)

    @classmethod
    def from_positions(cls, positions_m: NDArray[np.float64], **fields: Any) -> Self:
        """Make a plan over ``(n, 2)`` positions ``(y, x)`` in m; count and extent follow from them."""
        positions = np.asarray(positions_m, dtype=np.float64)
        if positions.ndim != 2 or positions.shape[1] != 2 or not len(positions):
            raise MetadataError(f"scan plan: positions have shape {positions.shape}; expected (n, 2) with n > 0")
        low, high = positions.min(axis=0), positions.max(axis=0)
        extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
        return cls(n_points=len(positions), extent_m=extent, positions_m=positions, **fields)

    def to_start(self) -> dict[str, Any]:
        """Return the value of the start document's key ``ptycho``."""
        store = self.positions_m is not None and self.n_points <= MAX_STORED_POSITIONS
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "detector": None if self.detector is None else _json(dataclasses.asdict(self.detector)),
            "axes": {name: dataclasses.asdict(axis) for name, axis in self.axes.items()},
            "streams": {"frames": self.frames_stream, "dark": self.dark_stream},
            "trajectory": self.trajectory,
            "n_points": self.n_points,
            "extent_m": list(self.extent_m),
            "positions_m": self.positions_m.tolist() if store and self.positions_m is not None else None,
            "exposures_s": list(self.exposures_s),
            "n_darks": self.n_darks,
            "dark_uid": self.dark_uid,
            "max_dark_age_s": self.max_dark_age_s,
            "energy_ev": self.energy_ev,
            "distance_m": self.distance_m,
            "illumination": None if self.illumination is None else dataclasses.asdict(self.illumination),
        }

    @classmethod
    def from_start(cls, start: Mapping[str, Any]) -> Self | None:
        """Read the plan of a start document; None if it carries no scan plan of ours.

        Raises
        ------
        MetadataError
            If the plan is of a newer schema version, or a field is missing or unusable.
        """
        stored = start.get(START_KEY)
        if not isinstance(stored, Mapping) or stored.get("schema") != SCHEMA:
            return None
        version = stored.get("schema_version")
        if version != SCHEMA_VERSION:
            raise MetadataError(f"scan plan: schema_version is {version!r}; this version reads {SCHEMA_VERSION}")
        try:
            return cls._from_stored(stored)
        except KeyError as missing:
            raise MetadataError(f"scan plan: field {missing} is missing from start[{START_KEY!r}]") from missing
        except (TypeError, ValueError) as bad:
            if isinstance(bad, MetadataError):
                raise
            raise MetadataError(f"scan plan: start[{START_KEY!r}] cannot be read: {bad}") from bad

    @classmethod
    def _from_stored(cls, stored: Mapping[str, Any]) -> Self:
        y_min, y_max, x_min, x_max = map(float, stored["extent_m"])
        detector, light, positions = stored["detector"], stored["illumination"], stored["positions_m"]
        if detector is not None:
            pairs = {name: tuple(detector[name]) for name in ("shape", "pixel_m")}
            detector = DetectorInfo(**{**detector, **pairs})
        return cls(
            n_points=int(stored["n_points"]),
            extent_m=(y_min, y_max, x_min, x_max),
            energy_ev=float(stored["energy_ev"]),
            distance_m=float(stored["distance_m"]),
            detector=detector,
            axes={name: Axis(**axis) for name, axis in stored["axes"].items()},
            trajectory=str(stored["trajectory"]),
            positions_m=None if positions is None else np.asarray(positions, dtype=np.float64),
            exposures_s=tuple(map(float, stored["exposures_s"])),
            n_darks=int(stored["n_darks"]),
            dark_uid=stored["dark_uid"],
            max_dark_age_s=float(stored.get("max_dark_age_s", MAX_DARK_AGE_S)),
            illumination=None if light is None else Illumination(**light),
            frames_stream=str(stored["streams"]["frames"]),
            dark_stream=str(stored["streams"]["dark"]),
        )


def dark_conditions(detector: DetectorInfo | None, exposures_s: Sequence[float]) -> str:
    """Return what darks must have in common, as one key: detector, layout, shape, gain and exposures."""
    parts = [] if detector is None else [detector.name, detector.layout, detector.shape, detector.adu_per_ev]
    return json.dumps([*parts, list(exposures_s)])


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _json(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value
