"""Store a reconstruction as a run of its own, beside the scan it came from."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..paths import scan_label
from ..versions import software_versions
from .accounts import share_of_plan
from .document_keys import ANALYSIS
from .frame_verdicts import KINDS, count_kinds
from .result_file import GROUP, canvas_fields, chunk_shape, result_arrays, result_path, write_result_file
from .run_log import RunLog
from .updates import Progress, Update

if TYPE_CHECKING:
    from ..knobs import Change

LOG_KEY = "log"
"""Key of the result's start document that holds the path of the run's log file."""

SUMMARY_KEY = "ptychography"
"""Key of the result's stop document that holds its few figures, so that a list of runs needs no tables."""

CARRIED = ("sample_name", "scan_id", "data_session", "proposal", "cycle", "tiled_access_tags")
"""Keys of the raw run's start document that the result run repeats, so that it is found alike."""

_SOURCE = "bluesky_ptycho"

_UNITS = {
    "positions": "m",
    "position_shifts": "m",
    "background": "photon",
    "drift_y_m": "m",
    "drift_x_m": "m",
    "frc_frequency_per_m": "1/m",
    "frc_resolution_m": "m",
    "frc_limit_m": "m",
    "frc_one_seventh_m": "m",
    "lag_s": "s",
    "elapsed_s": "s",
}

_DIMS = {
    "object": ["y", "x"],
    "coverage": ["y", "x"],
    "stxm": ["y", "x"],
    "probe": ["mode", "probe_y", "probe_x"],
    "positions": ["point", "axis"],
    "seq_nums": ["point"],
    "residual_history": ["pass"],
    "frc_frequency_per_m": ["ring"],
    "frc_correlation": ["ring"],
    "frc_half_bit": ["ring"],
    "uncertainty": ["y", "x"],
    "position_shifts": ["point", "axis"],
    "gain": ["point"],
    "background": ["pattern_y", "pattern_x"],
    "probe_variation": ["variation", "probe_y", "probe_x"],
    "slices": ["slice", "y", "x"],
}


