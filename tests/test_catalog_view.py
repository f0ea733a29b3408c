"""A catalog's last scan as a page shows it, while another process measures and reconstructs it."""

from __future__ import annotations

import dataclasses
import logging
import time

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho, LivePtychoFigure
from bluesky_ptycho.callbacks.checkpoints import DIRECTORY
from bluesky_ptycho.callbacks.results import ResultRun
from bluesky_ptycho.callbacks.screens import PageScreen
from bluesky_ptycho.callbacks.updates import Progress
from bluesky_ptycho.catalog_view import CatalogUpdates
from bluesky_ptycho.commands.view import follow
from bluesky_ptycho.errors import NotFoundError, PtychoError
from bluesky_ptycho.io.checkpoint import Checkpoint, write_checkpoint
from bluesky_ptycho.stored_scan import StoredScan
from tests.callbacks.live_scan import SETTINGS, documents_in_order, make_run
from tests.callbacks.small_data import small_scan
from tests.stored import numbered_frames, small_snapshot, store_result, store_scan, update


@pytest.fixture
def seen(monkeypatch):
    """Views that pages were given."""
    views, show = [], PageScreen.show

    def noted(self, view, *, last):
        views.append(view)
        show(self, view, last=last)

    monkeypatch.setattr(PageScreen, "show", noted)
    return views


def wait_for(updates, wanted):
    """Ask until an update is as wanted."""
    for _ in range(2000):
        update = updates.newest()
        if update is not None and wanted(update):
            return update
        time.sleep(0.1)
    pytest.fail("it never came")
    return None


@pytest.mark.slow
def test_a_scan_is_followed_from_its_first_frames_to_its_result(catalog):
    scan = small_scan()
    run, updates = make_run(catalog.frames_dir, scan), CatalogUpdates(catalog)
    with pytest.raises(NotFoundError):
        updates.newest()
    documents = list(documents_in_order(run, scan))
    settings = dataclasses.replace(SETTINGS, checkpoint_interval_s=0.1)
    writer = catalog.raw_writer()
    with LivePtycho(settings, catalog=catalog) as live:
        for name, doc in documents[:-1]:
            writer(name, doc)
            live(name, doc)
        early = wait_for(updates, lambda update: update.snapshot is not None)
        assert early.kind == "snapshot" and early.progress.phase == "live" and early.exit_status == ""
        assert early.geometry == live._running[run.start["uid"]]._geometry
        for take in (writer, live):
            take(*documents[-1])
        outcome = live.wait(200)
    final = wait_for(updates, lambda update: update.kind == "final")
    assert updates.newest() is None  # nothing is new
    assert final.exit_status == "success" and final.progress.used == final.progress.taken == len(scan[0])
    np.testing.assert_array_equal(final.snapshot.object, outcome.snapshot.object)
    np.testing.assert_allclose(final.stxm, outcome.update.stxm)
    np.testing.assert_allclose(
        early.snapshot.positions_m, final.snapshot.positions_m[: len(early.snapshot.positions_m)]
    )


def test_a_scan_without_a_reconstruction_says_what_it_knows(catalog):
    start = store_scan(catalog, close=False)
    update = CatalogUpdates(catalog).newest()
    assert (update.kind, update.snapshot, update.start["uid"]) == ("progress", None, start["uid"])
    assert (update.progress.planned, update.progress.phase) == (6, "live")


def test_a_reconstruction_whose_counters_wait_to_be_written_is_followed(catalog):
    start = store_scan(catalog)
    sink = ResultRun(catalog.result_writer(), catalog.results_dir)
    sink(update("start", start))
    seen = CatalogUpdates(catalog).newest()
    assert (seen.kind, seen.start["uid"], seen.progress.taken) == ("progress", start["uid"], 0)
    with pytest.raises(KeyError):
        catalog.processed[-1]["progress"]["time"]


def early_checkpoint(raw_uid, saved_at):
    """Return a checkpoint after one pass, with an object of 20 x 30 pixels."""
    arrays = {
        "canvas": np.array([20, 30, 0.0, 0.0]),
        "object": np.ones((1, 20, 30), np.complex64),
        "probe": np.ones((1, 16, 16), np.complex64),
        "light": np.ones((20, 30), np.float32),
        "seq_nums": np.array([1]),
        "positions_m": np.zeros((1, 2)),
        "residuals": np.array([0.5]),
    }
    return Checkpoint(raw_uid, arrays, {}, 1, saved_at)


