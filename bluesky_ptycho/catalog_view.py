"""The newest scan of a catalog as a live picture shows it, also while another process measures and reconstructs it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .callbacks.checkpoints import DIRECTORY
from .callbacks.frame_reader import FrameReader
from .callbacks.frame_verdicts import KINDS
from .callbacks.results import SUMMARY_KEY
from .callbacks.updates import Progress, Update
from .errors import MetadataError, PtychoError
from .frames import Snapshot
from .geometry import Canvas, Geometry
from .io.checkpoint import Checkpoint, read_checkpoint
from .preprocess import output_geometry
from .raw_scan import read_intake
from .scan_plan import ScanPlan
from .stored_scan import StoredScan, find_scan

logger = logging.getLogger("bluesky_ptycho")


class CatalogUpdates:
    """Tells what is new about a scan in a catalog, as a live run would tell its sinks.

    While a reconstruction runs, its picture is that of its last checkpoint and its counters those of the result run,
    each some seconds old; then the stored result, with the last raw frame that was used. Clean frames are not stored.
    One reconstruction is told of at a time: while a scan that has an image is reconstructed again, that result is,
    until the new one has an image of its own.

    Parameters
    ----------
    catalog : Catalog
    uid : int or str
        As for ``catalog[uid]``; -1 follows the last scan, whichever that is.
    """

    def __init__(self, catalog: Any, uid: int | str = -1) -> None:
        self._catalog, self._uid = catalog, uid
        self._seen: tuple[Any, ...] = ()

    def newest(self) -> Update | None:
        """Return the state of the scan if it has changed since the last call.

        Raises
        ------
        NotFoundError
            If there is no such scan.
        """
        scan = find_scan(self._uid, self._catalog)
        start = scan.raw.metadata["start"]
        plan = ScanPlan.from_start(start)
        if plan is None:
            return None
        scan, checkpoint = self._under_way(scan)
        stop = None if scan.result is None else scan.result.metadata.get("stop")
        rows = _stored_rows(scan)
        saved_at = None if checkpoint is None else checkpoint.saved_at
        result_uid = None if scan.result is None else scan.result.metadata["start"]["uid"]
        seen = (start["uid"], result_uid, bool(stop), rows, saved_at, scan.note)
        if seen == self._seen:
            return None
        update = replace(_update(scan, plan, dict(stop or {}), checkpoint), result_uid=result_uid)
        self._seen = seen  # what cannot be read now is looked at again
        return replace(update, **self._last_frame(update)) if update.kind == "final" else update

    def _under_way(self, scan: StoredScan) -> tuple[StoredScan, Checkpoint | None]:
        """Return the scan with the reconstruction to be shown, and its checkpoint while it is under way."""
        raw_uid = scan.raw.metadata["start"]["uid"]
        if scan.result is None or not scan.result.metadata.get("stop"):
            return scan, self._checkpoint(raw_uid)
        newest = next(iter(scan.later), None)
        if newest is None or newest.metadata.get("stop"):
            return scan, None
        checkpoint = self._checkpoint(raw_uid)
        if checkpoint is None or checkpoint.saved_at < newest.metadata["start"]["time"]:  # what an earlier one has left
            return scan, None
        return replace(scan, result=newest, later=()), checkpoint

    def _last_frame(self, update: Update) -> dict[str, Any]:
        """Return the last frame that was used as it was measured; nothing where it cannot be read."""
        if update.snapshot is None:
            return {}
        last = int(update.snapshot.seq_nums.max())
        try:
            intake = read_intake(update.start["uid"], self._catalog)
            (row,) = (point.row for point in intake.take_points(sys.maxsize) if point.seq_num == last)
            with FrameReader(intake.source(dark=False), patience_s=0.0) as reader:
                frames = reader.read(np.array([row], dtype=np.intp), update.plan.frames_per_point)
        except Exception as error:  # the result is worth being shown without
            logger.debug("frame %d of %s cannot be read: %s", last, update.start["uid"], error)
            return {}
        return {"newest_point": last, "newest_raw": frames[0]}

    def _checkpoint(self, raw_uid: str) -> Checkpoint | None:
        try:
            return read_checkpoint(Path(self._catalog.results_dir) / DIRECTORY / f"{raw_uid}.h5")
        except (PtychoError, OSError) as error:  # not yet, not any more, or of a newer version
            logger.debug("no checkpoint of %s: %s", raw_uid, error)
            return None


def _update(scan: StoredScan, plan: ScanPlan, stop: Mapping[str, Any], checkpoint: Checkpoint | None) -> Update:
    start, figures = scan.raw.metadata["start"], stop.get(SUMMARY_KEY, {})
    result_start = {} if scan.result is None else scan.result.metadata["start"]
    stored = result_start.get("geometry")
    geometry = output_geometry(plan) if stored is None else Geometry.from_dict(stored)
    snapshot, stxm = None, None
    if stop and scan.result is not None and scan.has_image:
        snapshot = scan.snapshot()
        stream = scan.result["primary"]
        stxm = np.asarray(stream["stxm"][0]) if "stxm" in stream else None
    elif checkpoint is not None:
        snapshot = snapshot_of(checkpoint, geometry)
    return Update(
        kind="final" if stop else "snapshot" if snapshot is not None else "progress",
        start=start,
        plan=plan,
        geometry=geometry,
        settings=result_start.get("settings", {}),
        progress=_progress(scan, plan, snapshot),
        snapshot=snapshot,
        stxm=stxm,
        exit_status=str(stop.get("exit_status", "")),
        reason=str(stop.get("reason", "")),
        dark_corrected=bool(figures.get("dark_corrected", True)),
        dark_uid=figures.get("dark_uid") if stop else start["uid"] if plan.n_darks else plan.dark_uid,
        messages=(*map(str, figures.get("messages", ())), *([scan.note] if stop and scan.note else ())),
    )


def _progress(scan: StoredScan, plan: ScanPlan, snapshot: Snapshot | None) -> Progress:
    """Return the last counters that were stored; of a scan whose reconstruction has none, what the snapshot tells."""
    known = 0 if snapshot is None else len(snapshot.seq_nums)
    passes = 0 if snapshot is None else snapshot.iteration
    least = Progress(plan.n_points, taken=known, used=known, iteration=passes, phase=_phase(scan))
    if not _stored_rows(scan):
        return least
    assert scan.result is not None
    row = scan.result["progress"].read()
    last = {name: row[name].values[-1].item() for name in row.data_vars if row[name].ndim == 1 and row[name].size}
    if not last:
        return least
    names = {"planned": "frames_planned", "taken": "frames_taken", "used": "frames_used", "rejected": "frames_rejected"}
    values = {f.name: last[names.get(f.name, f.name)] for f in fields(Progress) if names.get(f.name, f.name) in last}
    kinds = {kind: int(last[f"rejected_{kind}"]) for kind in KINDS if last.get(f"rejected_{kind}")}
    return Progress(**{**values, "kinds": kinds, "phase": _phase(scan)})


def _stored_rows(scan: StoredScan) -> int:
    """Return how many counters are stored; none are while the first wait to be written together."""
    if scan.result is None or "progress" not in scan.result:
        return 0
    stream = scan.result["progress"]
    return len(stream["time"]) if "time" in stream else 0


def _phase(scan: StoredScan) -> Any:
    if scan.raw.metadata.get("stop") is None:
        return "live"
    return "finishing"


def snapshot_of(checkpoint: Checkpoint, geometry: Geometry) -> Snapshot:
    """Return what a checkpoint knows of object and probe.

    Raises
    ------
    MetadataError
        If the checkpoint lacks what every one has.
    """
    arrays = checkpoint.arrays
    try:
        rows, cols, y, x = arrays["canvas"].tolist()
        order = np.argsort(arrays["seq_nums"])
        return Snapshot(
            object=np.prod(arrays["object"].reshape(-1, int(rows), int(cols)), axis=0),
            probe=arrays["probe"],
            canvas=Canvas((int(rows), int(cols)), (y, x), geometry.object_pixel_m, geometry.shape),
            geometry=geometry,
            coverage=arrays["light"],
            seq_nums=arrays["seq_nums"][order],
            positions_m=arrays["positions_m"][order],
            residuals=arrays["residuals"],
            residual=float("nan"),
            iteration=len(arrays["residuals"]),
            frc=None,
            settings=dict(checkpoint.settings.get("solver", {})),
        )
    except (KeyError, ValueError) as lacking:
        raise MetadataError(f"checkpoint of {checkpoint.raw_uid} cannot be shown: {lacking}") from lacking
