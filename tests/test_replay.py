"""Stored runs sent through a callback again."""

import h5py
import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from bluesky_ptycho.errors import NotFoundError
from bluesky_ptycho.replay import replay
from tests.callbacks.compose import DATASET, ComposedRun, small_plan
from tests.stored import POSITIONS, numbered_frames, scan_documents, store_scan


def replayed(uid, catalog):
    documents = []
    found = replay(uid, catalog, lambda name, doc: documents.append((name, doc)))
    return found, documents


def of(documents, kind):
    return [doc for name, doc in documents if name == kind]


def test_a_replay_says_what_was_measured(catalog):
    measured = list(scan_documents(catalog.frames_dir, exposures_s=(0.1, 0.01), scan_id=4))
    writer = catalog.raw_writer()
    for name, doc in measured:
        writer(name, doc)
    uid, documents = replayed(4, catalog)
    for name, doc in documents:
        assert type(doc) is dict
        schema_validators[DocumentNames[name]].validate(doc)
    assert [documents[0][0], documents[-1][0]] == ["start", "stop"]
    assert of(documents, "start") == of(measured, "start") and uid == measured[0][1]["uid"]
    assert of(documents, "stop") == of(measured, "stop")

    live, stored = ({d["uid"]: d["name"] for d in of(docs, "descriptor")} for docs in (measured, documents))
    assert live == stored

    def rows(docs):
        return sorted((live[d["descriptor"]], d["seq_num"], d["data"].items()) for d in of(docs, "event"))

    assert [(s, n, dict(d)) for s, n, d in rows(documents)] == [(s, n, dict(d)) for s, n, d in rows(measured)]
    sources = {d["uid"]: (d["data_key"], d["uri"], d["parameters"]["dataset"]) for d in of(measured, "stream_resource")}
    again = {d["uid"]: (d["data_key"], d["uri"], d["parameters"]["dataset"]) for d in of(documents, "stream_resource")}
    assert sorted(sources.values()) == sorted(again.values())
    counted = {live[d["descriptor"]]: d["indices"] for d in of(documents, "stream_datum")}
    assert counted == {"dark": {"start": 0, "stop": 2}, "primary": {"start": 0, "stop": 6}}


def test_after_a_rewind_the_last_event_of_a_point_counts(catalog):
    """Points 5 and 6 are measured again; their frames are rows 6 and 7."""
    path = catalog.frames_dir / "rewound.h5"
    run = ComposedRun(small_plan(POSITIONS), path, numbered_frames(8))
    documents = [("start", run.start), *run.open_stream()]
    for row, seq_num in enumerate([1, 2, 3, 4, 5, 6, 5, 6]):
        documents += [run.event(seq_num, row, POSITIONS[seq_num - 1] * 1e6), run.stored(row, row + 1)]
    writer = catalog.raw_writer()
    for name, doc in [*documents, run.stop()]:
        writer(name, doc)
    _, again = replayed(-1, catalog)
    rows = {doc["seq_num"]: doc["data"]["cam_frame_index"] for doc in of(again, "event")}
    assert rows == {1: 0, 2: 1, 3: 2, 4: 3, 5: 6, 6: 7}
    with h5py.File(path, libver="latest", swmr=True) as file:  # as the catalog's own reader does
        np.testing.assert_array_equal(catalog[-1]["primary"]["cam_image"].read()[:, 0], file[DATASET])


def test_a_run_that_was_never_closed_ends_as_aborted(catalog):
    writer = catalog.raw_writer(flush_s=0.0)
    for name, doc in scan_documents(catalog.frames_dir, close=False):
        writer(name, doc)
    _, documents = replayed(-1, catalog)
    name, stop = documents[-1]
    assert name == "stop"
    schema_validators[DocumentNames.stop].validate(stop)
    assert (stop["exit_status"], stop["reason"]) == ("abort", "the stored run was never closed")
    assert len(of(documents, "event")) == 8


def test_a_sessions_own_client_serves_and_unknown_runs_are_refused(catalog):
    start = store_scan(catalog, scan_id=1)
    uid, documents = replayed(start["uid"][:8], catalog.raw)
    assert uid == start["uid"] and len(of(documents, "event")) == 8
    with pytest.raises(NotFoundError, match="no scan has the number 7"):
        replay(7, catalog, print)


def test_the_catalog_gives_the_darks_of_an_earlier_run(catalog):
    uid = store_scan(catalog, exposures_s=(0.1, 0.01))["uid"]
    long, short = catalog.find_darks(uid)
    frames = numbered_frames(4, seed=1)
    np.testing.assert_allclose(long.mean, frames[0::2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(short.mean, frames[1::2].mean(axis=0), rtol=1e-6)
    assert (long.exposure_s, short.exposure_s) == (0.1, 0.01)
