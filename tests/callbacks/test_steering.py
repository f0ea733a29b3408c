"""Knobs that are turned while a scan runs: when they count, what is kept of them, and what is refused."""

import json
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.results import ResultRun
from bluesky_ptycho.devices import ReconControl
from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.knobs import Change

from .live_scan import QUICK, Frames, Recorder, documents_in_order, make_run, play, steer, until


class Documents(list):
    def __call__(self, name, doc):
        self.append((name, doc))


@pytest.fixture
def results(tmp_path):
    documents = Documents()
    return documents, ResultRun(documents, tmp_path / "results")


def rows(documents, stream):
    (uid,) = [doc["uid"] for name, doc in documents if name == "descriptor" and doc["name"] == stream]
    return [doc for name, doc in documents if name == "event" and doc["descriptor"] == uid]


@pytest.mark.parametrize("process", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_changes_count_at_once_and_each_is_stored(tmp_path, scan, results, process):
    documents, sink = results
    recon, watch = ReconControl(), Recorder()
    settings = QUICK.with_changes(**{"solver.probe_start": 2})
    with LivePtycho(settings, sinks=[sink, watch], control=recon, process=process) as live:
        assert recon.probe_start.get() == 2
        outcome = steer(
            live,
            make_run(tmp_path, scan),
            scan,
            {
                16: lambda: recon.modes.put(2),
                32: lambda: recon.algorithm.put("raar:4,lsqml"),
                40: lambda: recon.beta.put(0.8),
                48: lambda: recon.reset.put(True),
            },
        )
    events = rows(documents, "settings")
    assert [event["data"]["version"] for event in events] == [1, 2, 3, 4]
    assert [json.loads(event["data"]["changed"]) for event in events] == [
        {"solver.modes": 2},
        {"solver.algorithm": "raar:4,lsqml"},
        {"solver.relaxation": 0.8},
        {"reset": True},
    ]
    assert [event["data"]["frames_used"] for event in events] == [16, 32, 40, 48]
    assert all(before["time"] <= after["time"] for before, after in pairwise(events))
    last = json.loads(events[-1]["data"]["settings"])
    assert (last["solver"]["modes"], last["solver"]["relaxation"], last["solver"]["probe_start"]) == (2, 0.8, 2)
    assert outcome.update.settings == last
    assert outcome.snapshot.settings["algorithm"] == "raar:4,lsqml" and len(outcome.snapshot.probe) == 2
    start = next(doc for name, doc in documents if name == "start")
    assert start["settings"] == settings.to_dict(), "version 0"
    (result,) = rows(documents, "primary")
    assert result["data"]["settings_version"] == 4
    versions = [u.snapshot.settings_version for u in watch.updates if u.snapshot is not None]
    assert versions == sorted(versions) and versions[-1] == 4
    assert all(len(u.changes) == u.progress.settings_version for u in watch.updates)
    assert outcome.progress.used == 64 and np.isfinite(outcome.snapshot.residual)
    assert live.settings.to_dict() == last, "the next scan starts with them"


def test_a_run_without_changes_has_no_such_stream(tmp_path, scan, results):
    documents, sink = results
    with LivePtycho(QUICK, sinks=[sink], control=ReconControl()) as live:
        play(live, documents_in_order(make_run(tmp_path, scan), scan))
        live.wait(120)
    assert "settings" not in [doc["name"] for name, doc in documents if name == "descriptor"]
    (result,) = rows(documents, "primary")
    assert result["data"]["settings_version"] == 0


def test_what_is_refused_leaves_the_scan_alone(tmp_path, scan):
    recon = ReconControl()
    run = make_run(tmp_path, scan)
    with LivePtycho(QUICK, control=recon) as live:
        documents = list(documents_in_order(run, scan))
        play(live, documents[:40])
        with pytest.raises(SettingsError, match=r"recon\.beta.*0 <= value <= 1,"):
            recon.beta.put(7)
        # Out of the image, which only the analysis knows.
        recon.centre.put([500.0, 32.0])
        play(live, documents[40:])
        outcome = live.wait(120)
    assert outcome.progress.used == 64 and outcome.update.changes == ()
    (message,) = [m for m in outcome.update.messages if "optical_centre" in m]
    assert "cannot be had in this scan, which goes on as it was" in message and "(64, 64)" in message


def test_paused_frames_are_taken_and_no_pass_is_made(tmp_path, scan):
    recon = ReconControl()
    recon.paused.put(True)
    run = make_run(tmp_path, scan)
    documents = list(documents_in_order(run, scan))
    with LivePtycho(QUICK, control=recon) as live:
        play(live, documents[:-1])
        until(live, lambda progress: progress.used == 64)
        assert (live.progress().iteration, live.progress().phase) == (0, "paused")
        recon.paused.put(False)
        until(live, lambda progress: progress.iteration > 0)
        recon.paused.put(True)
        until(live, lambda progress: progress.phase == "paused")
        live(*documents[-1])
        outcome = live.wait(120)  # the end of the scan ends the pause
    assert outcome.snapshot.iteration >= QUICK.passes
    assert [change.changed for change in outcome.update.changes] == [{"paused": p} for p in (True, False, True)]


def test_with_another_centre_it_is_as_if_the_frames_had_been_cleaned_so_from_the_beginning(tmp_path, scan):
    centre = [35.0, 30.0]
    ends = []
    for at_once in (True, False):
        recon, watch = ReconControl(), Frames()
        settings = QUICK.with_changes(**{"preprocess.optical_centre": centre}) if at_once else QUICK
        (tmp_path / str(at_once)).mkdir()
        run = make_run(tmp_path / str(at_once), scan)
        with LivePtycho(settings, control=recon, sinks=[watch]) as live:
            acts = {} if at_once else {40: partial(recon.centre.put, centre)}
            ends.append((steer(live, run, scan, acts), watch.newest))
    (first, frames), (second, again) = ends
    assert frames.keys() == again.keys() == set(range(1, 65))
    for seq_num, amplitude in frames.items():
        np.testing.assert_array_equal(amplitude, again[seq_num])
    assert second.snapshot.residual == pytest.approx(first.snapshot.residual, rel=0.1)
    (change,) = second.update.changes
    assert (change.changed, change.frames_used) == ({"preprocess.optical_centre": centre}, 40)


def test_rejected_frames_come_back_with_another_threshold(tmp_path, scan):
    recon, frames = ReconControl(), scan[1].copy()
    frames[5] = np.random.default_rng(0).binomial(frames[5], 0.01)
    documents = list(documents_in_order(make_run(tmp_path, scan, frames=frames), scan))
    with LivePtycho(QUICK, control=recon) as live:
        play(live, documents[:-1])
        until(live, lambda progress: (progress.used, progress.rejected) == (63, 1))
        recon.min_relative_flux.put(0.0)
        until(live, lambda progress: (progress.used, progress.rejected) == (64, 0))
        live(*documents[-1])
        assert live.wait(120).progress.used == 64


@pytest.mark.slow
def test_what_was_changed_outlives_the_process_of_the_analysis(tmp_path, scan, results):
    documents, sink = results
    recon = ReconControl()
    stream = list(documents_in_order(make_run(tmp_path, scan), scan))
    with LivePtycho(QUICK, sinks=[sink], control=recon, process=True) as live:
        play(live, stream[:83])
        until(live, lambda progress: progress.used == 40)
        recon.modes.put(2)
        recon.reset.put(True)
        until(live, lambda progress: progress.settings_version == 2 and progress.iteration > 0)
        (analysis,) = live._running.values()
        analysis._life.kill()
        recon.step.put(0.7)
        play(live, stream[83:])
        outcome = live.wait(240)
    assert any("is started again" in message for message in outcome.update.messages)
    assert [event["data"]["version"] for event in rows(documents, "settings")] == [1, 2, 3]
    assert [change.changed for change in outcome.update.changes] == [
        {"solver.modes": 2},
        {"reset": True},
        {"solver.step": 0.7},
    ]
    assert (outcome.snapshot.settings["modes"], outcome.snapshot.settings["step"]) == (2, 0.7)
    assert outcome.progress.used == 64 and len(outcome.snapshot.probe) == 2


def test_a_replay_counts_passes_from_change_to_change(tmp_path, scan):
    """A live run has more passes behind it at a number of frames than its replay, which takes them at once."""
    script = [
        Change(version, changed, {}, 20, iteration, 0.0)
        for version, changed, iteration in ((1, {"solver.modes": 2}, 60), (2, {"solver.step": 0.8}, 60),
                                            (3, {"reset": True}, 63), (4, {"solver.momentum": 0.5}, 2))
    ]  # fmt: skip
    with LivePtycho(QUICK, script=script) as live:
        play(live, documents_in_order(make_run(tmp_path, scan), scan))
        changes = live.wait(120).update.changes
    assert [change.frames_used for change in changes] == [20] * 4
    first = changes[0].iteration
    assert 0 < first < 60, "the frames had all their passes before"
    assert [change.iteration for change in changes] == [first, first, first + 3, 2]
