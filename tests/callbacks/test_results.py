"""Result runs: what is composed, and what the catalog gives back."""

import dataclasses
import errno
import math

import h5py
import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from bluesky_ptycho import __version__, whole_file
from bluesky_ptycho.callbacks.results import ResultRun
from bluesky_ptycho.callbacks.updates import Progress
from bluesky_ptycho.stored_scan import find_scan
from tests.stored import POSITIONS, small_snapshot, store_result, store_scan, update

START = {
    "uid": "aa8f7a4e-0000-4000-8000-000000000000",
    "time": 0.0,
    "scan_id": 12,
    "sample_name": "gold",
    "data_session": "pass-1",
    "proposal": {"proposal_id": 7},
    "cycle": "2026-3",
    "tiled_access_tags": ["pass-1"],
    "ptycho": {"schema": "bluesky_ptycho.scan_plan"},
}


def collect(directory, *updates):
    """Send updates through a result run; return it and its documents."""
    documents = []
    sink = ResultRun(lambda name, doc: documents.append((name, dict(doc))), directory)
    for message in updates:
        sink(message)
    return sink, documents


def of(documents, kind):
    return [doc for name, doc in documents if name == kind]


def test_every_document_is_valid_and_in_order(tmp_path):
    snapshot = small_snapshot()
    counted = Progress(planned=6, taken=6, used=5, rejected=1, iteration=3, residual=0.125)
    _, documents = collect(
        tmp_path,
        update("start", START),
        update("progress", START, progress=counted),
        update("final", START, snapshot, progress=counted, exit_status="success"),
    )
    for name, doc in documents:
        schema_validators[DocumentNames[name]].validate(doc)
    names = [name for name, _ in documents]
    assert names[0] == "start" and names[-1] == "stop"
    assert names.count("stream_resource") == names.count("stream_datum") == 9


def test_start_links_the_scan_and_carries_what_finds_it():
    _, documents = collect("unused", update("final", START, exit_status="fail", reason="no frame"))
    (start,) = of(documents, "start")
    assert start["uid"] != START["uid"]
    assert start["analysis"] == "ptychography"
    assert start["raw_uid"] == start["original_run_uid"] == START["uid"]
    assert start["settings"] == {"solver": {"algorithm": "rpie", "modes": 2}}
    assert start["versions"]["bluesky_ptycho"] == __version__
    assert {"numpy", "scipy", "numba", "bluesky"} <= set(start["versions"])
    for key in ("sample_name", "scan_id", "data_session", "proposal", "cycle", "tiled_access_tags"):
        assert start[key] == START[key]
    assert "ptycho" not in start, "a live callback would take the result for a scan"


def test_progress_has_one_row_for_each_change(tmp_path):
    one, two = Progress(planned=6, taken=1), Progress(planned=6, taken=2, used=1, residual=0.5)
    steps = [
        update(kind, START, progress=p) for kind, p in zip(("start", "progress", "final"), (one, one, two), strict=True)
    ]
    _, documents = collect(tmp_path, *steps)
    rows = [doc["data"] for doc in of(documents, "event")]
    assert [row["frames_taken"] for row in rows] == [1, 2]
    assert math.isnan(rows[0]["residual"]) and rows[1]["residual"] == 0.5


@pytest.mark.parametrize(("status", "reason"), [("abort", "beam lost"), ("fail", "RuntimeError: no")])
def test_a_run_that_ended_badly_keeps_status_and_partial_result(tmp_path, status, reason):
    snapshot = small_snapshot()
    sink, documents = collect(
        tmp_path, update("final", START, snapshot, exit_status=status, reason=reason, missing=(4, 5))
    )
    (stop,) = of(documents, "stop")
    assert (stop["exit_status"], stop["reason"]) == (status, reason)
    assert stop["ptychography"]["missing"] == [4, 5]
    with h5py.File(sink.path) as file:
        np.testing.assert_array_equal(file["/entry/object"][0], snapshot.object)


def test_without_a_snapshot_the_run_still_closes(tmp_path):
    sink, documents = collect(tmp_path, update("start", START), update("final", START, exit_status="abort"))
    assert [doc["name"] for doc in of(documents, "descriptor")] == ["progress"]
    assert of(documents, "stop")[0]["exit_status"] == "abort"
    assert sink.path is None and not list(tmp_path.iterdir())


