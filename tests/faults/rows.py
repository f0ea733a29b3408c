"""Rows of the fault matrix: what each marked test measured, and whether it held."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

Figure = float | str


@dataclass
class Row:
    """One row of the table; several tests may share one, and all of them must pass."""

    id: str
    fault: str
    bound: str
    figures: list[Figure] = field(default_factory=list)
    outcomes: dict[str, bool] = field(default_factory=dict)

    def measured(self, *values: Figure, **labelled: Figure) -> None:
        """Take figures before they are asserted: ``(1.02)``, ``("none lost")``, ``(error=1.02, missing=10)``."""
        self.figures += [value if isinstance(value, str) else float(value) for value in values]
        self.figures += [f"{label.replace('_', ' ')} {_text(value)}" for label, value in labelled.items()]

    def to_json(self) -> dict[str, Any]:
        """Return the row as others read it; `figure` is None if nothing was measured, text if several things were."""
        figures = list(dict.fromkeys(self.figures))
        figure = figures[0] if len(figures) == 1 else "; ".join(map(_text, figures)) or None
        passed = bool(self.outcomes) and all(self.outcomes.values())
        return {"id": self.id, "fault": self.fault, "figure": figure, "bound": self.bound, "passed": passed}


def _text(value: Figure) -> str:
    return f"{value:.4g}" if isinstance(value, Real) else str(value)


class Rows:
    """Gather the rows of a test run; written after each test, so that they outlive a run that is killed.

    Parameters
    ----------
    path : Path, optional
        JSON file; nothing is written without it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._rows: dict[str, Row] = {}

    def expect(self, test: str, id: str, fault: str, bound: str = "") -> Row:
        """Return the row that `test` belongs to; until the test has passed the row has not."""
        row = self._rows.setdefault(id, Row(id, fault, bound))
        row.bound = row.bound or bound
        row.outcomes[test] = False
        return row

    def write(self) -> None:
        """Write all rows so far aside, then in place."""
        if self._path is None:
            return
        aside = self._path.with_name(f"{self._path.name}.part")
        aside.write_text(json.dumps([row.to_json() for row in self._rows.values()], indent=1))
        os.replace(aside, self._path)
