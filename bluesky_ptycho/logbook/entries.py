"""What the page says of each scan, from the catalog."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..catalog import RunRow, Search, list_runs
from ..catalog.notes import noted_report
from ..figure.thumbnail import phase_thumbnail
from ..frames import Snapshot
from ..stored_scan import StoredScan

logger = logging.getLogger("bluesky_ptycho")


@dataclass(frozen=True)
class Entry:
    """A scan and the newest of its reconstructions that has an image, or the newest.

    A report is that of the newest reconstruction that has one, which may be an older one.

    Parameters
    ----------
    scan : RunRow
    result : RunRow or None
    thumbnail : bytes
        PNG of the object's phase; empty without one.
    fluence_per_um2 : float
        Detected photons for each µm² of the scanned field; NaN where unknown.
    report : str
        Path or address; empty without one.
    """

    scan: RunRow
    result: RunRow | None = None
    thumbnail: bytes = b""
    fluence_per_um2: float = math.nan
    report: str = ""


def entries(catalog: Any, search: Search | None = None, limit: int | None = None) -> Iterator[Entry]:
    """Yield what there is to say of the scans of a catalog, newest first.

    Parameters
    ----------
    catalog : Catalog
    search : Search, optional
        What the scans must be.
    limit : int, optional
        At most so many.
    """
    for row in list_runs(catalog, limit, search):
        result = next((r for r in row.reconstructions if r.has_image), next(iter(row.reconstructions), None))
        yield Entry(row) if result is None else _with_result(row, result, catalog)


def _newest_report(row: RunRow, catalog: Any) -> str:
    return next(filter(None, (noted_report(catalog[each.uid].metadata) for each in row.reconstructions)), "")


def _with_result(row: RunRow, result: RunRow, catalog: Any) -> Entry:
    stored = catalog[result.uid]
    report = _newest_report(row, catalog)
    if not result.has_image:
        return Entry(row, result, report=report)
    try:
        snapshot = StoredScan(None, stored, catalog.results_dir).snapshot()
    except Exception as error:  # a file that is gone costs its row the picture, not the page
        logger.warning("logbook: result %s cannot be read: %s", result.uid[:8], error)
        return Entry(row, result, report=report)
    return Entry(row, result, phase_thumbnail(snapshot), fluence_per_um2(snapshot), report)


def fluence_per_um2(snapshot: Snapshot) -> float:
    """Return the photons that the detector would have seen without sample, for each µm² of the scanned field.

    The probe's modes hold the photons of a frame; the field reaches half a step beyond the outermost points.
    """
    n = len(snapshot.positions_m)
    sides_um = 1e6 * np.ptp(snapshot.positions_m, axis=0) if n else np.zeros(2)
    if n < 2 or not (sides_um > 0).all():
        return math.nan
    step_um = math.sqrt(float(np.prod(sides_um)) / n)
    photons = float(np.sum(np.abs(snapshot.probe.astype(np.complex128)) ** 2))
    return n * photons / float(np.prod(sides_um + step_um))
