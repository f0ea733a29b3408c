"""The fault matrix: every fault is injected for real, and its figure measured and asserted.

``python -m benchmarks.faults --json FILE`` runs all of ``tests/faults`` and writes one row for each fault,
``{id, fault, figure, bound, passed}``. Subcases have ids like ``1a``. The exit status is 1 if a row failed or one of
the 36 numbers is missing. ``--markdown FILE`` writes the table into a page, between the lines that mark its place.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .conditions import run_command
from .pages import markdown_table, put_between_marks

REPOSITORY = Path(__file__).resolve().parent.parent
TESTS = "tests/faults"
N_FAULTS = 36
TABLE = "fault matrix"
HEADER = ["#", "fault", "figure", "bound", "passed"]

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the matrix, write it, print it; exit with 1 unless every row is there and holds."""
    options = parse(arguments)
    rows = in_order(measure(options.tests, options.pytest))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if options.markdown:
        put_between_marks(options.markdown, TABLE, markdown(rows))
    print(plain_text(rows))
    absent, failed = missing(rows), [row["id"] for row in rows if not row["passed"]]
    if absent:
        print(f"missing: {', '.join(map(str, absent))}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    if absent or failed:
        sys.exit(1)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="page with a place for the table")
    parser.add_argument("--tests", nargs="+", default=[TESTS], metavar="PATH", help="what to run (default: all)")
    parser.add_argument("--pytest", nargs=argparse.REMAINDER, default=[], metavar="OPTION", help="more for pytest")
    return parser.parse_args(arguments)


def measure(tests: Sequence[str], options: Sequence[str] = ()) -> list[Row]:
    """Run `tests` in a process of their own, whose output shows how far it is; return the rows, whatever came."""
    with tempfile.TemporaryDirectory() as directory:
        rows = Path(directory) / "rows.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            *tests,
            "-m",
            "fault",
            "-n",
            "0",
            "-v",
            "--faults-json",
            str(rows),
            *options,
        ]
        subprocess.run(command, cwd=REPOSITORY, check=False)
        return json.loads(rows.read_text(encoding="utf-8")) if rows.is_file() else []


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Return the rows by number, then letter."""
    return sorted(rows, key=lambda row: (number(row["id"]), row["id"]))


def number(id: str) -> int:
    """Return the number that an id begins with; those without one come last."""
    digits = re.match(r"\d+", id)
    return int(digits.group()) if digits else N_FAULTS + 1


def missing(rows: Sequence[Row]) -> list[int]:
    """Return the faults that no row is of."""
    return sorted(set(range(1, N_FAULTS + 1)) - {number(row["id"]) for row in rows})


def cells(row: Row) -> list[str]:
    """Return a row as text: id, fault, figure, bound, whether it passed."""
    figure = row["figure"]
    shown = "—" if figure is None else f"{figure:.4g}" if isinstance(figure, float) else str(figure)
    return [row["id"], row["fault"], shown, row["bound"], "yes" if row["passed"] else "NO"]


def plain_text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    return "\n".join(" | ".join(line) for line in [HEADER, *map(cells, rows)])


def markdown(rows: Sequence[Row]) -> str:
    """Return the table for a page."""
    return markdown_table(HEADER, map(cells, rows))


if __name__ == "__main__":
    run_command(main)