@pytest.mark.slow
def test_a_scan_reconstructed_again_shows_one_result_at_a_time(catalog, seen):
    """The old one whole until the new one has an image; that new one without anything of the old."""
    start, old = store_scan(catalog), small_snapshot()
    store_result(catalog, start, old, progress=Progress(6, taken=6, used=6))
    updates, figure = CatalogUpdates(catalog), LivePtychoFigure("web", port=0)
    follow(updates, figure)
    kept = catalog.results_dir / DIRECTORY / f"{start['uid']}.h5"
    kept.parent.mkdir(parents=True)
    write_checkpoint(kept, early_checkpoint(start["uid"], saved_at=1.0))  # of a session that died long ago
    again = ResultRun(catalog.result_writer(), catalog.results_dir)
    again(update("start", start))
    follow(updates, figure)
    assert dict(seen[-1].facts)["used"] == "6" and seen[-1].snapshot.frc is not None and seen[-1].state == "done"
    np.testing.assert_array_equal(seen[-1].snapshot.object, old.object)
    write_checkpoint(kept, early_checkpoint(start["uid"], saved_at=time.time()))
    follow(updates, figure)
    assert seen[-1].state == "finishing" and not len(seen[-1].resolutions)
    assert seen[-1].snapshot.object.shape == (20, 30) and len(seen[-1].snapshot.residuals) == 1
    kept.unlink()
    again(update("final", start, exit_status="fail", reason="nothing came"))
    follow(updates, figure)
    figure.close()
    np.testing.assert_array_equal(seen[-1].snapshot.object, old.object)
    assert "failed (nothing came); showing" in seen[-1].messages[-1]


@pytest.mark.slow
def test_the_last_scan_is_followed_unless_one_is_named(catalog):
    first = store_scan(catalog)
    following, staying = CatalogUpdates(catalog), CatalogUpdates(catalog, first["uid"])
    assert following.newest().start["uid"] == staying.newest().start["uid"] == first["uid"]
    second = store_scan(catalog, scan_id=2)
    assert following.newest().start["uid"] == second["uid"] and staying.newest() is None
    store_result(catalog, first, small_snapshot())
    assert staying.newest().kind == "final" and following.newest() is None


def test_the_last_raw_frame_of_a_stored_scan_is_shown_if_it_can_be_read(catalog):
    start, snapshot = store_scan(catalog), small_snapshot()
    store_result(catalog, start, snapshot)
    seen = CatalogUpdates(catalog).newest()
    assert seen.newest_point == snapshot.seq_nums.max() == 5
    np.testing.assert_array_equal(seen.newest_raw, numbered_frames(6, seed=2)[4:5])
    (frames,) = catalog.frames_dir.rglob("*_primary.h5")
    frames.unlink()
    seen = CatalogUpdates(catalog).newest()
    assert (seen.kind, seen.newest_point, seen.newest_raw) == ("final", None, None)
    np.testing.assert_array_equal(seen.snapshot.object, snapshot.object)


def test_what_could_not_be_read_is_looked_at_again(catalog, monkeypatch):
    store_result(catalog, store_scan(catalog))
    updates, read = CatalogUpdates(catalog), StoredScan.snapshot
    monkeypatch.setattr(StoredScan, "snapshot", lambda self: (_ for _ in ()).throw(OSError("the disk is away")))
    with pytest.raises(OSError, match="the disk is away"):
        updates.newest()
    monkeypatch.setattr(StoredScan, "snapshot", read)
    assert updates.newest().kind == "final" and updates.newest() is None


def test_the_command_shows_what_is_new_and_bears_a_catalog_that_fails_for_once(catalog, seen, caplog):
    updates, figure = CatalogUpdates(catalog), LivePtychoFigure("web", port=0)
    follow(updates, figure)  # an empty catalog
    store_result(catalog, store_scan(catalog, scan_id=7))
    follow(updates, figure)
    follow(updates, figure)
    figure.close()
    assert [(view.title, view.state) for view in seen] == [("scan 7 gold", "done")]

    class Failing:
        def newest(self):
            raise PtychoError("the server is away")

    with caplog.at_level(logging.WARNING, "bluesky_ptycho"):
        follow(Failing(), figure)
    assert "the server is away" in caplog.text