def test_a_sink_serves_one_run_after_the_other(tmp_path):
    sink, documents = collect(
        tmp_path,
        *(
            update(kind, START, small_snapshot(), exit_status="success")
            for kind in ("start", "final", "start", "final")
        ),
    )
    first, second = of(documents, "start")
    assert first["uid"] != second["uid"] == sink.result_uid
    assert len(list(tmp_path.glob("00012_*.h5"))) == 2


def test_the_file_is_complete_when_it_is_announced(tmp_path):
    seen = []

    def writer(name, doc):
        if name == "stream_resource":
            path = doc["uri"].removeprefix("file://localhost")
            with h5py.File(path) as file:
                seen.append(file[doc["parameters"]["dataset"]].shape)
            assert [p.name for p in tmp_path.iterdir()] == [path.rsplit("/", 1)[1]]

    ResultRun(writer, tmp_path)(update("final", START, small_snapshot(), exit_status="success"))
    assert len(seen) == 9 and seen[0] == (1, 40, 50)


def test_a_full_disk_fails_the_result_and_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole_file.os, "replace", full)
    documents = []
    sink = ResultRun(lambda name, doc: documents.append((name, doc)), tmp_path)
    with pytest.raises(OSError, match="No space left"):
        sink(update("final", START, small_snapshot(), exit_status="success"))
    (stop,) = of(documents, "stop")
    assert stop["exit_status"] == "fail" and "No space left" in stop["reason"]
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    sink(update("final", START, small_snapshot(), exit_status="success"))
    assert of(documents, "stop")[1]["exit_status"] == "success"


def test_a_result_of_one_point_and_one_pass_is_stored(catalog):
    snapshot = small_snapshot()
    one = dataclasses.replace(
        snapshot, positions_m=snapshot.positions_m[:1], seq_nums=snapshot.seq_nums[:1], residuals=snapshot.residuals[:1]
    )
    uid = store_result(catalog, store_scan(catalog, scan_id=3), one)
    assert catalog[uid]["primary"]["seq_nums"].read().tolist() == one.seq_nums.tolist()
    found = find_scan(uid, catalog)
    stored = found.snapshot()
    for name in ("seq_nums", "residuals", "positions_m", "object"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(one, name), err_msg=name)


def test_the_catalog_gives_back_what_was_reconstructed(catalog):
    snapshot = small_snapshot(shape=(1100, 60))
    start = store_scan(catalog, scan_id=3)
    stxm = np.full((1100, 60), 0.5, np.float32)
    stxm[0] = np.nan
    result = catalog[store_result(catalog, start, snapshot, stxm=stxm, rejected={2: "saturated"})]
    primary = result["primary"]
    for name, expected in {
        "object": snapshot.object,
        "probe": snapshot.probe,
        "coverage": snapshot.coverage,
        "stxm": stxm,
        "positions": POSITIONS,
        "seq_nums": snapshot.seq_nums,
        "residual_history": snapshot.residuals,
        "frc_correlation": snapshot.frc["correlation"],
        "frc_half_bit": snapshot.frc["half_bit"],
    }.items():
        stored = primary[name].read()
        assert stored.dtype == expected.dtype, name
        np.testing.assert_array_equal(stored, expected[np.newaxis], err_msg=name)
    np.testing.assert_array_equal(primary["object"][0, 1000:1050, 7:9], snapshot.object[1000:1050, 7:9])
    assert primary["frc_resolution_m"].read()[0] == 12e-9
    assert primary["frc_limit_m"].read()[0] == pytest.approx(0.5 / 6e7)
    assert np.isnan(primary["frc_one_seventh_m"].read()[0])
    assert np.isnan(result["progress"]["residual"].read()).all()
    assert result.stop["ptychography"]["rejected"] == {"2": "saturated"}
    assert result.stop["ptychography"]["frc_one_seventh_m"] is None
    canvas = primary.metadata["configuration"]["canvas"]["data"]
    assert canvas["origin_m"] == list(snapshot.canvas.origin_m)


def test_the_stream_reads_as_a_labelled_data_set(catalog):
    result = catalog[store_result(catalog, store_scan(catalog), small_snapshot(frc=False))]
    data = result["primary"].read()
    assert data["object"].dims[1:] == data["coverage"].dims[1:] == ("y", "x")
    assert data["probe"].dims[1:] == ("mode", "probe_y", "probe_x")
    assert "frc_correlation" not in data
