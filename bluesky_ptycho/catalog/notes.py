"""What is noted beside the documents of a stored run, which themselves stay as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPORT_KEY = "report"
"""Key of a stored result's metadata, beside its start and stop documents, that holds the path of its report."""


def note_report(result: Any, path: Path) -> None:
    """Note in the catalog where the report of a reconstruction lies; a newer one takes the place of an older.

    Parameters
    ----------
    result : BlueskyRun
        As ``catalog[...]`` gives it.
    path : Path

    Raises
    ------
    Exception
        Whatever the server refuses.
    """
    result.update_metadata({REPORT_KEY: str(path.absolute())})


def noted_report(metadata: Mapping[str, Any]) -> str:
    """Return the path of the report that a stored result's metadata name; empty without one."""
    noted = metadata.get(REPORT_KEY)
    return noted if isinstance(noted, str) else ""
