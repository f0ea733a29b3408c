"""``RE.md`` in a file, so that the next session goes on with it."""

from __future__ import annotations

import json
from collections import UserDict
from pathlib import Path
from typing import Any

from .errors import MetadataError
from .whole_file import write_whole


class MetadataFile(UserDict[str, Any]):
    """A mapping that is read from a JSON file and written to it at every change.

    A value that is itself changed (``md["sample"]["batch"] = 3``) is written with the next change, or
    by :meth:`flush`. Several sessions may share a file; what was written last counts.

    Parameters
    ----------
    path : Path
        Need not exist.

    Raises
    ------
    MetadataError
        If the file holds something else, or, later, if a value cannot be written as JSON.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        try:
            stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (ValueError, RecursionError) as broken:
            raise MetadataError(f"{path} cannot be read as JSON: {broken}") from broken
        if not isinstance(stored, dict):
            raise MetadataError(f"{path} holds a {type(stored).__name__}; expected a JSON object")
        self.data = stored

    def __setitem__(self, key: str, value: Any) -> None:
        before = dict(self.data)
        self.data[key] = value
        self._keep_or(before)

    def __delitem__(self, key: str) -> None:
        before = dict(self.data)
        del self.data[key]
        self._keep_or(before)

    def flush(self) -> None:
        """Write the file: a reader sees the old or the new one, never half of it."""
        text = json.dumps(self.data, indent=2, default=_plain) + "\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, text.encode())

    def _keep_or(self, before: dict[str, Any]) -> None:
        try:
            self.flush()
        except BaseException:
            self.data = before
            raise


def _plain(value: Any) -> Any:
    """Return arrays and NumPy numbers as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise MetadataError(f"metadata hold a {type(value).__name__}, {value!r}; expected what JSON can hold")
