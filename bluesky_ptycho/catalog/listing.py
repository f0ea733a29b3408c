"""Which runs there are."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from ..scan_plan import START_KEY
from ..summary import resolution_text
from ..terminal import printable
from .changed import START_KEY as CHANGED_KEY
from .changed import changes_text
from .newest import frames_used, holds_image
from .search import Search, results_of
from .tree import plain


@dataclass(frozen=True)
class RunRow:
    """A run in a list.

    Parameters
    ----------
    uid : str
    scan_id : int or None
    sample : str
    time : float
        Start, seconds since 1970.
    frames : int
        Scan points measured; for a reconstruction those it used. 0 as long as the run is open.
    status : str
        "success", "abort" or "fail"; "open" without a stop document.
    resolution_m : float
        Half pitch by FRC in m; NaN for a scan or where unknown.
    limit_m : float
        Half pitch that the pixels allow in m; NaN for a scan or where unknown.
    residual : float
        NaN for a scan or where unknown.
    has_image : bool
        Of a reconstruction.
    changes : str
        Of a reconstruction, in which settings it differs from the first of its scan.
    reconstructions : tuple of RunRow
        Of a scan, newest first.
    """

    uid: str
    scan_id: int | None
    sample: str
    time: float
    frames: int
    status: str
    resolution_m: float = math.nan
    limit_m: float = math.nan
    residual: float = math.nan
    has_image: bool = False
    changes: str = ""
    reconstructions: tuple[RunRow, ...] = ()


def list_runs(catalog: Any, limit: int | None = None, search: Search | None = None) -> list[RunRow]:
    """Return the scans with their reconstructions, newest first.

    Parameters
    ----------
    catalog : Catalog
    limit : int, optional
        At most so many scans; no others are loaded, nor are their reconstructions.
    search : Search, optional
        What the scans must be.
    """
    most = None if limit is None else min(limit, sys.maxsize)
    scans = [_documents(run) for run in islice((search or Search()).scans(catalog), most)]
    of_scan: dict[str, list[RunRow]] = defaultdict(list)
    for run in results_of(catalog, [start["uid"] for start, _ in scans]):
        row = _result_row(run)
        of_scan[dict(run.metadata["start"]).get("raw_uid", "")].insert(0, row)
    rows = []
    for start, stop in scans:
        stream = start.get(START_KEY, {}).get("streams", {}).get("frames", "primary")
        frames = int((stop.get("num_events") or {}).get(stream, 0))
        results = tuple(of_scan.get(start["uid"], ()))
        rows.append(RunRow(**_common(start, stop), frames=frames, reconstructions=results))
    return rows


def list_strangers(catalog: Any) -> list[RunRow]:
    """Return the reconstructions of scans that are in another catalog or in none, newest first."""
    if catalog.processed is None:
        return []
    elsewhere = _distinct(catalog.processed, "start.raw_uid") - _distinct(catalog.raw, "start.uid")
    rows = [_result_row(run) for run in results_of(catalog, sorted(elsewhere))]  # which come in pages of scans
    return sorted(rows, key=lambda row: row.time, reverse=True)


def _distinct(container: Any, key: str) -> set[str]:
    """Return the values that runs have of a key, which the server tells without sending the runs."""
    return {str(found["value"]) for found in plain(container).distinct(key)["metadata"][key]}


def _result_row(run: Any) -> RunRow:
    from ..callbacks.results import SUMMARY_KEY

    start, stop = _documents(run)
    figures = stop.get(SUMMARY_KEY, {})
    return RunRow(
        **_common(start, stop),
        frames=frames_used(stop) or 0,
        resolution_m=_number(figures.get("frc_resolution_m")),
        limit_m=_number(figures.get("frc_limit_m")),
        residual=_number(figures.get("residual")),
        has_image=holds_image(run),
        changes=changes_text(start.get(CHANGED_KEY) or {}),
    )


def format_runs(rows: Iterable[RunRow]) -> str:
    """Return `rows` as a table for the terminal."""
    lines = [("scan", "started", "sample", "frames", "resolution", "status", "uid", "")]
    for row in rows:
        scan = "-" if row.scan_id is None else str(row.scan_id)
        when = datetime.fromtimestamp(row.time).strftime("%Y-%m-%d %H:%M")
        lines.append((scan, when, printable(row.sample, 30), _frames(row), _sharp(row), row.status, row.uid[:8], ""))
        for result in row.reconstructions:
            when = datetime.fromtimestamp(result.time).strftime("%Y-%m-%d %H:%M")
            sharp = _sharp(result) or "-"
            changes = printable(result.changes, 80)
            name = "  reconstruction"
            lines.append(("", when, name, _frames(result), sharp, result.status, result.uid[:8], changes))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _sharp(row: RunRow) -> str:
    return resolution_text(row.resolution_m, row.limit_m)


def _frames(row: RunRow) -> str:
    """Return the number of frames, which the stop document tells."""
    return "-" if row.status == "open" else str(row.frames)


def _documents(run: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return start and stop of a stored run; the stop is empty while it is open."""
    return dict(run.metadata["start"]), dict(run.metadata.get("stop") or {})


def _common(start: Mapping[str, Any], stop: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uid": start["uid"],
        "scan_id": start.get("scan_id"),
        "sample": str(start.get("sample_name", "")),
        "time": float(start["time"]),
        "status": str(stop.get("exit_status", "open")),
    }


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
