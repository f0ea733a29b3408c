"""What a check has found, and the page of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..terminal import printable

NAME_WIDTH = 11
LONGEST = 600
"""Characters of a text; a page is for a person."""


class State(enum.Enum):
    """How good it is: mark for the terminal, plain mark, and colour."""

    GOOD = "✓", "ok", "32"
    NOTE = "·", "--", "0"
    BAD = "✗", "NO", "31"


@dataclass(frozen=True)
class Finding:
    """One line of the page.

    Parameters
    ----------
    name : str
        What was looked at.
    state : State
    text : str
        What was seen.
    remedy : str
        What to do about it; never empty where the state is BAD.
    """

    name: str
    state: State
    text: str
    remedy: str = ""


def good(name: str, text: str) -> Finding:
    """Return a finding of something as it should be."""
    return Finding(name, State.GOOD, text)


def note(name: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that one can live with."""
    return Finding(name, State.NOTE, text, remedy)


def bad(name: str, text: str, remedy: str) -> Finding:
    """Return a finding that must be mended."""
    return Finding(name, State.BAD, text, remedy)


def format_finding(finding: Finding, *, signs: bool = True, colour: bool = False) -> str:
    """Return the line of a finding, its remedy below it.

    Parameters
    ----------
    finding : Finding
    signs : bool
        Whether the terminal can show ticks and crosses.
    colour : bool
        Whether it can show colours.
    """
    sign, plain, code = finding.state.value
    mark = sign if signs else plain
    indent = " " * (len(mark) + NAME_WIDTH + 2)
    mark = f"\x1b[{code}m{mark}\x1b[0m" if colour else mark
    line = f"{mark} {finding.name.ljust(NAME_WIDTH)} {printable(finding.text, LONGEST)}"
    arrow = "→" if signs else "->"
    return line + (f"\n{indent}{arrow} {printable(finding.remedy, LONGEST)}" if finding.remedy else "")
