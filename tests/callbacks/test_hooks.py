"""What a session does when a run is finished."""

import threading

import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.errors import PtychoError, SettingsError

from .live_scan import SETTINGS, documents_in_order, make_run, play

FEW = 6


def play_a_run(live, tmp_path, scan, name="run"):
    (tmp_path / name).mkdir()
    run = make_run(tmp_path / name, scan)
    play(live, documents_in_order(run, scan, FEW))
    return run.start["uid"]


def test_each_is_called_once_for_each_run_with_its_outcome(tmp_path, scan):
    told, threads = {"a": [], "b": []}, set()

    def remember(name, outcome):
        told[name].append((outcome.raw_uid, outcome.progress.used, live.outcome(outcome.raw_uid) is outcome))
        threads.add(threading.current_thread())

    with LivePtycho(SETTINGS, on_done=[lambda o: remember("a", o), lambda o: remember("b", o)]) as live:
        uids = [play_a_run(live, tmp_path, scan, name) for name in ("one", "two")]
        live.wait(120)
    expected = [(uid, FEW, True) for uid in uids]
    assert sorted(told["a"]) == sorted(told["b"]) == sorted(expected)
    assert len(threads) == 4, "each call has a thread of its own"


def test_one_that_raises_is_reported_once_and_harms_nobody(tmp_path, scan, caplog):
    told = []

    def broken(outcome):
        raise RuntimeError("no signal")

    def leaving(outcome):
        raise SystemExit(3)

    with LivePtycho(SETTINGS, on_done=[broken, leaving, told.append]) as live:
        for name in ("one", "two"):
            play_a_run(live, tmp_path, scan, name)
            assert live.wait(120).error is None
    assert len(told) == 2
    assert sorted(live.errors) == ["on_done broken: RuntimeError", "on_done leaving: SystemExit"]
    messages = [r.getMessage() for r in caplog.records if "on_done" in r.getMessage()]
    assert sorted(messages) == ["on_done broken: RuntimeError: no signal", "on_done leaving: SystemExit: 3"]


def test_nobody_waits_for_one_that_hangs_but_close_for_a_while(tmp_path, scan):
    begun, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    def slow(outcome):
        begun.set()
        go_on.wait(240)
        finished.set()

    with LivePtycho(SETTINGS, on_done=slow) as live:
        play_a_run(live, tmp_path, scan)
        assert live.wait(120).progress.used == FEW
        assert begun.wait(240) and not finished.is_set()
        live.close(timeout=0.01)
        assert not finished.is_set()
        go_on.set()
        live.close()
        assert finished.is_set()


def test_a_run_that_failed_is_told_too(tmp_path, scan):
    told = []
    run = make_run(tmp_path, scan)
    with LivePtycho(SETTINGS, on_done=told.append) as live:
        play(live, [("start", run.start), run.stop()])
        live.wait(120)
    (outcome,) = told
    assert outcome.update.exit_status == "fail" and outcome.snapshot is None


def test_a_strict_session_raises_what_a_hook_did(tmp_path, scan):
    def broken(outcome):
        raise RuntimeError("no signal")

    live = LivePtycho(SETTINGS, on_done=broken, strict=True)
    play_a_run(live, tmp_path, scan)
    with pytest.raises(PtychoError, match="no signal"):
        live.close()


def test_what_cannot_be_called_is_refused():
    with pytest.raises(SettingsError, match=r"on_done is .*; expected functions that take an Outcome"):
        LivePtycho(SETTINGS, on_done=["mail"])
