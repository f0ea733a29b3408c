"""What a report tells of a scan and its reconstruction, read from the catalog at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from ..callbacks.results import LOG_KEY, SUMMARY_KEY
from ..catalog import Catalog, frames_uri, open_catalog
from ..catalog.embedded import directory_of
from ..errors import NotFoundError
from ..frames import Snapshot
from ..knobs import Change
from ..replay import recorded_changes
from ..stored_scan import StoredScan, find_scan
from ..terminal import printable


@dataclass(frozen=True)
class ReportedScan:
    """A scan with one of its reconstructions.

    Parameters
    ----------
    start, stop : mapping
        Documents of the scan; `stop` is empty while it runs.
    result_start, result_stop : mapping
        Documents of the reconstruction.
    snapshot : Snapshot or None
        None where no frame was used.
    stxm : ndarray (rows, cols) float32 or None
        Transmission map on the object's grid.
    changes : tuple of Change
        Versions of the settings after the first: what was changed while it ran.
    catalog : str
        Address of the catalog, of one on disk the name of its directory: where that lies tells of a machine.
    frames_file, log_file : str
        Files of the raw frames and of the reconstruction's log, seen from the catalog's directory, or else their names;
        empty where they are not known.
    """

    start: Mapping[str, Any]
    stop: Mapping[str, Any]
    result_start: Mapping[str, Any]
    result_stop: Mapping[str, Any]
    snapshot: Snapshot | None
    stxm: NDArray[np.float32] | None
    changes: tuple[Change, ...]
    catalog: str
    frames_file: str
    log_file: str

    @property
    def summary(self) -> Mapping[str, Any]:
        """The figures that the reconstruction's stop document carries."""
        figures: Mapping[str, Any] = self.result_stop.get(SUMMARY_KEY) or {}
        return figures

    @property
    def title(self) -> str:
        """Number and sample of the scan, in one harmless line of plain text."""
        return scan_title(self.start)


def scan_title(start: Mapping[str, Any]) -> str:
    """Return number and sample of a scan's start document in one line of plain text."""
    return printable(f"Scan {start.get('scan_id', '')} {start.get('sample_name', '')}")


def read_scan(uid: int | str = -1, catalog: Catalog | str | Path | None = None) -> ReportedScan:
    """Return what a report tells.

    Parameters
    ----------
    uid : int or str
        Of the scan, whose newest reconstruction is taken, or of a reconstruction; else as for ``catalog[uid]``.
    catalog : Catalog, path or str, optional
        As :func:`~bluesky_ptycho.catalog.open_catalog` takes it.

    Raises
    ------
    NotFoundError
        If there is no such run, or no reconstruction of it.
    """
    opened = nullcontext(catalog) if isinstance(catalog, Catalog) else open_catalog(catalog, create=False)
    with opened as found:
        stored, result = find_reconstruction(uid, found)
        directory = directory_of(found.raw)
        try:
            snapshot, stxm = stored.snapshot(), stored.transmission
        except NotFoundError:
            snapshot, stxm = None, None
        return ReportedScan(
            start=dict(stored.raw.metadata["start"]),
            stop=dict(stored.raw.metadata.get("stop") or {}),
            result_start=dict(result.metadata["start"]),
            result_stop=dict(result.metadata.get("stop") or {}),
            snapshot=snapshot,
            stxm=stxm,
            changes=recorded_changes(result),
            catalog=found.name if directory is None else directory.name,
            frames_file=_frames_file(stored.raw, directory),
            log_file=_seen_from(directory, result.metadata["start"].get(LOG_KEY) or ""),
        )


def address_of(catalog: Catalog) -> str:
    """Return what another process opens a catalog by."""
    return str(directory_of(catalog.raw) or catalog.name)


def find_reconstruction(uid: int | str, catalog: Catalog) -> tuple[StoredScan, Any]:
    """Return a scan with a reconstruction, and the run of that.

    Raises
    ------
    NotFoundError
        If there is no such run, or no reconstruction of it.
    """
    stored = find_scan(uid, catalog)
    if stored.result is None:
        raise NotFoundError(f"scan {stored.raw.metadata['start']['uid']} has no reconstruction")
    return stored, stored.result


def _frames_file(raw: Any, directory: Path | None) -> str:
    try:
        return _seen_from(directory, unquote(urlsplit(frames_uri(raw).uri).path))
    except Exception:  # a scan without frames, or of another make, has none to name
        return ""


def _seen_from(directory: Path | None, file: str) -> str:
    """Return the path of a file below a directory, of another its name."""
    path = Path(file)
    if directory is not None and path.is_relative_to(directory):
        return str(path.relative_to(directory))
    return path.name
