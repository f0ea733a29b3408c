"""One line that adds the live reconstruction to a session, and what it leaves open."""

from __future__ import annotations

import psutil
import pytest
from bluesky import RunEngine

from bluesky_ptycho import attach, ptycho_scan
from bluesky_ptycho.errors import MetadataError, NotFoundError, SettingsError
from bluesky_ptycho.sim import make_beamline


@pytest.fixture
def open_files(catalog_dir):
    """Return a function that lists the files of the catalog that are open in this process."""
    return lambda: [f.path for f in psutil.Process().open_files() if f.path.startswith(str(catalog_dir))]


def test_a_catalog_opened_for_the_callback_is_closed_with_it(RE, catalog_dir, open_files):
    with (
        make_beamline(catalog_dir / "frames", md=RE.md, camera="plain", shape=(64, 64), progress=False) as line,
        attach(RE, catalog_dir, detector=line.fccd) as live,
    ):
        line.fccd.frame_rate = 200.0
        axes = line.stage.y, line.stage.x
        RE(ptycho_scan(line.fccd, *axes, width=0.3, height=0.3, step=0.1, exposure=0.005, darks=1))
        outcome = live.wait(240)
        assert outcome.progress.used == 9 and outcome.result_uid
        assert open_files()
    assert not open_files()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"axes": ["stage_y"]}, MetadataError),
        ({"sinks": ["printer"]}, NotFoundError),
        ({"settings": {"passes": 3}}, SettingsError),
    ],
    ids=["one axis", "unknown sink", "settings of a dict"],
)
def test_a_refusal_leaves_nothing_open(catalog_dir, open_files, arguments, error):
    with pytest.raises(error):
        attach(RunEngine({}), catalog_dir, **arguments)
    assert not open_files()


def test_a_catalog_of_the_session_stays_open(RE, catalog):
    attach(RE, catalog).close()
    assert len(catalog) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_report_is_written_when_a_scan_is_done(RE, catalog, tmp_path, short_ptycho_scan):
    told = []
    with attach(RE, catalog, report=tmp_path / "reports", on_done=told.append) as live:
        uid = short_ptycho_scan()
        assert live.wait(120).raw_uid == uid
        live.close(timeout=500)
        assert live.errors == {}
    (outcome,) = told
    (page,) = (tmp_path / "reports").iterdir()
    assert page.name == f"00001_{outcome.result_uid}.html"
    assert uid in page.read_text(encoding="utf-8")
    assert catalog[outcome.result_uid].metadata["report"] == str(page)


def test_a_report_without_a_catalog_is_refused():
    with pytest.raises(MetadataError, match="report is asked for without a catalog"):
        attach(RunEngine({}), report=True)
