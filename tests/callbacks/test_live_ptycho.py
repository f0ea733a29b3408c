import dataclasses
import gc
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.live_ptycho import KEPT_OUTCOMES
from bluesky_ptycho.errors import NotFoundError
from bluesky_ptycho.recon import IncrementalSolver

from .live_scan import QUICK, SETTINGS, Recorder, documents_in_order, make_run, play, until


def relative_difference(a, b):
    """Norm of the difference of two objects, up to a global phase."""
    phase = np.vdot(b, a)
    return np.linalg.norm(a * np.conj(phase) / abs(phase) - b) / np.linalg.norm(b)


def test_scan_becomes_the_known_object(tmp_path, scan):
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS) as live:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(120)
    assert outcome.raw_uid == run.start["uid"]
    assert outcome.update.exit_status == "success"
    assert (outcome.progress.taken, outcome.progress.used, outcome.progress.rejected) == (64, 64, 0)
    snapshot = outcome.snapshot
    corners = np.round(snapshot.canvas.corners_px(scan[0])).astype(int)
    low = corners.min(axis=0)
    size = scan[2].shape[0]
    found = snapshot.object[low[0] : low[0] + size, low[1] : low[1] + size][28:-28, 28:-28]
    known = scan[2][28:-28, 28:-28]
    scale = np.vdot(known, found) / np.vdot(known, known)
    assert np.linalg.norm(found / scale - known) / np.linalg.norm(known) < 0.15
    assert snapshot.residual == pytest.approx(outcome.progress.residual)


def test_frames_are_cleaned_by_a_given_executor_which_stays(tmp_path, scan):
    names = set()

    class Noting(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            names.add(fn.__name__)
            return super().submit(fn, *args, **kwargs)

    with Noting(2) as pool, LivePtycho(SETTINGS, executor=pool) as live:
        play(live, documents_in_order(make_run(tmp_path, scan), scan))
        assert live.wait(120).progress.used == 64
        assert names == {"clean_chunk"}
        assert pool.submit(len, "left").result() == 4


def test_order_of_arrival_does_not_change_the_data_set(tmp_path, scan):
    outcomes = []
    for shuffle in (False, True):
        run = make_run(tmp_path, scan)
        start, *middle, stop = documents_in_order(run, scan)
        head, body = middle[:2], middle[2:]
        if shuffle:
            random.Random(3).shuffle(body)
        with LivePtycho(SETTINGS) as live:
            play(live, [start, *head, *body, stop])
            outcomes.append(live.wait(120))
    ordered, shuffled = (o.snapshot for o in outcomes)
    assert np.array_equal(ordered.seq_nums, shuffled.seq_nums)
    assert np.allclose(ordered.positions_m, shuffled.positions_m)
    assert shuffled.residual == pytest.approx(ordered.residual, rel=0.1)
    inner = np.s_[40:-40, 40:-40]
    assert relative_difference(shuffled.object[inner], ordered.object[inner]) < 0.15


def test_event_sent_again_after_a_rewind_replaces_the_first(tmp_path, scan):
    positions, patterns, _, _ = scan
    frames = np.concatenate([patterns[:10], np.full_like(patterns[:1], 9), patterns[10:]])
    run = make_run(tmp_path, scan, frames=frames)
    documents = [("start", run.start), *run.open_stream()]
    rows = [*range(10), *range(11, 65)]  # row 10 was taken, then the RunEngine rewound
    documents += [run.stored(10, 11), run.event(11, 10, positions[3] * 1e6)]
    for seq_num, (row, position) in enumerate(zip(rows, positions, strict=True), start=1):
        documents += [run.stored(row, row + 1), run.event(seq_num, row, position * 1e6)]
    with LivePtycho(SETTINGS) as live:
        play(live, [*documents, run.stop()])
        snapshot = live.wait(120).snapshot
    assert snapshot.seq_nums.tolist() == list(range(1, 65))
    assert np.allclose(snapshot.positions_m, positions, atol=1e-12)


def test_frames_that_come_late_get_as_many_passes(tmp_path, scan):
    """As in a replay, where all come at once: of 8 x 64 visits, not 9 x 32 have been made when the rest comes."""
    documents = list(documents_in_order(make_run(tmp_path, scan), scan))
    with LivePtycho(QUICK.with_changes(**{"solver.tail_passes": 0})) as live:
        play(live, documents[: 3 + 2 * 32])
        until(live, lambda progress: progress.used == 32 and progress.iteration >= QUICK.passes)
        play(live, documents[3 + 2 * 32 :])
        outcome = live.wait(120)
    assert outcome.snapshot.iteration >= QUICK.passes + 4


def test_updates_cannot_be_changed_by_a_sink(tmp_path, scan):
    recorder = Recorder()
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS, sinks=[recorder]) as live:
        play(live, documents_in_order(run, scan))
        live.wait(120)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recorder.updates[0].kind = "final"


def test_two_interleaved_runs_do_not_mix(tmp_path, scan):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    runs = [make_run(tmp_path / name, scan) for name in "ab"]
    with LivePtycho(SETTINGS) as live:
        streams = [documents_in_order(runs[0], scan), documents_in_order(runs[1], scan, n=40)]
        while streams:
            for stream in list(streams):
                document = next(stream, None)
                if document is None:
                    streams.remove(stream)
                else:
                    live(*document)
        live.wait(120)
        used = [live.outcome(run.start["uid"]).progress.used for run in runs]
    assert used == [64, 40]


def test_sinks_are_found_by_name():
    assert [type(sink).__name__ for sink in LivePtycho(sinks=["progress_bar"]).sinks] == ["ProgressBar"]
    with pytest.raises(NotFoundError, match=r"sink 'printer' is not known; known: .*progress_bar"):
        LivePtycho(sinks=["printer"])


def test_frames_and_threads_of_a_finished_run_are_given_back_at_once(tmp_path, scan):
    def solvers():
        # Of the type: isinstance would ask dead weak references of other tests for their class.
        return {id(o) for o in gc.get_objects() if issubclass(type(o), IncrementalSolver)}

    run = make_run(tmp_path, scan)
    gc.collect()
    before = solvers(), set(threading.enumerate())
    gc.disable()
    try:
        with LivePtycho(SETTINGS) as live:
            play(live, documents_in_order(run, scan))
            live.wait(120)
            assert not solvers() - before[0]
            assert not set(threading.enumerate()) - before[1]
    finally:
        gc.enable()


def test_a_session_remembers_the_newest_outcomes_only(tmp_path, scan):
    uids = []
    with LivePtycho(QUICK) as live:
        for _ in range(KEPT_OUTCOMES + 2):
            run = make_run(tmp_path, scan)
            play(live, documents_in_order(run, scan, n=4))
            live.wait(120)
            uids.append(run.start["uid"])
        assert [live.outcome(uid) is not None for uid in uids] == [False] * 2 + [True] * KEPT_OUTCOMES


def test_waiting_for_a_run_that_has_just_ended_waits_for_its_memory(tmp_path, scan, monkeypatch):
    closing, may_close = threading.Event(), threading.Event()
    close = IncrementalSolver.close

    def close_late(solver):
        closing.set()
        assert may_close.wait(240)
        close(solver)

    monkeypatch.setattr(IncrementalSolver, "close", close_late)
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS) as live:
        play(live, documents_in_order(run, scan))
        assert closing.wait(120)
        assert live.outcome(run.start["uid"]) is not None
        with pytest.raises(TimeoutError):
            live.wait(0.01)
        may_close.set()
        assert live.wait(120) is live.outcome(run.start["uid"])
