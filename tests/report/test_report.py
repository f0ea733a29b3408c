"""A report of a stored reconstruction: what is on the page, and what is refused."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import importlib
import io
import re
import shutil
import signal

import nbformat
import pytest
from jupyter_client.provisioning import LocalProvisioner
from matplotlib.image import imread

from bluesky_ptycho.callbacks.results import ResultRun
from bluesky_ptycho.callbacks.updates import Progress
from bluesky_ptycho.catalog import open_catalog
from bluesky_ptycho.cli import main
from bluesky_ptycho.errors import NotFoundError, PtychoError
from bluesky_ptycho.knobs import Change
from bluesky_ptycho.logbook import entries
from bluesky_ptycho.report import figures, making, pdf, report, tables
from bluesky_ptycho.report.contents import read_scan
from bluesky_ptycho.report.making import TEMPLATE
from tests.stored import small_snapshot, store_result, store_scan, update

HOSTILE = '<script>alert("1")</script> & $\\frac{1}$'
REJECTED = {2: "saturated: 3 % of the pixels", 4: "saturated: 3 % of the pixels", 3: "corrupt: <b>row</b> 3"}
N_FIGURES = 4
FIGURES = (figures.object_figure, figures.maps_figure, figures.probe_figure, figures.quality_figure)
TABLES = (tables.heading, tables.summary, tables.frames, tables.settings, tables.provenance)

pytestmark = [
    pytest.mark.timeout(900),  # two processes load the stack, which an overloaded machine takes minutes for
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # nbclient leaves its event loop open
]


class Page(html.parser.HTMLParser):
    """Tags, their attributes and the text of a page."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.attributes, self.words, self.policy = [], [], "", ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]

    def handle_data(self, data):
        self.words += data

    def pictures(self):
        sources = [value for tag, name, value in self.attributes if (tag, name) == ("img", "src")]
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        return [imread(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]


@pytest.fixture(scope="module")
def stored(tmp_path_factory, blank_catalog):
    """Directory of a catalog with a scan and its reconstruction, their uids, and the report of them."""
    directory = tmp_path_factory.mktemp("reported")
    catalog_dir = shutil.copytree(blank_catalog, directory / "catalog")
    with open_catalog(catalog_dir) as catalog:
        start = store_scan(catalog, sample_name=HOSTILE, scan_id=7, proposal="pass-1")
        uid = store_result(
            catalog,
            start,
            dataclasses.replace(small_snapshot(), probe=small_snapshot().probe * 30),
            progress=Progress(planned=6, taken=6, used=3, rejected=3, settings_version=1),
            rejected=REJECTED,
            missing=(5,),
            messages=("a warning with <i>mark-up</i>",),
            changes=(Change(1, {"solver.step": 0.5}, {}, 4, 2, 1e9),),
        )
        made = report(uid, catalog, directory / "report.html", notebook=directory / "kept.ipynb")
    return catalog_dir, start["uid"], uid, made


@pytest.fixture(scope="module")
def page(stored):
    return Page(stored[3].read_text(encoding="utf-8"))


def test_the_page_is_one_file_that_runs_nothing_and_calls_nobody(page):
    assert page.policy.startswith("default-src 'none'")
    assert not {"script", "link", "iframe", "object", "i", "b"} & set(page.tags)
    assert not [
        a for a in page.attributes if a[1].startswith("on") or (a[1] in ("src", "href") and "data:" not in a[2])
    ]


def test_what_a_user_wrote_is_text(page):
    assert f"Scan 7 {HOSTILE}" in page.words
    assert "a warning with <i>mark-up</i>" in page.words
    assert "corrupt: <b>row</b> 3" in page.words


def test_its_figures_are_pictures_with_something_on_them(page):
    pictures = page.pictures()
    assert len(pictures) == N_FIGURES
    for picture in pictures:
        assert picture.shape[1] > 800
        assert picture[..., :3].std() > 0.05


def test_its_words_tell_counts_reasons_settings_and_provenance(page, stored):
    _, raw_uid, uid, _ = stored
    words = page.words
    for told in (raw_uid, uid, "proposal", "pass-1", "solver.modes", "12 nm half pitch", "bluesky_ptycho 0", "numpy 2"):
        assert told in words, told
    assert re.search(r"frames rejected\s*3\b", words)
    assert re.search(r"2, 4\s*saturated: 3 % of the pixels", words)
    assert re.search(r"1\s*solver.step=0.5\s*4\s*2\b", words)
    assert re.search(r"never came\s*5\b", words)
    assert re.search(r"changes of settings while it ran\s*1\b", words)


def test_it_can_be_sent_without_telling_where_things_lie_on_the_machine(stored, page):
    catalog_dir, raw_uid, _, made = stored
    assert str(catalog_dir.parent) not in made.read_text(encoding="utf-8")
    assert re.search(r"catalog\s*catalog\b", page.words)
    assert re.search(rf"raw frames\s*frames/{raw_uid}_primary.h5\b", page.words)


def test_code_is_folded_away(page):
    assert page.tags.count("details") == page.tags.count("pre") + 1  # and one for all settings
    assert ("details", "open", None) not in page.attributes
    assert page.tags[page.tags.index("body") + 1] == "h1"  # cells that set up, or show nothing, leave no trace


def test_the_catalog_knows_where_it_lies(stored):
    catalog_dir, _, uid, made = stored
    with open_catalog(catalog_dir, create=False) as catalog:
        (entry,) = entries(catalog)
        assert entry.report == str(made)
        assert "report" not in catalog[uid].metadata["stop"]


@pytest.mark.slow
def test_the_notebook_that_was_kept_can_be_edited_and_run_again(stored, tmp_path, capfd):
    catalog_dir, raw_uid, _, made = stored
    notebook = nbformat.read(made.parent / "kept.ipynb", as_version=4)
    nbformat.validate(notebook)
    notebook.cells = [*notebook.cells[:3], nbformat.v4.new_code_cell("print('edited', scan.snapshot.object.shape)")]
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    output = tmp_path / "again.html"
    arguments = ["report", raw_uid[:8], "--catalog", str(catalog_dir), "--output", str(output)]
    assert main([*arguments, "--template", str(tmp_path / "mine.ipynb")]) == 0
    said = capfd.readouterr()
    assert said.out == f"{output} holds the report\n"
    assert said.err == ""  # nor does the kernel say anything when it ends
    assert "edited (40, 50)" in Page(output.read_text()).words


def test_a_cell_that_fails_is_named_and_leaves_no_page_and_the_kernel_ends_in_silence(stored, tmp_path, monkeypatch):
    sent, send = [], LocalProvisioner.send_signal

    def noted(self, number):
        sent.append(number)
        return send(self, number)

    monkeypatch.setattr(LocalProvisioner, "send_signal", noted)
    notebook = nbformat.read(TEMPLATE, as_version=4)
    notebook.cells = [notebook.cells[0], nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    with pytest.raises(PtychoError, match=r"^cell 3 of mine.ipynb failed: ZeroDivisionError: division by zero$"):
        report(-1, stored[0], tmp_path / "none.html", template=tmp_path / "mine.ipynb")
    assert not (tmp_path / "none.html").exists()
    assert signal.SIGINT not in sent  # "KeyboardInterrupt caught in kernel" on stderr, if it comes at a bad moment


def test_a_scan_without_an_image_has_a_report_that_says_so(catalog):
    start = store_scan(catalog)
    sink = ResultRun(catalog.result_writer(), catalog.results_dir)
    sink(update("start", start))
    sink(update("final", start, exit_status="fail", reason="no frame could be used"))
    scan = read_scan(start["uid"], catalog)
    shown = Page("".join(table(scan).text for table in TABLES))
    assert "image: fail" in shown.words
    assert "no frame could be used" in shown.words
    assert "the reconstruction failed: there is no image" in shown.words
    assert [figure(scan) for figure in FIGURES] == [None] * N_FIGURES
    assert "changes of settings" not in shown.words


def test_a_single_mode_is_named_as_in_other_pictures(stored):
    scan = read_scan(stored[2], stored[0])
    one = dataclasses.replace(scan, snapshot=dataclasses.replace(scan.snapshot, probe=scan.snapshot.probe[:1]))
    names = [[axes.get_title(loc="left") for axes in figures.probe_figure(s).axes] for s in (one, scan)]
    assert names[0] == ["Probe at the sample", "Probe at the detector"]
    assert [name.partition(":")[0] for name in names[1]] == ["Mode 1", "Mode 2", "Spectrum"]


def test_a_scan_without_a_reconstruction_is_refused(catalog, tmp_path):
    store_scan(catalog)
    with pytest.raises(NotFoundError, match="has no reconstruction"):
        report(-1, catalog, tmp_path / "report.html")


@pytest.mark.parametrize(
    ("output", "told"),
    [("report.docx", "expected the name of a .html or .pdf"), ("nowhere/report.html", "nowhere does not exist")],
)
def test_a_file_that_cannot_be_written_is_refused_at_once(output, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PtychoError, match=told):
        report(-1, tmp_path / "no catalog", output)


@pytest.mark.parametrize(
    ("content", "told"),
    [("text", "Notebook does not appear to be JSON"), ("{}", "a key: cells"), ("[]", "'list' object"), ("\0", "JSON")],
)
def test_a_template_that_is_no_notebook_is_refused_at_once(content, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.ipynb").write_text(content)
    assert main(["report", "1", "--template", "text.ipynb", "--catalog", "absent"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: --template 'text.ipynb' is no notebook: " in line and told in line
    (tmp_path / "text.ipynb").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(PtychoError, match=r"template 'text\.ipynb' is no notebook: "):
        report(-1, tmp_path / "absent", template="text.ipynb")


def test_without_the_extra_one_line_tells_what_to_install(monkeypatch, capsys):
    real = importlib.import_module

    def missing(name, *rest):
        if name == "papermill":
            raise ModuleNotFoundError("No module named 'papermill'", name=name)
        return real(name, *rest)

    monkeypatch.setattr(making.importlib, "import_module", missing)
    assert main(["report", "-1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "papermill" in said and "python -m pip install 'bluesky-ptycho[report]'" in said


def test_a_catalog_that_takes_no_note_costs_the_note_alone(stored, caplog):
    class ReadOnly:
        def update_metadata(self, metadata):
            raise PermissionError("read only")

    making._note(ReadOnly(), stored[3])
    assert "the catalog does not take a note of the report: read only" in caplog.text


def test_without_a_browser_a_pdf_is_refused(monkeypatch):
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(PtychoError, match="a PDF needs Chromium or Chrome, which is not installed"):
        pdf.html_to_pdf(b"<p>page</p>")


@pytest.mark.slow
def test_a_browser_prints_the_page(stored):
    if not any(map(shutil.which, pdf.BROWSERS)):
        pytest.skip("no Chromium or Chrome is installed")
    printed = pdf.html_to_pdf(stored[3].read_bytes())
    assert printed.startswith(b"%PDF-") and len(printed) > 50_000
