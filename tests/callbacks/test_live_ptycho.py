import dataclasses
import gc
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.errors import NotFoundError, PtychoError
from bluesky_ptycho.output import await_outcome
from bluesky_ptycho.recon import IncrementalSolver
from bluesky_ptycho.scan_plan import Illumination

from .compose import ComposedRun, small_plan
from .small_data import small_scan

SETTINGS = LiveSettings(frc=False, progress_interval_s=0.05, snapshot_interval_s=0.05)


@pytest.fixture(scope="module")
def scan():
    return small_scan()


def make_run(tmp_path, scan, *, frames=None, **fields):
    positions_m, patterns, _, _ = scan
    light = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=60e-6, defocus_m=10e-6)
    plan = small_plan(positions_m, shape=(64, 64), trajectory="list", illumination=light, **fields)
    return ComposedRun(plan, tmp_path / "frames.h5", patterns if frames is None else frames)


def documents_in_order(run, scan, n=None, **stop):
    positions_um = scan[0][:n] * 1e6
    yield ("start", run.start)
    yield from run.open_stream()
    for row, position in enumerate(positions_um):
        yield run.stored(row, row + 1)
        yield run.event(row + 1, row, position)
    yield run.stop(**stop)


def play(live, documents):
    for name, doc in documents:
        live(name, doc)


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


class Recorder:
    """A sink that remembers what it was told, and in which thread."""

    def __init__(self):
        self.updates = []
        self.threads = set()

    def __call__(self, update):
        self.updates.append(update)
        self.threads.add(threading.current_thread().name)


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


def test_updates_cannot_be_changed_by_a_sink(tmp_path, scan):
    recorder = Recorder()
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS, sinks=[recorder]) as live:
        play(live, documents_in_order(run, scan))
        live.wait(120)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recorder.updates[0].kind = "final"


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
        outcome = live.wait(60)
    assert outcome.snapshot is None
    assert outcome.update.exit_status == "abort"


def test_wrong_descriptor_fails_the_analysis_and_not_the_run_engine(tmp_path, scan):
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS) as live:
        play(live, [("start", run.start), *run.open_stream(stage_y={"units": "mm"}), run.stop()])
        with pytest.raises(PtychoError, match="stage_y has units 'mm'"):
            live.wait(60)
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


def test_other_runs_and_broken_documents_are_borne(tmp_path, scan):
    with LivePtycho(SETTINGS) as live:
        live("start", {"uid": "a", "time": 0.0, "plan_name": "count"})
        live("event", {"descriptor": "unknown"})
        live("start", {"no": "uid"})
        live("nonsense", {})
        assert live.wait(1) is None
        assert live.status() == "no ptychography scan seen yet"


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
        assert live.wait(60).progress.used == 64
        assert isinstance(live.errors["storing results: RuntimeError"], RuntimeError)
    assert [r.getMessage() for r in caplog.records] == ["storing results: RuntimeError: the server is gone"]


def test_sinks_are_found_by_name():
    assert [type(sink).__name__ for sink in LivePtycho(sinks=["progress_bar"]).sinks] == ["ProgressBar"]
    with pytest.raises(NotFoundError, match=r"sink 'printer' is not known; known: .*progress_bar"):
        LivePtycho(sinks=["printer"])


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


def test_frames_and_threads_of_a_finished_run_are_given_back_at_once(tmp_path, scan):
    run = make_run(tmp_path, scan)
    gc.collect()
    before = set(threading.enumerate())
    gc.disable()
    try:
        with LivePtycho(SETTINGS) as live:
            play(live, documents_in_order(run, scan))
            live.wait(120)
            assert not [o for o in gc.get_objects() if isinstance(o, IncrementalSolver)]
            assert not set(threading.enumerate()) - before
    finally:
        gc.enable()


def test_ctrl_c_after_the_last_frame_ends_with_what_there_is(tmp_path, scan, monkeypatch):
    """A million passes were asked for; the result comes at once, whole but for the FRC."""
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS.with_changes(passes=1_000_000, frc=True)) as live:
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
    assert np.isfinite(outcome.snapshot.residual) and outcome.snapshot.frc is None
    assert outcome.snapshot.iteration < 100_000