class ResultRun:
    """A sink that composes the result run of one reconstruction after the other.

    The start document carries ``analysis="ptychography"``, ``raw_uid`` (also as
    ``original_run_uid``), ``settings`` and ``versions``. Stream ``progress`` has the counters as
    they went. Stream ``settings``, where any were changed on the way, has an event for each version: its number from 1,
    what was asked for and all settings (JSON both), frames used and iteration when it took effect, at the event's time;
    version 0 are the settings of the start document. Stream ``primary`` has one event: figures as scalars, and the
    arrays of :func:`~bluesky_ptycho.callbacks.result_file.result_arrays` as external HDF5 data, each with
    a leading axis of length 1. Without a snapshot there is no ``primary``. The stop
    document repeats exit status and reason, with the figures under ``ptychography``.

    Parameters
    ----------
    writer : callable
        Takes ``(name, document)``; ``Catalog.result_writer()`` gives one.
    directory : path
        Where the HDF5 file goes; the catalog must be able to read it.
    log : RunLog, optional
        Its file lies beside, and the start document names it under ``log``.

    Attributes
    ----------
    result_uid : str or None
        Uid of the newest result run.
    path : Path or None
        HDF5 file of the newest result that has one.
    """

    name = "result run"

    def __init__(
        self, writer: Callable[[str, Mapping[str, Any]], None], directory: str | Path, log: RunLog | None = None
    ) -> None:
        self._writer = writer
        self._log = log
        self._directory = Path(directory).expanduser().resolve()
        self._run: Any = None
        self._progress: Any = None
        self._settings: Any = None
        self._version = 0
        self._last: Progress | None = None
        self.result_uid: str | None = None
        self.path: Path | None = None

    def __call__(self, update: Update) -> None:
        """Take an update; the first one opens the run, "final" closes it.

        Raises
        ------
        OSError
            If the HDF5 file cannot be written; the run is closed as failed first.
        """
        if self._run is None:
            self._open(update)
        self._add_progress(update.progress)
        self._add_changes(update.changes)
        if update.kind == "final":
            self._close(update)

    def _open(self, update: Update) -> None:
        from event_model import compose_run

        uid, metadata = str(uuid.uuid4()), start_metadata(update)
        log = self._log and self._log.open(self._directory / f"{scan_label(metadata)}_{uid}.log")
        self._run = compose_run(uid=uid, metadata={**metadata, **({LOG_KEY: str(log)} if log else {})})
        self._settings, self._version = None, 0
        self.result_uid, self.path, self._last = self._run.start_doc["uid"], None, None
        self._writer("start", self._run.start_doc)
        self._progress = self._run.compose_descriptor(name="progress", data_keys=_scalar_keys(_counters(Progress(0))))
        self._writer("descriptor", self._progress.descriptor_doc)

    def _add_progress(self, progress: Progress) -> None:
        if progress != self._last:
            self._last = progress
            self._event(self._progress, _counters(progress))

    def _add_changes(self, changes: Sequence[Change]) -> None:
        for change in changes[self._version :]:
            if self._settings is None:
                keys = _scalar_keys({"version": 0, "frames_used": 0, "iteration": 0})
                texts = {name: {"source": _SOURCE, "dtype": "string", "shape": []} for name in ("changed", "settings")}
                self._settings = self._run.compose_descriptor(name="settings", data_keys={**keys, **texts})
                self._writer("descriptor", self._settings.descriptor_doc)
            data = {name: getattr(change, name) for name in ("version", "frames_used", "iteration")}
            data |= {name: json.dumps(getattr(change, name)) for name in ("changed", "settings")}
            self._event(self._settings, data, change.time)
            self._version = change.version

    def _event(self, descriptor: Any, data: dict[str, Any], at: float | None = None) -> None:
        now = time.time() if at is None else at
        self._writer("event", descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, now), time=now))

    def _close(self, update: Update) -> None:
        failure: OSError | None = None
        try:
            self._add_result(update)
        except OSError as error:
            failure = error
            reason = f"the result could not be written: {error}"
            update = replace(update, snapshot=None, exit_status="fail", reason=reason)
        self._stop(update)
        if failure is not None:
            raise failure

    def _stop(self, update: Update) -> None:
        from event_model import DocumentNames, schema_validators

        status = update.exit_status if update.exit_status in ("success", "abort", "fail") else "fail"
        stop = dict(self._run.compose_stop(exit_status=status, reason=update.reason))
        stop[SUMMARY_KEY] = summary_figures(update)
        schema_validators[DocumentNames.stop].validate(stop)
        self._run = self._progress = self._settings = None
        self._writer("stop", stop)

    def _add_result(self, update: Update) -> None:
        arrays = result_arrays(update)
        if not arrays:
            return
        start = self._run.start_doc
        path = result_path(self._directory, start)
        write_result_file(path, arrays, update)
        self.path = path
        figures = _figures(update)
        external = {name: _array_key(name, array.shape, array.dtype.str) for name, array in arrays.items()}
        primary = self._run.compose_descriptor(
            name="primary",
            data_keys={**_scalar_keys(figures), **external},
            configuration={"canvas": _configuration(update)},
            object_keys={_SOURCE: [*figures, *external]},
        )
        self._writer("descriptor", primary.descriptor_doc)
        for name, array in arrays.items():
            resource = self._run.compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{quote(str(path))}",
                data_key=name,
                parameters={"dataset": f"{GROUP}/{name}", "chunk_shape": list(chunk_shape(array.shape)), "swmr": False},
            )
            self._writer("stream_resource", resource.stream_resource_doc)
            datum = resource.compose_stream_datum(
                indices={"start": 0, "stop": 1},
                seq_nums={"start": 1, "stop": 2},
                descriptor=primary.descriptor_doc,
            )
            self._writer("stream_datum", datum)
        self._event(primary, figures)


