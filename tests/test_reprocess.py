"""Stored runs reconstructed again: the queue, what results say of it, and whose they are."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.catalog import format_runs, list_runs, open_catalog, search
from bluesky_ptycho.cli import main
from bluesky_ptycho.commands.reprocess import live_changes
from bluesky_ptycho.errors import NotFoundError, PtychoError, SettingsError
from bluesky_ptycho.preprocess.mask import Mask
from bluesky_ptycho.replay import replay
from bluesky_ptycho.reprocess import ReconQueue, State
from bluesky_ptycho.reprocess import queue as queue_module
from bluesky_ptycho.reprocess import requests as requests_module
from bluesky_ptycho.reprocess.requests import differences, make_request
from bluesky_ptycho.reprocess.work import Done, reconstruct_again
from bluesky_ptycho.scan_plan import Illumination
from tests.callbacks.compose import ComposedRun, small_plan
from tests.stored import scan_documents, store_scan

QUICK = LiveSettings().with_changes(passes=2, **{"solver.tail_passes": 1, "solver.frc_passes": 1})
LIT = {"illumination": Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=60e-6, defocus_m=10e-6)}
OTHER = {"data_session": "pass-2", "proposal": 2, "tiled_access_tags": ["pass-2"]}


@pytest.fixture(scope="module")
def stored(blank_catalog, tmp_path_factory):
    """A catalog with scan 1, which has a result of 2 passes and is of proposal 1, and scan 2 of proposal 2."""
    directory = shutil.copytree(blank_catalog, tmp_path_factory.mktemp("again") / "catalog")
    with open_catalog(directory) as catalog:
        store_scan(catalog, scan_id=1, planned=LIT, data_session="pass-1", proposal=1, tiled_access_tags=["pass-1"])
        store_scan(catalog, scan_id=2, planned=LIT, **OTHER)
        with LivePtycho(QUICK, catalog=catalog) as live:
            replay(1, catalog, live)
            live.wait(240)
        yield catalog


@pytest.fixture
def idle(monkeypatch):
    """Let jobs do nothing but wait until they are let go; return the event that does, and the order of their runs."""
    go, order = threading.Event(), []

    def work(catalog, request, tell, cancelled):
        order.append(request.settings.passes)
        tell(1, "at work")
        while not go.wait(0.01):
            if cancelled():
                break
        return Done("0123456789", "success", "", {"frames_used": 6, "frames_taken": 6})

    monkeypatch.setattr(queue_module, "reconstruct_again", work)
    return go, order


def test_a_run_is_done_again_as_before_but_for_what_is_changed(stored):
    (first,) = [run.metadata["start"] for run in stored.processed.values()][:1]
    with ReconQueue(stored) as queue:
        job = queue.submit(1, {"solver.modes": 2, "passes": 3})
        assert queue.wait(240)
    assert (job.state, job.percent) == (State.DONE, 100.0), job.text
    again = stored[job.result_uid]
    start = again.metadata["start"]
    assert start["raw_uid"] == first["raw_uid"]
    assert start["reprocess"] == {
        "first_result": first["uid"],
        "settings_changed": [
            {"name": "solver.modes", "from": 1, "to": 2},
            {"name": "passes", "from": 2, "to": 3},
        ],
    }
    expected = QUICK.with_changes(passes=3, **{"solver.modes": 2})
    assert LiveSettings.from_mapping(start["settings"]) == expected
    assert again["primary"]["probe"].shape[1] == 2
    for name, doc in again.documents():
        schema_validators[DocumentNames[name]].validate(dict(doc))
    assert "scan 1 gold" in repr(job) and "solver.modes 1 → 2, passes 2 → 3" in repr(job)
    (line,) = [line for line in format_runs(list_runs(stored)).splitlines() if job.result_uid[:8] in line]
    assert line.endswith("  solver.modes 1 → 2, passes 2 → 3")


def test_it_is_told_how_far_all_passes_are_those_over_the_half_data_sets_too(stored):
    told = []
    request = make_request(1, stored, {"solver.frc_passes": 200, "progress_interval_s": 0.05}, QUICK)
    done = reconstruct_again(stored, request, lambda passes, text: told.append((passes, text)), lambda: False)
    assert done.status == "success", done.reason
    passes = [passes for passes, _ in told]
    assert passes == sorted(passes) and request.n_passes == 203
    assert 3 < passes[-1] <= 203 and told[-1][1].endswith(f", half data sets {passes[-1] - 3}/200")


def test_a_result_keeps_the_access_of_its_run_and_proposals_are_not_mixed_unless_told(stored):
    n_before = len(stored.processed)
    with ReconQueue(stored) as queue:
        with pytest.raises(PtychoError, match=r"scan 2 gold.*data_session pass-2.*across_proposals"):
            queue.submit_all([1, 2])
        assert queue.jobs == ()
    assert len(stored.processed.new_variation()) == n_before
    with ReconQueue(stored, across_proposals=True) as queue:
        jobs = queue.submit_all([1, 2], settings=QUICK)
        assert queue.wait(240)
    for job, session in zip(jobs, ("pass-1", "pass-2"), strict=True):
        result = stored[job.result_uid]
        assert result.metadata["start"]["data_session"] == session
        assert result.metadata["start"]["proposal"] == int(session[-1])


def test_the_most_urgent_goes_first_and_what_waits_can_be_left_out(stored, idle):
    go, order = idle
    with ReconQueue(stored) as queue:
        running = queue.submit(1, {"passes": 1})
        while running.state is State.WAITING:
            pass
        low, left_out, high = (queue.submit(1, {"passes": n}, priority=p) for n, p in ((20, 0), (30, 9), (40, 5)))
        assert (running.state, low.describe()) == (State.RUNNING, "waiting, priority 0")
        assert 0 < running.percent < 100
        left_out.cancel()
        assert left_out.state is State.CANCELLED
        assert not queue.wait(0.01)
        go.set()
        assert queue.wait(240)
    assert order == [1, 40, 20]
    assert [job.state for job in (running, low, high)] == [State.DONE] * 3


def test_leaving_the_queue_cancels_what_is_in_it(stored, idle):
    with ReconQueue(stored) as queue:
        jobs = queue.submit_all([1, 1])
    assert {job.state for job in jobs} == {State.CANCELLED}


def test_a_running_job_ends_with_what_it_has(stored):
    with ReconQueue(stored) as queue:
        job = queue.submit(1, {"passes": 10**6})
        while job.passes == 0 and not job.is_over:
            job.wait(0.05)
        job.cancel()
        assert job.wait(240)
    assert job.state is State.CANCELLED
    stop = stored[job.result_uid].metadata["stop"]
    assert (stop["exit_status"], stop["reason"]) == ("abort", "cancelled")
    assert stop["ptychography"]["frames_used"] == 6


def test_a_failure_is_told_and_the_others_go_on(stored):
    with ReconQueue(stored) as queue:
        bad = queue.submit(1, {"preprocess.binning": 64.0})
        good = queue.submit(1)
        assert queue.wait(240)
    assert (bad.state, good.state) == (State.FAILED, State.DONE)
    assert bad.text and "failed" in bad.describe()


def test_a_job_that_exits_is_a_failure_and_the_queue_can_be_closed(stored, monkeypatch):
    monkeypatch.setattr(queue_module, "reconstruct_again", lambda *_: sys.exit("a plug-in had enough"))
    with ReconQueue(stored) as queue:
        job = queue.submit(1)
        assert queue.wait(60)
    assert (job.state, job.text) == (State.FAILED, "SystemExit: a plug-in had enough")


@pytest.fixture
def with_results(monkeypatch):
    """Return a catalog of one scan whose results ended so, each with its number of passes."""
    scan = ComposedRun(small_plan([(0.0, 0.0)])).start

    def make(*results):
        runs = [
            SimpleNamespace(
                metadata={
                    "start": {"uid": f"r{passes}", "settings": QUICK.replace(passes=passes).to_dict()},
                    "stop": end and {"exit_status": end, "ptychography": {"frames_used": 0 if passes == 4 else 9}},
                }
            )
            for end, passes in results
        ]
        monkeypatch.setattr(search, "results_of", lambda catalog, uids: iter(runs))
        return {1: SimpleNamespace(metadata={"start": scan}, item={"attributes": {}})}

    return make


@pytest.mark.parametrize(
    ("results", "passes"),
    [
        ([("fail", 5), ("success", 6), ("success", 7)], 6),
        ([(None, 5), ("abort", 6)], 6),
        ([("abort", 4), ("abort", 6)], 6),  # the first has no image
        ([("fail", 5)], LiveSettings().passes),
        ([], LiveSettings().passes),
    ],
)
def test_a_failed_result_is_none_to_start_from(with_results, results, passes):
    catalog = with_results(*results)
    request = make_request(1, catalog, {})
    assert request.settings.passes == passes
    assert request.note.get("first_result") == (f"r{passes}" if passes == 6 else None)


def test_an_algorithm_that_is_gone_can_be_replaced_but_not_run(with_results):
    catalog = with_results(("success", 5))
    result = next(search.results_of(catalog, []))
    result.metadata["start"]["settings"]["solver"]["algorithm"] = "gone"
    assert make_request(1, catalog, {"solver.algorithm": "rpie"}).settings.passes == 5
    with pytest.raises(NotFoundError, match="algorithm 'gone' is not known"):
        make_request(1, catalog, {"passes": 3})


def test_a_mask_is_told_by_its_shape(with_results):
    mask = Mask(np.eye(16) == 0)
    request = make_request(1, with_results(("success", 5)), {"preprocess.mask": mask})
    assert request.describe().endswith("with preprocess.mask unset → a mask of 16 x 16")
    assert request.note["settings_changed"][0]["to"] == mask.packed


def test_a_mask_that_does_not_fit_the_frames_is_refused_and_nothing_is_stored(stored, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mask, n = Mask(np.ones((10, 10))), len(stored.processed)
    np.save("mask.npy", mask.good)
    Path("settings.json").write_text(json.dumps(QUICK.with_changes(**{"preprocess.mask": mask}).to_dict()))
    for arguments, name in (
        (["reprocess", "1", "--mask", "mask.npy"], "mask mask.npy"),
        (["replay", "1", "--settings", "settings.json"], "settings file settings.json: mask"),
        (["resume", "1", "--settings", "settings.json"], "settings file settings.json: mask"),
    ):
        assert main([*arguments, "--catalog", stored.name]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"error: {name} has shape (10, 10); expected (16, 16)" in line
    with LivePtycho(QUICK.with_changes(**{"preprocess.mask": mask}), catalog=stored) as live:
        replay(1, stored, live)
        assert live.wait(60) is None
        assert "mask has shape (10, 10)" in str(live.errors)
    assert len(stored.processed.new_variation()) == n


def test_unknown_runs_and_settings_are_refused_at_once(stored):
    with ReconQueue(stored) as queue:
        with pytest.raises(NotFoundError):
            queue.submit("beef")
        with pytest.raises(SettingsError, match="speed is no setting"):
            queue.submit(1, {"solver.speed": 3})


def test_settings_of_another_version_are_told(stored):
    documents = [
        (name, {**doc, "settings": {"old": 1}} if name == "start" else doc)
        for name, doc in scan_documents(stored.frames_dir)
    ]
    start = {**documents[0][1], "analysis": "ptychography", "raw_uid": stored[2].start["uid"]}
    write = stored.result_writer()
    for name, doc in [("start", start), *documents[1:]]:
        write(name, doc)
    with ReconQueue(stored) as queue, pytest.raises(SettingsError, match=r"another version.*--settings FILE"):
        queue.submit(start["uid"])


def test_settings_that_differ_are_named_with_dots():
    before = {"passes": 4, "solver": {"modes": None, "seed": 0}, "gone": 1}
    after = {"passes": 4, "solver": {"modes": 2, "seed": 0}}
    assert differences(before, after) == [
        {"name": "solver.modes", "from": None, "to": 2},
        {"name": "gone", "from": 1, "to": None},
    ]


def test_what_is_not_set_is_called_so(stored):
    assert make_request(1, stored, {"solver.step": 0.5}).describe().endswith("with solver.step unset → 0.5")
    unfinished = {"name": "solver.modes", "from": None, "to": 2}
    assert requests_module._as_it_was({}, unfinished) == unfinished


def test_the_command_tells_what_became_of_each_run(stored, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "settings.toml"
    file.write_text("passes = 2\nfrc = false\n[solver]\ntail_passes = 0\n")
    arguments = ["--settings", str(file), "--set", "recon.modes=2", "--catalog", stored.name]
    assert main(["reprocess", "1", *arguments]) == 0
    assert stored.processed[-1].start["settings"]["solver"]["modes"] == 2
    out, err = capsys.readouterr()
    assert "scan 1 gold" in out and "done, resolution unknown, 6/6 frames used" in out
    assert "reprocessing: 2/2, " in err
    assert main(["reprocess", "1", "2", *arguments]) == 2
    assert "--across-proposals" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("recon.modes=3", {"solver.modes": 3}),
        ("recon.beta = 0.8", {"solver.relaxation": 0.8}),
        ("recon.centre=none", {"preprocess.optical_centre": None}),
        ("solver.modes=2", {"solver.modes": 2}),
        ("slices=2", {"solver.slices": 2}),
        ("binning=2", {"preprocess.binning": 2}),
        ("passes=4", {"passes": 4}),
    ],
)
def test_settings_are_named_as_they_are_or_as_the_knobs(text, changes):
    assert live_changes([text]) == changes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("solver.mode=2", "--set solver.mode is no setting; did you mean solver.modes?"),
        ("mode=2", "--set mode is no setting; did you mean solver.modes?"),
        ("recon.mode=2", "--set recon.mode is no setting; did you mean recon.modes?"),
        ("solver.beta=1", "--set solver.beta is no setting; did you mean recon.beta?"),
        ("recon.paused=true", "--set recon.paused is no setting; expected recon.algorithm, recon.beta, recon.step, "),
        ("xyzzy=1", "--set xyzzy is no setting; expected backend, "),
        ("solver.modes", "--set is 'solver.modes'; expected NAME=VALUE"),
        ("=2", "--set is '=2'; expected NAME=VALUE"),
    ],
)
def test_a_name_that_is_none_is_met_with_those_like_it(capsys, text, says):
    assert main(["reprocess", "1", "--set", text]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.removeprefix("bluesky-ptycho: error: ").startswith(says)


def test_ctrl_c_ends_the_command_cleanly(stored, idle, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    waits = iter([KeyboardInterrupt])
    wait = ReconQueue.wait

    def interrupted_once(queue, timeout=None):
        for error in waits:
            raise error
        return wait(queue, timeout)

    monkeypatch.setattr(ReconQueue, "wait", interrupted_once)
    assert main(["reprocess", "1", "1", "--catalog", stored.name]) == 130
    out, err = capsys.readouterr()
    assert out.count(": cancelled") == 2
    assert err.splitlines()[-1] == "bluesky-ptycho: interrupted"


@pytest.mark.slow
def test_a_dask_cluster_does_the_same(stored):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        ReconQueue(stored, client=client) as queue,
    ):
        job = queue.submit(1, {"passes": 3}, priority=2)
        assert queue.wait(200)
        assert job.state is State.DONE, job.text
        endless = queue.submit(1, {"passes": 10**6})
        while endless.passes == 0 and not endless.is_over:
            endless.wait(0.05)
        endless.cancel()
        assert endless.wait(100)
    assert endless.state is State.CANCELLED, endless.text
    assert stored[endless.result_uid].metadata["stop"]["exit_status"] == "abort"
    assert stored[job.result_uid].metadata["start"]["reprocess"]["settings_changed"][0]["to"] == 3
