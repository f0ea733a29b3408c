"""The page of the beam time."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

from matplotlib.image import imread

from bluesky_ptycho.catalog import RunRow, make_search
from bluesky_ptycho.logbook import entries, write_logbook
from bluesky_ptycho.logbook.entries import _newest_report
from bluesky_ptycho.logbook.page import _link

from .commands import run


class Page(HTMLParser):
    """Tags, texts of the cells, and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.rows = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_a_logbook_has_a_row_for_each_scan_and_runs_nothing(desk, workplace, capsys):
    status, out, _ = run(capsys, "logbook", "--catalog", str(desk.name), "--title", "<b>Beam</b>")
    assert (status, out) == (0, "3 scans; logbook.html holds the page\n")
    text = (workplace / "logbook.html").read_text()
    page = Page(text)
    assert not {"script", "b", "iframe", "link", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "\x1b" not in text and "\u202e" not in text and "&lt;script&gt;alert(1)" in text
    rows = [row for row in page.rows if row]
    assert [row[0] for row in rows] == ["3", "2", "1"]
    assert [row[2] for row in rows] == ["gold_2", '<script>alert(1)</script> [31m & "gold"', "Gold balls"]
    assert (rows[2][4], rows[2][5]) == ("12.0 nm", "6/6")
    assert rows[0][5] == "–" and rows[0][7].startswith("open")
    (image,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert max(imread(io.BytesIO(base64.b64decode(image))).shape) == 160
    assert not re.search(r'(?:src|href)="(?!data:)', text), "it needs nothing from elsewhere"


def test_links_to_reports_lead_there_from_any_page_and_are_harmless(tmp_path):
    assert 'href="reports/a%20b.html"' in _link(str(tmp_path / "reports" / "a b.html"), tmp_path)
    assert 'href="https://x.org/r?a=1&amp;b=2"' in _link("https://x.org/r?a=1&b=2", tmp_path)
    assert f'href="file://{tmp_path}/far/c%20d.html"' in _link(str(tmp_path / "far" / "c d.html"), tmp_path / "pages")
    for address in ("javascript:alert(1)", "data:text/html,x", ""):
        assert _link(address, tmp_path) == ""
    assert '"' not in _link('https://x/"onclick="y', tmp_path).replace('<a href="', "").replace('">report</a>', "")


def test_a_scan_keeps_its_report_when_it_is_reconstructed_again():
    row = RunRow("scan", 1, "gold", 0.0, 6, "success")
    results = tuple(dataclasses.replace(row, uid=uid) for uid in ("newest", "newer", "older"))
    catalog = {
        uid: SimpleNamespace(metadata=metadata)
        for uid, metadata in {"newest": {}, "newer": {"report": "/b.html"}, "older": {"report": "/a.html"}}.items()
    }
    assert _newest_report(dataclasses.replace(row, reconstructions=results), catalog) == "/b.html"
    assert _newest_report(dataclasses.replace(row, reconstructions=results[:1]), catalog) == ""


def test_an_empty_logbook_and_one_that_is_searched(desk, catalog, tmp_path):
    assert write_logbook(tmp_path / "empty.html", entries(catalog)) == 0
    assert "0 scans, newest first" in (tmp_path / "empty.html").read_text()
    assert write_logbook(tmp_path / "some.html", entries(desk, make_search(energy=1200))) == 1
