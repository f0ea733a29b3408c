"""The page itself: HTML that holds its pictures, and runs nothing."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from ..summary import resolution_text
from ..terminal import printable
from ..whole_file import write_whole
from .entries import Entry

COLUMNS = ("Scan", "Time", "Sample", "Image", "Resolution", "Frames", "Photons/µm²", "Status", "Run", "Report")

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } p { color: #57606a; margin-top: 0; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; color: #57606a; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid #d8dee4; vertical-align: middle; }
th[colspan] { background: #f3f5f7; color: #1b1f24; } td.number { text-align: right; white-space: nowrap; }
td.sample { max-width: 16rem; overflow-wrap: anywhere; } img { display: block; height: 96px; image-rendering: auto; }
code { font-size: .85rem; color: #57606a; }
.success { color: #116329; } .abort { color: #9a6700; } .fail { color: #cf222e; }
@media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Even what slipped through could neither run nor call home."""


def write_logbook(path: Path | str, entries: Iterable[Entry], *, title: str = "Beam time") -> int:
    """Write the page; it appears whole or not at all.

    Parameters
    ----------
    path : path
        The HTML file.
    entries : iterable of Entry
        Newest first.
    title : str

    Returns
    -------
    int
        Scans on it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path = Path(path)
    rows, day, n = [], "", 0
    for entry in entries:
        n += 1
        begun = datetime.fromtimestamp(entry.scan.time)
        if (today := begun.strftime("%A, %d %B %Y")) != day:
            day = today
            rows.append(f'<tr><th colspan="{len(COLUMNS)}">{_safe(day)}</th></tr>')
        rows.append(_row(entry, begun, path.parent))
    heads = "".join(f"<th>{name}</th>" for name in COLUMNS)
    made = datetime.now().strftime("%Y-%m-%d %H:%M")
    text = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_safe(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f"<h1>{_safe(title)}</h1>\n<p>{n} scan{'' if n == 1 else 's'}, newest first; written {made}</p>\n"
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table>\n</body>\n</html>\n"
    )
    write_whole(path, text.encode())
    return n


def _row(entry: Entry, begun: datetime, directory: Path) -> str:
    scan, result = entry.scan, entry.result
    sharp = "" if result is None else resolution_text(result.resolution_m, result.limit_m)
    measured = "–" if scan.status == "open" else f"{scan.frames}"
    frames = measured if result is None else f"{result.frames}/{measured}"
    fluence = f"{entry.fluence_per_um2:.2e}" if math.isfinite(entry.fluence_per_um2) else ""
    image = (
        f'<img alt="phase of the object" src="data:image/png;base64,{base64.b64encode(entry.thumbnail).decode()}">'
        if entry.thumbnail
        else ""
    )
    cells = (
        ("number", _safe("" if scan.scan_id is None else scan.scan_id)),
        ("number", _safe(begun.strftime("%H:%M"))),
        ("sample", _safe(scan.sample)),
        ("", image),
        ("number", _safe(sharp)),
        ("number", _safe(frames)),
        ("number", _safe(fluence)),
        ("", _status(entry)),
        ("", f"<code>{_safe(scan.uid[:8])}</code>"),
        ("", _link(entry.report, directory)),
    )
    return (
        "<tr>"
        + "".join(f'<td class="{name}">{cell}</td>' if name else f"<td>{cell}</td>" for name, cell in cells)
        + "</tr>"
    )


def _status(entry: Entry) -> str:
    states = [("", entry.scan.status), *([("image: ", entry.result.status)] if entry.result is not None else [])]
    if len(states) == 2 and states[0][1] == states[1][1] == "success":
        states = [("", "success")]
    kinds = ("success", "abort", "fail")
    parts = [f'<span class="{s if s in kinds else ""}">{_safe(f"{what}{s}")}</span>' for what, s in states]
    newest = next(iter(entry.scan.reconstructions), None)
    if newest is not None and newest is not entry.result:
        parts.append(_safe(f"newest reconstruction {newest.uid[:8]}: {newest.status}"))
    return "<br>".join(parts) + ("" if entry.result is not None else "<br>no image")


def _link(report: str, directory: Path) -> str:
    """Return a link to an address of the web or to a file, relative where it is below the page; empty for others."""
    if not report:
        return ""
    scheme = urlsplit(report).scheme.lower()
    if scheme in ("http", "https"):
        address = report
    elif scheme in ("", "file"):
        file = report.removeprefix("file://localhost").removeprefix("file://")
        address = _address_of(Path(file), directory)
    else:
        return ""
    return f'<a href="{_safe_address(address)}">report</a>'


def _address_of(file: Path, directory: Path) -> str:
    """Return the address of a file as seen from a page in `directory`; one that is no absolute path is so already."""
    if not file.is_absolute():
        return quote(str(file))
    if file.resolve().is_relative_to(directory.resolve()):
        return quote(str(file.resolve().relative_to(directory.resolve())))
    # Steps upwards lead elsewhere where the page is opened by way of a link, or is sent.
    return file.as_uri()


def _safe(text: object) -> str:
    return html.escape(printable(text))


def _safe_address(text: str) -> str:
    return html.escape(text, quote=True)
