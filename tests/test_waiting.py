"""Waits of the main thread end with Ctrl-C, whichever thread the system hands it to."""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import DefaultDuringTask, RunEngineInterrupted

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.hooks import Hooks
from bluesky_ptycho.demo import PauseAtOnce
from bluesky_ptycho.reprocess import ReconQueue
from bluesky_ptycho.reprocess.queue import Job
from bluesky_ptycho.simulated_session import start_session
from bluesky_ptycho.waiting import AwakeForCtrlC, join_awake, wait_awake

LONG_S = 30.0


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Also where the tests were begun in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def ctrl_c_in_another_thread():
    """Have the signal handed to a thread that lives on: one that ended would wake nobody, but may not have had it."""

    def interrupt() -> None:
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        time.sleep(0.5)

    elsewhere = threading.Thread(target=interrupt)
    elsewhere.start()
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < LONG_S * 2 / 3
    elsewhere.join()


class LongWork(threading.Thread):
    """Stands for an analysis that takes its time."""

    name = "long work"
    is_open = False

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        self.over.wait(LONG_S)


@pytest.fixture
def work():
    thread = LongWork()
    yield thread
    thread.over.set()
    thread.join()


@pytest.mark.parametrize("task", [AwakeForCtrlC(), AwakeForCtrlC(DefaultDuringTask())])
def test_a_plan(task):
    run_engine = RunEngine(context_managers=[PauseAtOnce], during_task=task)
    with ctrl_c_in_another_thread(), pytest.raises(RunEngineInterrupted):
        run_engine(bps.sleep(LONG_S))
    run_engine.abort()


def test_a_plan_of_the_simulated_session(tmp_path):
    """There the first Ctrl-C asks for a pause at the next checkpoint, and says so."""
    with start_session(tmp_path / "catalog", camera="plain") as session:

        def until_deferred():
            for _ in range(int(LONG_S / 0.1)):
                yield from bps.sleep(0.1)
                yield from bps.checkpoint()

        with ctrl_c_in_another_thread(), pytest.raises(RunEngineInterrupted):
            session.RE(until_deferred())
        session.RE.abort()


@pytest.mark.parametrize("wait", ["wait", "close"])
def test_a_live_reconstruction(work, wait):
    live = LivePtycho()
    live._running["a"] = work
    with ctrl_c_in_another_thread(), pytest.raises(KeyboardInterrupt):
        getattr(live, wait)()
    work.over.set()
    live.close()


def test_what_is_called_when_a_run_is_done(work):
    hooks = Hooks(lambda outcome: work.join(), pytest.fail)
    hooks(None)
    with ctrl_c_in_another_thread(), pytest.raises(KeyboardInterrupt):
        hooks.wait()


def test_reprocessing(ptycho_catalog):
    with ReconQueue(ptycho_catalog) as queue:
        job = Job(0, None, 0, queue._changed)
        queue._jobs.append(job)
        for wait in (job.wait, queue.wait):
            with ctrl_c_in_another_thread(), pytest.raises(KeyboardInterrupt):
                wait()
        assert not queue.wait(0.0)


def test_a_wait_ends_when_its_time_is_over(work):
    event = threading.Event()
    begun = time.monotonic()
    assert not wait_awake(event.wait, 0.5)
    join_awake(work, 0.0)
    assert 0.4 < time.monotonic() - begun < 5
    event.set()
    assert wait_awake(event.wait, 0.0)
    work.over.set()
    join_awake(work, math.inf)
    assert not work.is_alive()