def start_metadata(update: Update) -> dict[str, Any]:
    """Return what a result run's start document says beyond uid and time."""
    start = update.start
    return {
        "analysis": ANALYSIS,
        "purpose": "processed",
        "raw_uid": start["uid"],
        "original_run_uid": start["uid"],
        "settings": dict(update.settings),
        "geometry": update.geometry.to_dict(),
        "versions": software_versions(),
        **{key: start[key] for key in CARRIED if start.get(key) is not None},
    }


def _counters(progress: Progress) -> dict[str, int | float]:
    return {
        "frames_planned": int(progress.planned),
        "frames_taken": int(progress.taken),
        "frames_used": int(progress.used),
        "frames_rejected": int(progress.rejected),
        **{f"rejected_{kind}": int(progress.kinds.get(kind, 0)) for kind in KINDS},
        "lag": int(progress.lag),
        "lag_s": float(progress.lag_s),
        "iteration": int(progress.iteration),
        "residual": float(progress.residual),
        "dark_drift": float(progress.dark_drift),
        "settings_version": int(progress.settings_version),
        "elapsed_s": float(progress.elapsed_s),
    }


def _figures(update: Update) -> dict[str, int | float]:
    """Return the scalars of the final result; NaN where one is not known."""
    snapshot = update.snapshot
    assert snapshot is not None
    frc = snapshot.frc or {}
    drift_y_m, drift_x_m = (math.nan, math.nan) if snapshot.drift_m is None else map(float, snapshot.drift_m)
    return {
        "iteration": int(snapshot.iteration),
        "residual": float(snapshot.residual),
        "converged": int(snapshot.converged),
        "drift_y_m": drift_y_m,
        "drift_x_m": drift_x_m,
        "frc_resolution_m": float(frc.get("half_bit_m", math.nan)),
        "frc_one_seventh_m": float(frc.get("one_seventh_m", math.nan)),
        "frc_limit_m": snapshot.frc_limit_m or math.nan,
        "frames_planned": int(update.progress.planned),
        "frames_taken": int(update.progress.taken),
        "frames_used": len(snapshot.seq_nums),
        "frames_rejected": len(update.rejected),
        "frames_missing": len(update.missing),
        "coverage_of_plan": share_of_plan(snapshot, update.plan),
        "dark_corrected": int(update.dark_corrected),
        "settings_version": int(update.progress.settings_version),
    }


def summary_figures(update: Update) -> dict[str, Any]:
    """Return the few figures of a final update, as JSON can hold them: None where one is not known."""
    if update.snapshot is None:
        figures: dict[str, Any] = {"frames_taken": int(update.progress.taken), "frames_used": 0}
    else:
        # Metadata is JSON, which has no NaN.
        figures = {k: None if math.isnan(v) else v for k, v in _figures(update).items()}
    rejected = {str(point): reason for point, reason in update.rejected.items()}
    return {
        **figures,
        "dark_uid": update.dark_uid,
        "probe_uid": update.probe_uid,
        "rejected_kinds": count_kinds(update.rejected),
        "rejected": rejected,
        "missing": [int(point) for point in update.missing],
        "messages": list(update.messages),
    }


def _configuration(update: Update) -> dict[str, Any]:
    fields, now = canvas_fields(update), time.time()
    keys = {name: {"source": _SOURCE, "dtype": "array", "shape": [2], "units": "m"} for name in fields}
    return {"data": fields, "timestamps": dict.fromkeys(fields, now), "data_keys": keys}


def _scalar_keys(values: Mapping[str, int | float]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, value in values.items():
        is_int = isinstance(value, int)
        keys[name] = {
            "source": _SOURCE,
            "dtype": "integer" if is_int else "number",
            "dtype_numpy": "<i8" if is_int else "<f8",
            "shape": [],
            **_units(name),
        }
    return keys


def _array_key(name: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    return {
        "source": _SOURCE,
        "dtype": "array",
        "dtype_numpy": dtype,
        "shape": list(shape),
        **({} if shape == (1,) else {"dims": _DIMS[name]}),
        "external": "STREAM:",
        **_units(name),
    }


def _units(name: str) -> dict[str, str]:
    return {"units": _UNITS[name]} if name in _UNITS else {}
