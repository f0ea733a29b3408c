"""The one place where documents become types.

Nothing else in the package knows how a start, descriptor, event or stream document is
spelled. Everything here is a pure function of documents.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np

from ..errors import MetadataError
from ..scan_plan import START_KEY, ScanPlan

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
    """Where the frames of a stream lie.

    `frame_shape` is ``(H, W)`` as planned, None where nobody planned; a file beyond all `roots`, if there are any, is
    not to be opened.
    """

    uid: str
    path: Path
    dataset: str
    locking: bool | None
    frame_shape: tuple[int, int] | None = None
    roots: tuple[Path, ...] = ()


def is_ours(start: Mapping[str, Any]) -> bool:
    """Tell whether a run carries a scan plan, or is a result of ours."""
    return START_KEY in start or start.get("analysis") is not None or start.get("raw_uid") is not None


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
        If shape, type, unit, energy, distance or a key disagrees with the scan plan.
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
    _check_types(keys, wanted, stream)
    shape = tuple(int(n) for n in keys[detector.image_key]["shape"])
    frames, frame_shape = (1, shape) if len(shape) == 2 else (shape[0], shape[1:])
    if len(frame_shape) != 2 or frame_shape != tuple(detector.shape) or frames != plan.frames_per_point:
        expected = (plan.frames_per_point, *detector.shape)
        raise MetadataError(f"{detector.image_key} in stream {stream!r} has shape {shape}; the plan says {expected}")
    if stream == plan.frames_stream:
        _check_units(keys, plan)
    _check_configuration(doc, plan)
    return StreamInfo(doc["uid"], stream, stream == plan.dark_stream, frames, (frame_shape[0], frame_shape[1]))


def _check_types(keys: Mapping[str, Any], wanted: Sequence[str], stream: str) -> None:
    """Refuse a stream whose frames are no external array of numbers, or whose other keys are no numbers."""
    image_key, index_key, *axis_keys = wanted
    key = keys[image_key]
    described = key.get("dtype_numpy")
    if key["dtype"] != "array" or (described is not None and not _is_numbers(described)):
        found = described if key["dtype"] == "array" else key["dtype"]
        raise MetadataError(f"{image_key} in stream {stream!r} has dtype {found!r}; expected an array of numbers")
    if not str(key.get("external", "")).startswith("STREAM:"):
        raise MetadataError(f"{image_key} in stream {stream!r} is external {key.get('external')!r}; expected 'STREAM:'")
    for name, kinds in ((index_key, ("integer",)), *((axis, ("number", "integer")) for axis in axis_keys)):
        if keys[name]["dtype"] not in kinds or keys[name]["shape"]:
            found = f"dtype {keys[name]['dtype']!r} and shape {tuple(keys[name]['shape'])}"
            raise MetadataError(f"{name} in stream {stream!r} has {found}; expected one {kinds[0]}")


def _is_numbers(dtype_numpy: Any) -> bool:
    try:
        return np.dtype(dtype_numpy).kind in "uif"
    except TypeError:
        return False


def _check_units(keys: Mapping[str, Any], plan: ScanPlan) -> None:
    for axis in plan.axes.values():
        units = keys[axis.key].get("units")
        if units and units != axis.units:
            raise MetadataError(f"{axis.key} has units {units!r} in the descriptor; the scan plan says {axis.units!r}")


def _check_configuration(doc: Mapping[str, Any], plan: ScanPlan) -> None:
    """Refuse a descriptor whose energy or distance is not that of the plan."""
    assert plan.detector is not None
    name = plan.detector.name
    configuration = doc.get("configuration", {}).get(name, {})
    for suffix, planned, unit in (("energy", plan.energy_ev, "eV"), ("distance", plan.distance_m, "m")):
        key = f"{name}_{suffix}"
        value = configuration.get("data", {}).get(key)
        units = configuration.get("data_keys", {}).get(key, {}).get("units")
        if value is None:
            continue
        if units and units != unit:
            raise MetadataError(f"{key} has units {units!r} in the descriptor; expected {unit!r}")
        if not np.isclose(float(value), planned, rtol=1e-4):
            raise MetadataError(f"{key} is {value} in the descriptor; the scan plan says {planned}")


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


def read_source(doc: Mapping[str, Any], plan: ScanPlan, roots: Sequence[Path] = ()) -> FrameSource | None:
    """Return where a ``stream_resource`` says that our frames lie; None for other data.

    Parameters
    ----------
    doc : mapping
    plan : ScanPlan
    roots : sequence of Path, optional
        Directories that may hold the frames; any may if there are none. The path is judged by its letters:
        whoever opens the file must see that no link leads out.

    Raises
    ------
    MetadataError
        If it is not an HDF5 file of such frames on a file system of this machine, below one of `roots`.
    """
    assert plan.detector is not None
    if doc["data_key"] != plan.detector.image_key:
        return None
    what, uri = f"frames of {doc['data_key']!r}", urlparse(doc["uri"])
    if uri.scheme != "file" or doc["mimetype"] != "application/x-hdf5":
        raise MetadataError(f"{what} are {doc['mimetype']} at {doc['uri']}; expected application/x-hdf5 at file://")
    if uri.hostname not in (None, "localhost", "127.0.0.1", socket.gethostname()):
        raise MetadataError(f"{what} lie at {doc['uri']}; expected a file of this machine, file://localhost/...")
    path = Path(os.path.normpath(unquote(uri.path)))
    refuse_outside(path, roots)
    parameters = doc["parameters"]
    chunk, shape = parameters.get("chunk_shape"), plan.detector.shape
    if chunk is not None and not (
        len(chunk) >= 2 and min(chunk) > 0 and chunk[-2] <= shape[0] and chunk[-1] <= shape[1]
    ):
        raise MetadataError(f"{what} have chunk_shape {tuple(chunk)}; the scan plan says frames of {shape}")
    return FrameSource(doc["uid"], path, parameters["dataset"], parameters.get("locking"), shape, tuple(roots))


def refuse_outside(path: Path, roots: Sequence[Path]) -> None:
    """Raise MetadataError unless `path` lies below one of `roots`, or there are none."""
    if roots and not (path.is_absolute() and any(path.is_relative_to(root) for root in roots)):
        raise MetadataError(
            f"frames lie in {path}; expected a file below {' or '.join(map(str, roots))}, or another directory named "
            "in the setting frame_roots or by open_catalog(frames=[...])"
        )


def read_events_available(doc: Mapping[str, Any]) -> tuple[str, str, int]:
    """Return (stream resource uid, descriptor uid, number of events stored so far) of a ``stream_datum``.

    Indices count events from 0 in each stream's own file.
    """
    return doc["stream_resource"], doc["descriptor"], int(doc["indices"]["stop"])
