"""The words and tables of a report, as HTML in which nothing that a user wrote can do anything."""

from __future__ import annotations

import html
import math
import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from .. import __version__
from ..callbacks import LiveSettings
from ..callbacks.updates import in_ranges
from ..figure import panels
from ..logbook.entries import fluence_per_um2
from ..scan_plan import START_KEY
from ..settings import Settings
from ..terminal import printable
from .contents import ReportedScan

MOST_CHARACTERS = 400
MOST_REASONS = 200


@dataclass(frozen=True)
class Html:
    """Text that IPython shows as HTML."""

    text: str

    def _repr_html_(self) -> str:
        return self.text


def heading(scan: ReportedScan) -> Html:
    """Return title, time and state of a scan, with the messages of its reconstruction."""
    begun = datetime.fromtimestamp(float(scan.start["time"]))
    states = [f"scan: {scan.stop.get('exit_status', 'open')}", f"image: {scan.result_stop.get('exit_status', 'open')}"]
    reasons = [str(stop["reason"]) for stop in (scan.stop, scan.result_stop) if stop.get("reason")]
    lines = [f"<h1>{_safe(scan.title)}</h1>", f"<p>{begun:%A, %d %B %Y, %H:%M}; {_safe(', '.join(states))}</p>"]
    told = [*dict.fromkeys(reasons), *scan.summary.get("messages", ())]
    if scan.snapshot is None:
        told.append(_why_no_image(scan))
    return Html("\n".join([*lines, _list(told)]))


def _why_no_image(scan: ReportedScan) -> str:
    ended = scan.result_stop.get("exit_status")
    if not ended:
        return "the reconstruction has not ended: there is no image"
    return f"the reconstruction {'failed' if ended == 'fail' else 'used no frame'}: there is no image"


def summary(scan: ReportedScan) -> Html:
    """Return the figures that tell how good the image is and how it was measured."""
    plan, rows = scan.start.get(START_KEY, {}), []
    if scan.snapshot is not None:
        rows = panels.facts(scan.snapshot)
        fluence = fluence_per_um2(scan.snapshot)
        if math.isfinite(fluence):
            rows.append(("light on the sample", f"{fluence:.2e} detected photons/µm²"))
    if plan:
        exposures = [f"{1e3 * t:.4g} ms" for t in plan.get("exposures_s", ())]
        rows += [
            ("detector distance", f"{1e3 * plan['distance_m']:.5g} mm"),
            ("exposure at each point" if len(exposures) == 1 else "exposures at each point", ", ".join(exposures)),
            ("trajectory", f"{plan.get('trajectory', '')}, {plan.get('n_points', 0)} points"),
        ]
    if scan.stop:
        rows.append(("duration of the scan", f"{scan.stop['time'] - scan.start['time']:.1f} s"))
    return Html(_table(rows))


def frames(scan: ReportedScan) -> Html:
    """Return how many frames were planned, taken, used, rejected and lost, and why."""
    found = scan.summary
    names = ("planned", "taken", "used", "rejected", "missing")
    counts = [(f"frames {name}", found[f"frames_{name}"]) for name in names if f"frames_{name}" in found]
    parts = [_table(counts)]
    grouped: dict[str, list[int]] = defaultdict(list)
    for point, reason in (found.get("rejected") or {}).items():
        grouped[str(reason)].append(int(point))
    if grouped:
        rows = [(in_ranges(sorted(points)), reason) for reason, points in grouped.items()]
        rows.sort(key=lambda row: int(row[0].replace("-", ",").partition(",")[0]))
        left_out = len(rows) - MOST_REASONS
        more = [("…", f"{left_out} further reasons are in the stop document")] if left_out > 0 else []
        parts.append(_table([*rows[:MOST_REASONS], *more], heads=("rejected scan points", "why")))
    if found.get("missing"):
        # What an analysis that broke off has not used may well have come.
        failed = scan.result_stop.get("exit_status") == "fail"
        what = "points not used when it failed" if failed else "points whose frame or position never came"
        parts.append(_table([(what, in_ranges(found["missing"]))]))
    return Html("\n".join(parts))


