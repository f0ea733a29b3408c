"""The one place where documents become types.

Nothing else in the package knows how a start, descriptor, event or stream document is
spelled. Everything here is a pure function of documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np

from ..errors import MetadataError
from ..scan_plan import ScanPlan

ANALYSIS = "ptychography"
"""Value of a result run's start["analysis"]."""


@dataclass(frozen=True)
class StreamInfo:
    """A descriptor of interest: the stream's name and the shape of one event's frames.

    `is_dark` tells whether the shutter was closed; `frames_per_event` is the first axis of the
    image key; `frame_shape` is ``(H, W)``.
    """

    uid: str
    name: str
    is_dark: bool
    frames_per_event: int
    frame_shape: tuple[int, int]


@dataclass(frozen=True)
class Point:
    """One scan point as its event tells it.

    `row` is the first row of its frames in the stream's data set; `position_m` is the stage's
    ``(y, x)`` in m, None in a dark stream; `time` is the event's own time (s since epoch).
    """

    seq_num: int
    row: int
    position_m: tuple[float, float] | None
    time: float


@dataclass(frozen=True)
class FrameSource:
    """Where the frames of a stream lie."""

    uid: str
    path: Path
    dataset: str
    locking: bool | None


def read_plan(start: Mapping[str, Any]) -> ScanPlan | None:
    """Return the scan plan of a raw run of ours; None for every other run.

    Result runs are never taken, else a live callback would reconstruct its own output.

    Raises
    ------
    MetadataError
        If the run carries our schema and a field of it is missing or unusable.
    """
    if start.get("analysis") is not None or start.get("raw_uid") is not None:
        return None
    plan = ScanPlan.from_start(start)
    if plan is None:
        return None
    if plan.detector is None:
        raise MetadataError("scan plan: detector is null; expected name, keys and shape of the detector")
    for axis in ("y", "x"):
        if axis not in plan.axes:
            raise MetadataError(f"scan plan: axes has no {axis!r}; expected 'y' and 'x'")
        _ = plan.axes[axis].metres  # an unknown unit is refused with the first document
    return plan


def read_descriptor(doc: Mapping[str, Any], plan: ScanPlan) -> StreamInfo | None:
    """Return what a descriptor says of its frames; None for streams without our frames.

    Raises
    ------
    MetadataError
        If shape, energy, distance or a key disagrees with the scan plan.
    """
    detector = plan.detector
    if detector is None or doc.get("name") not in (plan.frames_stream, plan.dark_stream):
        return None
    stream, keys = doc["name"], doc["data_keys"]
    wanted = [detector.image_key, detector.index_key]
    if stream == plan.frames_stream:
        wanted += [axis.key for axis in plan.axes.values()]
    for key in wanted:
        if key not in keys:
            raise MetadataError(f"stream {stream!r} has no data key {key!r}; it has {', '.join(sorted(keys))}")
    shape = tuple(int(n) for n in keys[detector.image_key]["shape"])
    frames, frame_shape = (1, shape) if len(shape) == 2 else (shape[0], shape[1:])
    if len(frame_shape) != 2 or frame_shape != tuple(detector.shape) or frames != plan.frames_per_point:
        expected = (plan.frames_per_point, *detector.shape)
        raise MetadataError(f"{detector.image_key} in stream {stream!r} has shape {shape}; the plan says {expected}")
    if stream == plan.frames_stream:
        _check_units(keys, plan)
    _check_configuration(doc, plan)
    return StreamInfo(doc["uid"], stream, stream == plan.dark_stream, frames, (frame_shape[0], frame_shape[1]))


def _check_units(keys: Mapping[str, Any], plan: ScanPlan) -> None:
    for axis in plan.axes.values():
        units = keys[axis.key].get("units")
        if units and units != axis.units:
            raise MetadataError(f"{axis.key} has units {units!r} in the descriptor; the scan plan says {axis.units!r}")


def _check_configuration(doc: Mapping[str, Any], plan: ScanPlan) -> None:
    """Refuse a descriptor whose energy or distance is not that of the plan."""
    assert plan.detector is not None
    name = plan.detector.name
    data = doc.get("configuration", {}).get(name, {}).get("data", {})
    for suffix, planned in (("energy", plan.energy_ev), ("distance", plan.distance_m)):
        value = data.get(f"{name}_{suffix}")
        if value is not None and not np.isclose(float(value), planned, rtol=1e-4):
            raise MetadataError(f"{name}_{suffix} is {value} in the descriptor; the scan plan says {planned}")


def read_points(name: str, doc: Mapping[str, Any], stream: StreamInfo, plan: ScanPlan) -> Iterator[Point]:
    """Yield the points of an ``event`` or ``event_page`` document."""
    assert plan.detector is not None
    index_key = plan.detector.index_key
    keys = None if stream.is_dark else (plan.axes["y"], plan.axes["x"])
    if name == "event":
        yield _point(doc["seq_num"], doc["time"], doc["data"][index_key], doc["data"], keys)
        return
    for i, seq_num in enumerate(doc["seq_num"]):
        row = {key: column[i] for key, column in doc["data"].items()}
        yield _point(seq_num, doc["time"][i], row[index_key], row, keys)


def _point(seq_num: int, time: float, row: Any, data: Mapping[str, Any], axes: Any) -> Point:
    position = None
    if axes is not None:
        y, x = axes
        position = (float(data[y.key]) * y.metres, float(data[x.key]) * x.metres)
    return Point(int(seq_num), int(row), position, float(time))


def read_source(doc: Mapping[str, Any], plan: ScanPlan) -> FrameSource | None:
    """Return where a ``stream_resource`` of our image key lies; None for other data keys.

    Raises
    ------
    MetadataError
        If it is not an HDF5 file on a file system.
    """
    assert plan.detector is not None
    if doc["data_key"] != plan.detector.image_key:
        return None
    uri = urlparse(doc["uri"])
    if uri.scheme != "file" or doc["mimetype"] != "application/x-hdf5":
        raise MetadataError(
            f"frames of {doc['data_key']!r} are {doc['mimetype']} at {doc['uri']}; expected application/x-hdf5 at file://"
        )
    parameters = doc["parameters"]
    return FrameSource(doc["uid"], Path(unquote(uri.path)), parameters["dataset"], parameters.get("locking"))


def read_events_available(doc: Mapping[str, Any]) -> tuple[str, str, int]:
    """Return (stream resource uid, descriptor uid, number of events stored so far) of a ``stream_datum``.

    Indices count events from 0 in each stream's own file.
    """
    return doc["stream_resource"], doc["descriptor"], int(doc["indices"]["stop"])
