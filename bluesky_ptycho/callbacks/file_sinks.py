"""Sinks that write files: a picture that grows with the scan, and the result as CXI."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..paths import sanitise, scan_label
from ..registry import sinks
from ..versions import software_versions
from .updates import Update

DIRECTORY = "ptycho_output"
"""Where files go unless told otherwise, below the directory in which the session works."""

SHARE = 0.2
"""Part of the time that drawing may take from the reconstruction, which waits meanwhile."""


def scan_directory(root: Path, start: Mapping[str, Any]) -> Path:
    """Return the directory of a scan, ``{root}/{scan_id:05d}_{beginning of its uid}``, and make it."""
    directory = root / f"{scan_label(start)}_{sanitise(start['uid'])[:8]}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@sinks.register("png")
class PngSink:
    """Keep ``reconstruction.png`` in the scan's directory up to date: with the snapshots, and at the end.

    The picture is replaced at once, so that a viewer never meets half of one. Drawing takes at most
    a fifth of the time: a snapshot that comes too early is left to the next.

    Parameters
    ----------
    directory : path
        The scans' directories are made in it.
    """

    name = "png"

    def __init__(self, directory: str | Path = DIRECTORY) -> None:
        self._root = Path(directory).expanduser().absolute()
        self._next_at = 0.0

    def __call__(self, update: Update) -> None:
        """Draw a snapshot.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        started = time.monotonic()
        if update.snapshot is None or (update.kind != "final" and started < self._next_at):
            return
        from ..figure import save_reconstruction_png  # matplotlib takes a second to load

        path = scan_directory(self._root, update.start) / "reconstruction.png"
        title = f"scan {update.start.get('scan_id', '')} {update.start.get('sample_name', '')}".strip()
        save_reconstruction_png(path, update.snapshot, stxm=update.stxm, title=title)
        ended = time.monotonic()
        self._next_at = 0.0 if update.kind == "final" else ended + (ended - started) * (1 / SHARE - 1)


@sinks.register("cxi")
class CxiSink:
    """Write the final result as ``result.cxi`` into the scan's directory.

    Parameters
    ----------
    directory : path
        The scans' directories are made in it.
    """

    name = "cxi"

    def __init__(self, directory: str | Path = DIRECTORY) -> None:
        self._root = Path(directory).expanduser().absolute()

    def __call__(self, update: Update) -> None:
        """Write the result of a final update; nothing if no frame was used.

        Raises
        ------
        OSError
            If the file cannot be written; no partial file stays.
        """
        if update.kind != "final" or update.snapshot is None:
            return
        from ..io.cxi import write_result_cxi

        write_result_cxi(
            scan_directory(self._root, update.start) / "result.cxi",
            update.snapshot,
            sample_name=str(update.start.get("sample_name", "")),
            raw_uid=update.start["uid"],
            versions=software_versions(),
            stxm=update.stxm,
        )
