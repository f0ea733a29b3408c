"""What goes wrong around a live callback costs as little as it can."""

import time

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.output import await_outcome

from .live_scan import SETTINGS, Recorder, documents_in_order, make_run, play, until


class Bomb:
    name = "bomb"

    def __init__(self):
        self.calls = 0

    def __call__(self, update):
        self.calls += 1
        raise RuntimeError("no disk")


def test_raising_sink_is_reported_once_and_harms_nobody(tmp_path, scan, caplog):
    run = make_run(tmp_path, scan)
    before, bomb, after = Recorder(), Bomb(), Recorder()
    with LivePtycho(SETTINGS, sinks=[before, bomb, after]) as live:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(120)
    assert bomb.calls == 1
    assert isinstance(outcome.sink_errors["bomb"], RuntimeError)
    assert caplog.text.count("sink bomb failed") == 1
    assert outcome.update.exit_status == "success"
    for recorder in (before, after):
        kinds = [u.kind for u in recorder.updates]
        assert (kinds[0], kinds[-1], kinds.count("final")) == ("start", "final", 1)
        assert "progress" in kinds
        assert recorder.threads == {f"ptycho-{run.start['uid'][:8]} Recorder" + (" 3" if recorder is after else "")}


def test_aborted_scan_gives_the_partial_result(tmp_path, scan):
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS) as live:
        play(live, documents_in_order(run, scan, n=30, exit_status="abort", reason="beam lost"))
        outcome = live.wait(120)
    assert (outcome.update.exit_status, outcome.update.reason) == ("abort", "beam lost")
    assert outcome.snapshot.seq_nums.tolist() == list(range(1, 31))
    assert (outcome.progress.planned, outcome.progress.taken) == (64, 30)


def test_scan_without_a_single_frame_ends_cleanly(tmp_path, scan):
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS) as live:
        play(live, [("start", run.start), run.stop(exit_status="abort")])
        outcome = live.wait(240)
    assert outcome.snapshot is None
    assert outcome.update.exit_status == "abort"


def test_wrong_descriptor_fails_the_analysis_and_not_the_run_engine(tmp_path, scan):
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS) as live:
        play(live, [("start", run.start), *run.open_stream(stage_y={"units": "mm"}), run.stop()])
        with pytest.raises(PtychoError, match="stage_y has units 'mm'"):
            live.wait(240)
    assert live.result.update.exit_status == "fail"


def test_frames_never_stored_are_listed(tmp_path, scan):
    run = make_run(tmp_path, scan)
    documents = [("start", run.start), *run.open_stream()]
    for row, position in enumerate(scan[0] * 1e6):
        documents.append(run.event(row + 1, row, position))
    documents.append(run.stored(0, 60))
    with LivePtycho(SETTINGS) as live:
        play(live, [*documents, run.stop()])
        outcome = live.wait(120)
    assert outcome.update.missing == (61, 62, 63, 64)
    assert outcome.progress.used == 60


def test_position_that_is_not_a_number_is_rejected_with_its_reason(tmp_path, scan):
    run = make_run(tmp_path, scan)
    documents = [("start", run.start), *run.open_stream()]
    for row, position in enumerate(scan[0] * 1e6):
        documents += [run.stored(row, row + 1), run.event(row + 1, row, position if row != 5 else (np.nan, 1.0))]
    with LivePtycho(SETTINGS) as live:
        play(live, [*documents, run.stop()])
        outcome = live.wait(120)
    assert list(outcome.update.rejected) == [6]
    assert "nan" in outcome.update.rejected[6]
    assert outcome.progress.used == 63


def test_frames_of_a_dim_start_leave_the_image_when_better_ones_come(tmp_path, scan):
    frames = scan[1].copy()
    frames[:4] //= 60
    documents = list(documents_in_order(make_run(tmp_path, scan, frames=frames), scan))
    with LivePtycho(SETTINGS) as live:
        play(live, documents[: 3 + 2 * 4])
        until(live, lambda progress: progress.used == 4 and progress.iteration > 0)
        play(live, documents[3 + 2 * 4 :])
        outcome = live.wait(120)
    assert sorted(outcome.update.rejected) == [1, 2, 3, 4]
    assert outcome.snapshot.seq_nums.tolist() == list(range(5, 65))


def test_other_runs_and_broken_documents_are_borne(tmp_path, scan):
    with LivePtycho(SETTINGS) as live:
        live("start", {"uid": "a", "time": 0.0, "plan_name": "count"})
        live("event", {"descriptor": "unknown"})
        live("start", {"no": "uid"})
        live("nonsense", {})
        assert live.wait(1) is None
        assert live.status() == "no ptychography scan seen yet"


def test_closing_ends_a_run_that_never_stopped(tmp_path, scan):
    run = make_run(tmp_path, scan)
    *documents, _ = documents_in_order(run, scan, n=20)
    with LivePtycho(SETTINGS) as live:
        play(live, documents)
        deadline = time.monotonic() + 60
        while live.progress().used < 20 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert live.result.update.exit_status == "abort"
    assert live.result.progress.used == 20


def test_catalog_that_takes_no_results_is_told_once(tmp_path, scan, caplog):
    class Refusing:
        results_dir = tmp_path

        def result_writer(self):
            raise RuntimeError("the server is gone")

    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS, catalog=Refusing()) as live:
        play(live, documents_in_order(run, scan))
        assert live.wait(240).progress.used == 64
        assert isinstance(live.errors["storing results: RuntimeError"], RuntimeError)
    assert [r.getMessage() for r in caplog.records] == ["storing results: RuntimeError: the server is gone"]


def test_darks_that_cannot_be_read_do_not_stop_the_analysis(tmp_path, scan):
    class Broken:
        results_dir = tmp_path

        def result_writer(self):
            return lambda name, doc: None

        def find_darks(self, uid):
            raise OSError("disk on fire")

    run = make_run(tmp_path, scan, dark_uid="gone")
    with LivePtycho(SETTINGS, catalog=Broken()) as live:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(120)
    assert outcome.progress.used == 64
    assert "darks of run gone cannot be read (disk on fire); going on without" in outcome.update.messages[0]


def test_ctrl_c_after_the_last_frame_ends_with_what_there_is(tmp_path, scan, monkeypatch):
    """A million passes were asked for; the result comes at once, with the resolution as far as it is known."""
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS.with_changes(passes=1_000_000, frc=True, **{"solver.frc_passes": 1000})) as live:
        play(live, documents_in_order(run, scan))
        wait, calls = live.wait, []

        def interrupted_once(timeout=None):
            calls.append(timeout)
            if len(calls) == 1:
                while (progress := live.progress()) is None or progress.used < 64 or progress.iteration < 3:
                    time.sleep(0.01)
                raise KeyboardInterrupt
            return wait(timeout)

        monkeypatch.setattr(live, "wait", interrupted_once)
        outcome, ended_early = await_outcome(live, 60)
    assert ended_early and outcome.update.exit_status == "success"
    assert outcome.progress.used == 64
    assert np.isfinite(outcome.snapshot.residual)
    assert outcome.snapshot.iteration < 100_000 and outcome.progress.half_passes < 1000
