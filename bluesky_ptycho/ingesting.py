"""Make a Bluesky run of a file that another program wrote: what ``bluesky-ptycho ingest`` does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from event_model import compose_run
from numpy.typing import NDArray

from .catalog import Catalog
from .catalog.backup import KeptRunError
from .foreign import Foreign, open_foreign
from .given import as_path, check_name, check_switches
from .keywords import checks_arguments
from .scan_plan import START_KEY, ScanPlan
from .terminal import ProgressLine
from .versions import software_versions
from .whole_file import name_aside, require_room

DATASET = "/entry/data/data"
POINTS_AT_ONCE = 16
SOURCE = "bluesky_ptycho.ingest"
Document = tuple[str, dict[str, Any]]


@checks_arguments
def ingest(
    path: str | Path, catalog: Catalog | str | Path, *, sample_name: str | None = None, progress: bool = True
) -> str:
    """Store the frames of a file as a run, which is replayed, preprocessed and listed as any scan is.

    The frames are copied into the catalog, a few at a time; the run follows when they are there.

    Parameters
    ----------
    path : path
        CXI, NXcxi_ptycho (``.nxs``) or ``.ptyd``: patterns of the far field, or raw frames that
        :func:`bluesky_ptycho.convert` wrote. What it is is told by its content.
    catalog : Catalog, path or address
        A catalog on this machine; one that is not there is made.
    sample_name : str, optional
        By default the name of the file without its ending.
    progress : bool
        Show a progress bar.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    SettingsError
        If `path` is none, `progress` is no switch, or `sample_name` is empty.
    NotFoundError, MetadataError
        If the file cannot be used.
    PtychoError
        If the catalog has no place for frames, or does not take the run; it says where the documents are kept.
    OSError
        If the frames do not fit on the disk.
    """
    check_switches("ingest", progress=progress)
    path = as_path("path", path)
    if sample_name is not None:
        check_name("sample name", sample_name, "a name, or none given for that of the file")
    if not isinstance(catalog, Catalog):
        from .catalog import open_catalog

        with open_foreign(path):
            pass  # what cannot be used makes no catalog
        with open_catalog(catalog) as opened:
            return ingest(path, opened, sample_name=sample_name, progress=progress)
    with open_foreign(path) as foreign:
        metadata = {
            START_KEY: foreign.plan.to_start(),
            "plan_name": "ingest",
            "scan_id": catalog.last_scan_id() + 1,
            "sample_name": sample_name if sample_name is not None else path.stem,
            "ingested": {"file": path.name, "format": foreign.format, "versions": software_versions()},
        }
        bundle = compose_run(metadata=metadata)
        uid = str(bundle.start_doc["uid"])
        files = {
            stream: catalog.frames_dir / f"{metadata['scan_id']:05d}_{uid}_{stream}.h5"
            for stream in ("dark", "primary")
            if stream == "primary" or foreign.n_darks
        }
        try:
            for stream, file in files.items():
                _copy(foreign, stream, file, progress)
            writer = catalog.raw_writer(tell=True)
            for name, doc in _documents(bundle, foreign, files):
                writer(name, doc)
        except KeptRunError:
            raise  # the run is stored when the catalog takes it, and needs its frames then
        except BaseException:
            for file in files.values():
                file.unlink(missing_ok=True)
            raise
    return uid


def _copy(foreign: Foreign, stream: str, path: Path, progress: bool) -> None:
    """Copy the frames of a stream into a file of their own, which appears whole."""
    plan = foreign.plan
    n, read = (foreign.n_darks, foreign.read_darks) if stream == "dark" else (plan.n_points, foreign.read)
    assert plan.detector is not None
    shape, k = plan.detector.shape, plan.frames_per_point
    path.parent.mkdir(parents=True, exist_ok=True)
    require_room(path, n * k * int(np.prod(shape)) * foreign.dtype.itemsize)
    aside = name_aside(path)
    try:
        with (
            h5py.File(aside, "w", libver="latest") as file,
            ProgressLine(n, f"copying {stream}", "point", enabled=progress) as line,
        ):
            frames = file.create_dataset(DATASET, (n * k, *shape), foreign.dtype, chunks=(1, *shape))
            for first in range(0, n, POINTS_AT_ONCE):
                last = min(first + POINTS_AT_ONCE, n)
                frames[first * k : last * k] = read(first, last).reshape(-1, *shape)
                line.show(last, "")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _documents(bundle: Any, foreign: Foreign, files: dict[str, Path]) -> Iterator[Document]:
    """Yield the documents of the run, each validated by event-model; darks first, as they are measured."""
    plan = foreign.plan
    yield "start", bundle.start_doc
    for stream, path in files.items():
        n = foreign.n_darks if stream == "dark" else plan.n_points
        yield from _stream(bundle, plan, stream, n, path, foreign.dtype)
    yield "stop", bundle.compose_stop(exit_status="success", reason="")


def _stream(bundle: Any, plan: ScanPlan, stream: str, n: int, path: Path, dtype: np.dtype[Any]) -> Iterator[Document]:
    detector, k = plan.detector, plan.frames_per_point
    assert detector is not None
    measured = stream == "primary"
    keys = _data_keys(plan, dtype, measured)
    objects = {detector.name: [detector.image_key, detector.index_key]}
    objects |= {axis.key: [axis.key] for axis in plan.axes.values()} if measured else {}
    descriptor = bundle.compose_descriptor(
        name=stream,
        data_keys=keys,
        object_keys=objects,
        hints={axis.key: {"fields": [axis.key]} for axis in plan.axes.values()} if measured else {},
        configuration={detector.name: _configuration(plan)},
    )
    yield "descriptor", descriptor.descriptor_doc
    resource = bundle.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=path.resolve().as_uri().replace("file:///", "file://localhost/", 1),
        data_key=detector.image_key,
        parameters={
            "dataset": DATASET,
            "chunk_shape": [1, *detector.shape] if k == 1 else [1, k, *detector.shape],
            "swmr": False,
            "locking": None,
        },
    )
    yield "stream_resource", resource.stream_resource_doc
    yield (
        "stream_datum",
        resource.compose_stream_datum(
            indices={"start": 0, "stop": n},
            seq_nums={"start": 1, "stop": n + 1},
            descriptor=descriptor.descriptor_doc,
        ),
    )
    for i in range(n):
        yield "event", _event(descriptor.compose_event, plan, i, measured)


def _event(compose: Callable[..., Any], plan: ScanPlan, i: int, measured: bool) -> dict[str, Any]:
    assert plan.detector is not None and plan.positions_m is not None
    now = time.time()
    data: dict[str, Any] = {plan.detector.index_key: i * plan.frames_per_point}
    if measured:
        data |= {plan.axes[axis].key: float(v) for axis, v in zip("yx", plan.positions_m[i], strict=True)}
    event: dict[str, Any] = compose(data=data, timestamps=dict.fromkeys(data, now), seq_num=i + 1, time=now, filled={})
    return event


def _data_keys(plan: ScanPlan, dtype: np.dtype[Any], measured: bool) -> dict[str, Any]:
    detector = plan.detector
    assert detector is not None
    image = {
        "source": SOURCE,
        "dtype": "array",
        "dtype_numpy": dtype.str,
        "shape": [plan.frames_per_point, *detector.shape],
        "external": "STREAM:",
    }
    keys: dict[str, Any] = {
        detector.image_key: image,
        detector.index_key: {"source": SOURCE, "dtype": "integer", "dtype_numpy": "<i8", "shape": []},
    }
    for axis in plan.axes.values() if measured else ():
        keys[axis.key] = {"source": SOURCE, "dtype": "number", "dtype_numpy": "<f8", "shape": [], "units": axis.units}
    return keys


def _configuration(plan: ScanPlan) -> dict[str, Any]:
    assert plan.detector is not None
    name, now = plan.detector.name, time.time()
    data = {f"{name}_energy": plan.energy_ev, f"{name}_distance": plan.distance_m}
    units = dict(zip(data, ("eV", "m"), strict=True))
    keys: dict[str, NDArray[Any] | Any] = {
        key: {"source": SOURCE, "dtype": "number", "shape": [], "units": units[key]} for key in data
    }
    return {"data": data, "timestamps": dict.fromkeys(data, now), "data_keys": keys}
