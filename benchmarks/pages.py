"""Tables in pages: each is written between two lines that mark its place."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """Return the lines between which the table called `name` stands."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table for a page."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def put_between_marks(page: Path, name: str, table: str) -> None:
    """Replace what stands between the marks of `page`; end the program if it has none."""
    begin, end = marks(name)
    before, found_begin, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        sys.exit(f"{page} has no place for the table; expected lines {begin} and {end}")
    page.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")
