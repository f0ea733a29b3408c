"""In what a reconstruction differs from the first of its scan, as its start document tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..preprocess.mask import Mask, is_packed

START_KEY = "reprocess"
"""Key of a result run's start document that tells of which first result it differs, and in what."""

MOST_NAMED = 3
"""Settings that a line of text names."""


def changes_text(note: Mapping[str, Any]) -> str:
    """Return the first few settings that differ: "solver.modes 1 → 2, passes 40 → 80"; empty where none does.

    Parameters
    ----------
    note : mapping
        What the start document holds under :data:`START_KEY`.
    """
    changed = [f"{c['name']} {_told(c['from'])} → {_told(c['to'])}" for c in note.get("settings_changed", ())]
    more = [] if len(changed) <= MOST_NAMED else [f"{len(changed) - MOST_NAMED} more"]
    return ", ".join([*changed[:MOST_NAMED], *more])


def _told(value: Any) -> str:
    """Return a setting's value as a line can tell it: a mask would fill the screen."""
    if not is_packed(value):
        return "unset" if value is None else str(value)
    rows, columns = Mask.unpacked(value).good.shape
    return f"a mask of {rows} x {columns}"
