"""A reconstruction that failed hides no good one: wherever none is named, the newest that holds an image is meant."""

from __future__ import annotations

import logging

import pytest

from bluesky_ptycho.callbacks.results import ResultRun
from bluesky_ptycho.catalog_view import CatalogUpdates
from bluesky_ptycho.cli import main
from bluesky_ptycho.errors import NotFoundError
from bluesky_ptycho.logbook import entries, write_logbook
from bluesky_ptycho.report.contents import read_scan
from bluesky_ptycho.report.tables import frames, heading
from bluesky_ptycho.resuming import _usable_checkpoint
from bluesky_ptycho.stored_scan import find_scan, newest_scan
from tests.stored import store_failure, store_result, store_scan, update

REASON = "mask has shape (10, 10); expected (960, 960)"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hidden(catalog):
    """A scan with two good results and two failed ones after them: uids of the newest of each."""
    start = store_scan(catalog)
    store_result(catalog, start)
    good = store_result(catalog, start)
    store_failure(catalog, start, "another")
    return start["uid"], good, store_failure(catalog, start, REASON)


def test_the_newest_with_an_image_is_taken_and_a_line_says_that_newer_ones_failed(catalog, hidden):
    uid, good, failed = hidden
    scan = newest_scan(catalog)
    assert scan.result.metadata["start"]["uid"] == good
    assert scan.note == f"the newest reconstruction {failed[:8]} failed ({REASON}); showing {good[:8]}"
    assert scan.note in repr(scan) and scan.object.size
    assert read_scan(uid, catalog).result_start["uid"] == good
    (entry,) = entries(catalog)
    assert entry.result.uid == good and entry.thumbnail
    update = CatalogUpdates(catalog).newest()
    assert (update.kind, update.exit_status, update.messages[-1]) == ("final", "success", scan.note)
    assert update.snapshot is not None


def test_the_logbook_says_so_too(catalog, hidden, tmp_path):
    write_logbook(tmp_path / "logbook.html", entries(catalog))
    assert f"newest reconstruction {hidden[2][:8]}: fail" in (tmp_path / "logbook.html").read_text()


@pytest.mark.parametrize("command", [["convert", "--to", "tiff"], ["show"]])
def test_the_commands_take_it_and_say_so(catalog, hidden, workplace, command, caplog):
    name, *more = command
    with caplog.at_level(logging.WARNING, "bluesky_ptycho"):
        output = "out.png" if name == "show" else "out.tiff"
        assert main([name, "-1", *more, "--catalog", catalog.name, "--output", output]) == 0
    assert f"the newest reconstruction {hidden[2][:8]} failed ({REASON}); showing {hidden[1][:8]}" in caplog.text


def test_a_scan_with_failed_ones_alone_says_why_there_is_no_image(catalog, workplace, capsys, caplog):
    failed = store_failure(catalog, store_scan(catalog), REASON)
    scan = newest_scan(catalog)
    why = f"reconstruction {failed[:8]} failed ({REASON})"
    assert f"there is no image: {why}" in repr(scan)
    with pytest.raises(NotFoundError, match="has no reconstruction with an image: reconstruction"):
        scan.snapshot()
    assert main(["convert", "-1", "--to", "tiff", "--catalog", catalog.name]) == 2
    assert why in capsys.readouterr().err
    with caplog.at_level(logging.WARNING, "bluesky_ptycho"):
        assert main(["show", "-1", "--catalog", catalog.name, "--output", "frames.png"]) == 0
    assert f"there is no image: {why}" in caplog.text


def test_a_report_of_a_failed_one_says_what_failed_and_not_that_points_never_came(catalog, hidden):
    scan = read_scan(hidden[2], catalog)
    assert find_scan(hidden[2], catalog).result.metadata["start"]["uid"] == hidden[2]
    assert REASON in heading(scan).text and "the reconstruction failed: there is no image" in heading(scan).text
    assert "points not used when it failed" in frames(scan).text and "never came" not in frames(scan).text


def test_a_finished_scan_has_nothing_to_resume(catalog, hidden, workplace, capsys):
    uid, good, _ = hidden
    n = len(catalog.processed)
    assert main(["resume", "-1", "--catalog", catalog.name]) == 2
    told = capsys.readouterr().err
    assert f"nothing to resume: run {uid[:8]} has been reconstructed as {good[:8]}; bluesky-ptycho replay" in told
    assert len(catalog.processed.new_variation()) == n and not list(workplace.glob("ptycho_resume*"))
    assert main(["resume", "--catalog", catalog.name]) == 0
    assert "nothing to resume: no reconstruction was left behind" in capsys.readouterr().out


def test_without_a_good_result_or_with_one_left_open_it_starts_anew(catalog):
    start, said = store_scan(catalog), []
    store_failure(catalog, start, REASON)
    assert _usable_checkpoint(catalog, start["uid"], said.append) is None
    store_result(catalog, start)
    ResultRun(catalog.result_writer(), catalog.results_dir)(update("start", start))
    assert _usable_checkpoint(catalog, start["uid"], said.append) is None
    assert said == [f"run {start['uid'][:8]} has no checkpoint: the reconstruction starts anew"] * 2
