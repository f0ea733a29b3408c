"""What a live reconstruction is doing, in a sentence, and in more words where there is room."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Self

from ..terminal import printable
from ..words import counted
from .live_views import rejected_text, scan_title
from .updates import Progress

NOTHING_YET = "no ptychography scan seen yet"
CLOSED = "closed, it takes no more scans"
LONGEST_MESSAGE = 300
ENDS = {"success": "done", "abort": "aborted", "fail": "failed"}


class Status(str):
    """A sentence that IPython shows with the messages of the scan below it, and Jupyter as a table.

    Parameters
    ----------
    sentence : str
    facts : sequence of (str, str)
        Names and values.
    messages : sequence of str
        Warnings of the scan.
    """

    facts: tuple[tuple[str, str], ...]
    messages: tuple[str, ...]

    def __new__(cls, sentence: str, facts: Sequence[tuple[str, str]] = (), messages: Sequence[str] = ()) -> Self:
        """Make a string with more to tell."""
        made = super().__new__(cls, sentence)
        made.facts = tuple(facts)
        made.messages = tuple(printable(message, LONGEST_MESSAGE) for message in messages)
        return made

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("\n".join([str(self), *(f"  - {message}" for message in self.messages)]))

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self.facts)
        told = "".join(f"<li>{escape(message)}</li>" for message in self.messages)
        return f"<p>{escape(str(self))}</p><table>{rows}</table>{f'<ul>{told}</ul>' if told else ''}"


def describe_status(
    start: Mapping[str, Any], progress: Progress, messages: Sequence[str], *, exit_status: str = ""
) -> Status:
    """Return the status of a run.

    Parameters
    ----------
    start : mapping
        Start document of the raw run.
    progress : Progress
    messages : sequence of str
    exit_status : str
        "success", "abort" or "fail" once the run is done.
    """
    title = printable(scan_title(start), 80)
    state = ENDS.get(exit_status, exit_status) or progress.phase
    rejected = f"{progress.rejected} rejected" + (f" ({_kinds(progress)})" if progress.kinds else "")
    waiting = f"{progress.lag} waiting" + (f" for {progress.lag_s:.1f} s" if progress.lag else "")
    residual = f"{progress.residual:.4g}" if math.isfinite(progress.residual) else "not known yet"
    passes = counted(progress.iteration, "pass", "passes")
    version = f", settings version {progress.settings_version}" if progress.settings_version else ""
    drift = "" if math.isnan(progress.dark_drift) else f"; darks {progress.dark_drift:.1f} σ off"
    skipped = f"; {counted(progress.skipped, 'snapshot')} not shown" if progress.skipped else ""
    sentence = (
        f"{title} is {state}: {progress.taken}/{progress.planned} points taken, {progress.used} used, {rejected}, "
        f"{waiting}; residual {residual} after {passes}{version}{drift}{skipped}"
    )
    facts = [
        ("scan", title.removeprefix("scan ")),
        ("state", state),
        ("taken", f"{progress.taken} of {progress.planned} points"),
        ("used", str(progress.used)),
        ("rejected", rejected_text(progress)),
        ("waiting", f"{counted(progress.lag, 'point')}, {progress.lag_s:.1f} s"),
        ("passes", str(progress.iteration)),
        ("residual", residual),
        ("settings version", str(progress.settings_version)),
    ]
    return Status(sentence, facts, messages)


def _kinds(progress: Progress) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in progress.kinds.items())
