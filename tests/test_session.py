"""One line that adds the live reconstruction to a session, and what it leaves open."""

from __future__ import annotations

import time

import psutil
import pytest
from bluesky import RunEngine

from bluesky_ptycho import attach, ptycho_scan
from bluesky_ptycho.errors import MetadataError, NotFoundError, PtychoError, SettingsError
from bluesky_ptycho.sim import make_beamline


@pytest.fixture
def measure(RE, ptycho_beamline):
    """Return a function that measures a short scan which nobody stores unless he is subscribed; `axes` as (y, x)."""
    fccd, stage = ptycho_beamline.fccd, ptycho_beamline.stage

    def scan(axes=(stage.y, stage.x)):
        (uid,) = RE(ptycho_scan(fccd, *axes, width=0.3, height=0.3, step=0.1, exposure=0.005, darks=1))
        return uid

    scan.stage, scan.fccd = stage, fccd
    return scan


def until(true):
    """Wait until something has become true in another thread."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lines(caplog, about):
    """Return the messages that have `about` in them."""
    return [message for message in caplog.messages if about in message]


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


def test_scans_that_nobody_stores_are_told_of_once(RE, catalog, measure, caplog, monkeypatch):
    monkeypatch.setattr("bluesky_ptycho.unstored_scan.PATIENCE_S", 0.0)
    with attach(RE, catalog) as live:
        for _ in range(2):
            measure()
            live.wait(240)
    (told,) = lines(caplog, "raw_writer")
    assert told == (
        f"scan 1 is not in catalog {catalog.name}; unless something else stores it, it is lost: "
        "RE.subscribe(catalog.raw_writer()) stores scans"
    )
    missing = r"no scan -1: the catalog has 0 scans, and 2 results: RE.subscribe\(catalog.raw_writer\(\)\) stores scans"
    with pytest.raises(NotFoundError, match=missing):
        catalog[-1]


def test_the_catalog_is_named_as_it_was_given(RE, catalog_dir, measure, caplog, monkeypatch):
    monkeypatch.setattr("bluesky_ptycho.unstored_scan.PATIENCE_S", 0.0)
    with attach(RE, catalog_dir) as live:
        measure()
        live.wait(240)
    (told,) = lines(caplog, "raw_writer")
    assert f"RE.subscribe(open_catalog({str(catalog_dir)!r}).raw_writer()) stores scans" in told


def test_scans_that_are_stored_are_not_told_of(RE, catalog, measure, caplog):
    RE.subscribe(catalog.raw_writer())
    with attach(RE, catalog) as live:
        measure()
        live.wait(240)
    assert not lines(caplog, "raw_writer")


def test_scans_that_are_stored_late_are_not_told_of(RE, catalog, measure, caplog):
    kept, writer = [], catalog.raw_writer()
    RE.subscribe(lambda name, doc: kept.append((name, doc)))
    with attach(RE, catalog) as live:
        measure()
        live.wait(240)
        time.sleep(1.0)  # another process has its own pace
        for name, doc in kept:
            writer(name, doc)
    assert not lines(caplog, "raw_writer") and len(catalog) == 1


def test_scans_that_the_catalog_refused_are_told_of_as_such(RE, catalog, measure, caplog, monkeypatch):
    def refuse(*given, **options):
        raise OSError("no space left")

    RE.subscribe(catalog.raw_writer())
    monkeypatch.setattr("bluesky_ptycho.unstored_scan.PATIENCE_S", 0.0)
    with attach(RE, catalog) as live:
        with monkeypatch.context() as patch:
            patch.setattr(catalog, "writer_into", refuse)
            uid = measure()
        live.wait(240)
    assert not lines(caplog, "raw_writer") and lines(caplog, f"restore {catalog.backup_dir / uid}")


def test_a_scan_that_is_not_taken_is_told_of_and_has_no_outcome(RE, catalog, measure, caplog):
    stage = measure.stage
    with attach(RE, catalog, axes=(stage.y, stage.x)) as live:
        first = measure()
        assert live.wait(240).raw_uid == first
        measure((stage.x, stage.y))
        told = "scan 2 is not taken: its axes are stage_x, stage_y; attach was told stage_y, stage_x"
        assert lines(caplog, "is not taken") == [told]
        assert live.status() == told
        with pytest.raises(PtychoError, match="scan 2 is not taken"):
            live.wait(240)
        third = measure()
        assert live.wait(240).raw_uid == third
    said = live.status()
    assert said.startswith("scan 3 sample is done: 9/9 points taken") and said.endswith(
        "; closed, it takes no more scans"
    )


def test_a_scan_with_another_detector_is_told_of(RE, measure, caplog):
    with attach(RE, detector="fcd") as live:
        measure()
    assert lines(caplog, "is not taken") == ["scan 1 is not taken: its detector is fccd; attach was told fcd"]
    assert live.result is None


def test_a_scan_that_another_one_takes_is_not_told_of(RE, measure, caplog):
    with attach(RE, detector="fcd") as other, attach(RE, detector=measure.fccd) as live:
        uid = measure()
        assert live.wait(240).raw_uid == uid and other.wait(10) is None
    assert not lines(caplog, "is not taken")


@pytest.mark.slow
def test_to_attach_again_replaces_what_was_attached_before(RE, catalog, measure, capsys):
    first = attach(RE, catalog)
    with attach(RE, catalog) as second:
        assert "what was attached before is closed, so that no scan has two results" in capsys.readouterr().out
        uid = measure()
        assert second.wait(240).raw_uid == uid and first.result is None
        until(lambda: first.is_closed)
    assert len(catalog.processed) == 1


@pytest.mark.slow
def test_what_is_attached_beside_another_one_has_results_of_its_own(RE, catalog, measure, capsys):
    with attach(RE, catalog) as first, attach(RE, catalog, beside=True) as second:
        assert "attach:" not in capsys.readouterr().out
        uid = measure()
        assert first.wait(240).raw_uid == second.wait(240).raw_uid == uid
    assert len(catalog.processed) == 2


def test_what_takes_other_scans_or_has_another_catalog_stays(RE, catalog, capsys):
    alive = [attach(RE, catalog, detector="fcd"), attach(RE, catalog, detector="fccd"), attach(RE)]
    alive.append(attach(RE, catalog, frames_key="eiger_image", position_keys=("stage_y", "stage_x")))
    assert "attach:" not in capsys.readouterr().out and not any(live.is_closed for live in alive)
    for live in alive:
        live.close()
    attach(RE, catalog).close()
    assert "attach:" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_scan_that_is_under_way_is_the_last_of_what_is_replaced(RE, catalog, measure, capsys):
    made, first = [], attach(RE, catalog)

    def attach_again(name, doc):
        if name == "descriptor" and not made:
            made.append(attach(RE, catalog))

    token = RE.subscribe(attach_again)
    uid = measure()
    RE.unsubscribe(token)
    until(lambda: first.is_closed)
    assert "is closed, once its scan is done" in capsys.readouterr().out
    assert first.result.raw_uid == uid and first.result.progress.used == 9
    last = measure()
    with made[0] as second:
        assert second.wait(240).raw_uid == last and first.result.raw_uid == uid
