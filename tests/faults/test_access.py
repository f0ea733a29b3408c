"""Results stay under the access of the scan that they were made of, and take nothing from another proposal's."""

from pathlib import Path

import pytest

from bluesky_ptycho import LivePtycho
from bluesky_ptycho.callbacks.results import CARRIED
from bluesky_ptycho.replay import replay
from tests.callbacks.small_data import small_scan

from .scene import SETTINGS, Scan, plain_plan

ACCESS = {
    "data_session": "pass-1",
    "proposal": {"proposal_id": "1", "title": "theirs"},
    "cycle": "2026-3",
    "sample_name": "secret",
}
OTHER = {**ACCESS, "data_session": "pass-2", "proposal": {"proposal_id": "2", "title": "ours"}}
ROW = pytest.mark.fault(
    "35",
    "a result written under another proposal's access",
    bound="tags and data_session carried over; refuses to cross without being told",
)


def scan_documents(directory, **metadata):
    positions_m, frames, _, _ = small_scan(n_side=4)
    Path(directory).mkdir(exist_ok=True)
    return list(Scan(plain_plan(positions_m, (64, 64)), Path(directory), frames, **metadata).documents())


def measure(catalog, settings=SETTINGS, **metadata):
    """Write a scan, reconstruct it live; return the outcome and the result's start document."""
    writer = catalog.raw_writer()
    with LivePtycho(settings, catalog=catalog) as live:
        for name, doc in scan_documents(catalog.frames_dir, **metadata):
            writer(name, doc)
            live(name, doc)
        outcome = live.wait(120)
    return outcome, catalog[outcome.result_uid].metadata["start"]


@ROW
def test_live_and_replayed_results_carry_the_access_of_their_scan(catalog, figure):
    outcome, start = measure(catalog, **ACCESS)
    carried = [key for key in ACCESS if start.get(key) == ACCESS[key]]
    figure(f"{len(carried)} of {len(ACCESS)} keys carried")
    assert carried == list(ACCESS)
    with LivePtycho(SETTINGS, catalog=catalog) as live:
        replay(outcome.raw_uid, catalog, live)
        again = catalog[live.wait(120).result_uid].metadata["start"]
    assert {key: again.get(key) for key in ACCESS} == ACCESS


@ROW
def test_access_tags_are_carried_to_what_writes_the_result(tmp_path, figure):
    documents = []

    class Catalog:
        results_dir = tmp_path

        def result_writer(self):
            return lambda name, doc: documents.append((name, dict(doc)))

    with LivePtycho(SETTINGS, catalog=Catalog()) as live:
        for name, doc in scan_documents(tmp_path, tiled_access_tags=["proposal-1"], **ACCESS):
            live(name, doc)
        live.wait(120)
    start = documents[0][1]
    figure(f"tags carried: {start.get('tiled_access_tags')}")
    assert start["tiled_access_tags"] == ["proposal-1"] and "tiled_access_tags" in CARRIED


@pytest.mark.slow
@ROW
def test_the_probe_of_another_proposal_is_not_taken(catalog, figure):
    last = SETTINGS.replace(first_probe="last")
    theirs, _ = measure(catalog, **ACCESS)
    ours, start = measure(catalog, last, **OTHER)
    figure(f"probe from {ours.update.probe_uid or 'nobody'}")
    assert ours.update.probe_uid is None and start["data_session"] == "pass-2"
    assert "belongs to data_session 'pass-1'; expected 'pass-2'" in " ".join(ours.update.messages)
    same, _ = measure(catalog, last, **OTHER)
    assert same.update.probe_uid == ours.result_uid != theirs.result_uid