def settings(scan: ReportedScan) -> Html:
    """Return the settings: those that are not the defaults first, what was changed on the way, and all of them."""
    used = dict(_flat(scan.result_start.get("settings", {})))
    usual, words = dict(_flat(LiveSettings().to_dict())), dict(_documented(LiveSettings))
    rows = [(name, _value(value), words.get(name, "")) for name, value in used.items()]
    special = [row for row in rows if row[0] not in usual or used[row[0]] != usual[row[0]]]
    heads = ("setting", "value", "what it does")
    parts = [_table(special, heads) if special else "<p>All settings are the defaults.</p>"]
    if scan.changes:
        made = [(c.version, _arguments(c.changed), c.frames_used, c.iteration) for c in scan.changes]
        told = ("version", "changed while it ran", "frames used by then", "passes by then")
        parts.append(_table(made, told))
    parts.append(f"<details><summary>all settings</summary>\n{_table(rows, heads)}\n</details>")
    return Html("\n".join(parts))


def provenance(scan: ReportedScan) -> Html:
    """Return where all this comes from: runs, files and software."""
    start, result = scan.start, scan.result_start
    darks = scan.summary.get("dark_uid")
    rows = [
        ("scan", start["uid"]),
        ("reconstruction", result["uid"]),
        ("darks of", "none" if darks is None else "the scan itself" if darks == start["uid"] else darks),
        ("first probe from", scan.summary.get("probe_uid") or "the plan"),
        ("plan", _plan(start)),
        *((name.replace("_", " "), start[name]) for name in ("proposal", "cycle", "data_session") if start.get(name)),
        ("catalog", scan.catalog),
        ("raw frames", scan.frames_file),
        ("log of the reconstruction", scan.log_file),
        ("changes of settings while it ran", _n_settings_changes(scan) or None),
        ("reconstructed", f"{datetime.fromtimestamp(float(result['time'])):%Y-%m-%d %H:%M:%S}"),
        ("reconstructed with", _arguments(result.get("versions", {}), " ")),
        ("measured with", _arguments(start.get("versions", {}), " ")),
        ("this report", f"{datetime.now():%Y-%m-%d %H:%M:%S}, bluesky_ptycho {__version__}, {_machine()}"),
    ]
    return Html(_table([(name, value) for name, value in rows if value not in (None, "")]))


def _n_settings_changes(scan: ReportedScan) -> int:
    """Count the changes, without pauses and new beginnings, whose names have no dot."""
    return sum(any("." in name for name in change.changed) for change in scan.changes)


def _plan(start: Mapping[str, Any]) -> str:
    name = start.get("plan_name")
    return f"{name}({_arguments(start.get('plan_args') or {})})" if name else ""


def _machine() -> str:
    return f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def _arguments(values: Mapping[str, Any], between: str = "=") -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in values.items() if value is not None)


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _documented(kind: type[Settings], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and sentence of each setting, parts with their part's name before them."""
    for field in fields(kind):
        if isinstance(field.default_factory, type) and issubclass(field.default_factory, Settings):
            yield from _documented(field.default_factory, f"{before}{field.name}.")
        else:
            unit = f" ({field.metadata['unit']})" if field.metadata.get("unit") else ""
            yield f"{before}{field.name}", f"{field.metadata.get('doc', '')}{unit}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return ", ".join(map(_value, value)) or "none" if isinstance(value, (list, tuple)) else str(value)


def _table(rows: Iterable[Sequence[Any]], heads: Sequence[str] = ()) -> str:
    head = f"<thead><tr>{''.join(f'<th>{_safe(name)}</th>' for name in heads)}</tr></thead>\n" if heads else ""
    body = "\n".join(f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n{head}<tbody>\n{body}\n</tbody>\n</table>"


def _list(lines: Sequence[object]) -> str:
    return f"<ul>{''.join(f'<li>{_safe(line)}</li>' for line in lines)}</ul>" if lines else ""


def _safe(text: object) -> str:
    return html.escape(printable(text, MOST_CHARACTERS))
