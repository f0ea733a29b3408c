"""Row 32: names that would leave their directory, run in a browser, or fill a page."""

from __future__ import annotations

import io

import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.file_sinks import CxiSink, PngSink
from bluesky_ptycho.callbacks.progress_bar import ProgressBar
from bluesky_ptycho.callbacks.results import ResultRun
from bluesky_ptycho.catalog import format_runs, list_runs
from bluesky_ptycho.paths import ScanPaths
from bluesky_ptycho.simulated_session import ClosingLine
from bluesky_ptycho.terminal import printable
from tests.callbacks.small_data import small_scan

from .scene import SETTINGS, Scan, plain_plan

UNICODE = "".join(chr(0x20 + (7919 * i) % 0x2FFF) for i in range(10_000))
NAMES = {
    "path": "../../../../tmp/x",
    "absolute": "/etc/passwd",
    "script": "<script>alert(1)</script>",
    "unicode": UNICODE,
    "terminal": "\x1b]0;owned\x07\x1b[2Jgold\r\n\x00",
    "mathtext": r"$\frac{$ ^_ \undefined{",
    "empty": "",
    "dots": "..",
    "a list": ["gold", {"a": 1}],
}
QUICK = ("script", "unicode")  # a path comes with a hostile scan number


def of_each_name():
    for which in NAMES:
        yield pytest.param(which, 7, marks=[] if which in QUICK else [pytest.mark.slow])


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.fault("32", "hostile sample names", bound="safe file names; shown harmlessly; scan and results whole")
@pytest.mark.parametrize(("which", "scan_id"), [*of_each_name(), ("path", "../../x")])
def test_a_hostile_name_does_nothing(which, scan_id, tmp_path, catalog, capsys, figure):
    positions_m, patterns, _, _ = small_scan(n_side=4)
    frames = catalog.frames_dir
    frames.mkdir(exist_ok=True)
    scan = Scan(plain_plan(positions_m, (64, 64)), frames, patterns)
    scan.start.update(sample_name=NAMES[which], scan_id=scan_id)
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    out, screen = tmp_path / "out", io.StringIO()
    sinks = [PngSink(out), CxiSink(out), ProgressBar(screen), ClosingLine(str(out))]
    with LivePtycho(SETTINGS.with_changes(passes=3), catalog=catalog, sinks=sinks) as live:
        raw = catalog.raw_writer()
        for name, doc in scan.documents():
            raw(name, doc)
            live(name, doc)
        outcome = live.wait(240)
    assert outcome.progress.used == 16
    refused = set() if isinstance(scan_id, int) else {ResultRun.name}  # no catalog takes a number that is none
    assert set(outcome.sink_errors) == refused and len(live.errors) == len(refused)
    made = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    new = [p for p in made if not p.is_relative_to(frames)]
    figure(files_outside=sum(not p.resolve().is_relative_to(tmp_path) for p in new))
    assert {p.name for p in new} >= {"reconstruction.png", "result.cxi"}
    for path in new:
        assert path.name.isascii() and len(path.name) < 120 and ".." not in path.parts
        assert path.resolve().is_relative_to(tmp_path)
    shown = capsys.readouterr().out + screen.getvalue()
    table = format_runs(list_runs(catalog)) if isinstance(scan_id, int) else ""
    for text in (shown, table):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert all(len(line) < 400 for line in text.splitlines())


@pytest.mark.parametrize("which", NAMES)
def test_file_names_stay_within_their_root(which, tmp_path):
    paths = ScanPaths(tmp_path, {"scan_id": 3, "cycle": NAMES[which], "proposal": NAMES[which]})
    made = paths.file("primary", NAMES[which])
    assert made.resolve().is_relative_to(tmp_path)
    assert made.name.startswith("00003_") and made.name.isascii()


def test_printable_text_does_nothing_and_is_short():
    assert printable("\x1b[2J a\nb\t\u202e\x00c") == "[2J a b c"
    assert len(printable(UNICODE)) <= 60
    assert printable("gold") == "gold"
