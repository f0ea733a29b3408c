"""Scans and results written into the catalog."""

import json
import threading
import time

import h5py
import numpy as np
import pytest

from bluesky_ptycho.catalog import (
    frames_uri,
    list_runs,
    open_catalog,
)
from bluesky_ptycho.errors import PtychoError
from tests.stored import numbered_frames, scan_documents, store_result, store_scan


def test_a_scan_counts_at_once(catalog):
    for number in range(3):
        assert len(catalog) == number
        assert repr(catalog).endswith(f": {number} scan>" if number == 1 else f": {number} scans>")
        store_scan(catalog, n_darks=0)


@pytest.mark.parametrize("exposures", [(0.1,), (0.1, 0.02)])
def test_each_stream_reads_the_frames_of_its_file(catalog, exposures):
    k = len(exposures)
    run = catalog[store_scan(catalog, exposures_s=exposures)["uid"]]
    for stream, n, seed in (("dark", 2, 1), ("primary", 6, 2)):
        expected = numbered_frames(n * k, seed)
        stored = run[stream]["cam_image"]
        np.testing.assert_array_equal(stored.read(), expected.reshape(n, k, 16, 16))
        np.testing.assert_array_equal(stored[1, 0], expected[k])
        asset = frames_uri(run, stream)
        with h5py.File(asset.uri.removeprefix("file://localhost")) as file:
            np.testing.assert_array_equal(file[asset.dataset], expected)
        np.testing.assert_array_equal(run[stream]["cam_frame_index"].read(), np.arange(n) * k)


def test_a_frames_directory_that_could_not_be_read_back_is_refused(catalog, tmp_path):
    outside = tmp_path / "elsewhere"
    with pytest.raises(PtychoError, match=r"elsewhere cannot be read back by catalog .*frames="):
        catalog.require_readable(outside)
    catalog.require_readable(catalog.frames_dir / "2026-3")


def test_outside_frames_are_readable_once_named_and_stay_so(catalog_dir, tmp_path):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    with open_catalog(catalog_dir, frames=[outside]) as catalog:
        catalog.require_readable(outside)
        writer = catalog.raw_writer()
        for name, doc in scan_documents(outside):
            writer(name, doc)
    with open_catalog(catalog_dir) as catalog:
        stored = catalog[-1]["primary"]["cam_image"].read()
    np.testing.assert_array_equal(stored[:, 0], numbered_frames(6, 2))


def test_waiting_rows_are_written_after_a_while(catalog):
    writer = catalog.raw_writer(batch=1000, flush_s=0.05)
    documents = list(scan_documents(catalog.frames_dir))
    for name, doc in documents[:-1]:
        writer(name, doc)
    time.sleep(0.06)
    slow = catalog.raw_writer(batch=1000, flush_s=1000.0)
    others = list(scan_documents(catalog.frames_dir))
    for name, doc in others[:-1]:
        slow(name, doc)
    assert "internal" not in catalog[others[0][1]["uid"]]["primary"].base
    writer(*documents[-2])
    run = catalog[documents[0][1]["uid"]]
    assert len(run["primary"]["cam_frame_index"].read()) >= 6
    assert run["primary"]["cam_image"].shape[0] >= 6


def test_a_late_stop_document_does_not_count_the_last_frames_twice(catalog):
    writer = catalog.raw_writer(batch=1000, flush_s=1.0)
    *documents, stop = scan_documents(catalog.frames_dir, n_darks=0)
    for name, doc in documents:
        writer(name, doc)
    time.sleep(1.05)
    writer(*stop)
    assert catalog[-1]["primary"]["cam_image"].shape[0] == 6


def test_documents_that_the_server_refuses_are_kept_and_the_scan_goes_on(catalog):
    documents = list(scan_documents(catalog.frames_dir))
    for _ in range(2):  # the second time the run exists already
        writer = catalog.raw_writer()
        for name, doc in documents:
            writer(name, doc)
    (kept,) = catalog.backup_dir.iterdir()
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [lines[0]["name"], lines[-1]["name"]] == ["start", "stop"] and len(lines) == len(documents)
    np.testing.assert_array_equal(catalog[-1]["primary"]["cam_frame_index"].read(), np.arange(6))


@pytest.mark.slow
def test_two_threads_write_at_the_same_time(catalog):
    start = store_scan(catalog, scan_id=1)
    errors = []

    def results():
        try:
            for _ in range(2):
                store_result(catalog, start)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=results)
    thread.start()
    for scan_id in range(2, 4):
        store_scan(catalog, scan_id=scan_id)
    thread.join()
    assert not errors
    rows = list_runs(catalog)
    assert [row.scan_id for row in rows] == [3, 2, 1]
    assert [len(row.reconstructions) for row in rows] == [0, 0, 2]


def test_a_run_engine_writes_into_it(catalog):
    from bluesky import RunEngine
    from bluesky.plans import scan
    from ophyd.sim import det, motor

    engine = RunEngine()
    engine.subscribe(catalog.raw_writer())
    (uid,) = engine(scan([det], motor, 0, 1, 4))
    assert catalog[-1].start["uid"] == uid
    np.testing.assert_allclose(catalog[uid]["primary"]["motor"].read(), np.linspace(0, 1, 4))


@pytest.mark.parametrize("listened", [False, True])
def test_the_end_of_each_table_is_told_where_somebody_may_listen(catalog, monkeypatch, listened):
    """Those are a request each, which a result would wait for; a server with listeners must have them."""
    asked = []
    client = catalog.raw.context.http_client
    delete = client.delete
    monkeypatch.setattr(client, "delete", lambda url, **options: asked.append(url) or delete(url, **options))
    if listened:
        monkeypatch.setattr(client.app.state.root_tree.context, "webhook_dispatcher", _Dispatcher())
    store_scan(catalog)
    assert any("/stream/close/" in str(url) for url in asked) == listened


class _Dispatcher:
    """Of a server with webhooks, which need a data base of their own."""

    async def dispatch(self, event, node_id):
        pass
