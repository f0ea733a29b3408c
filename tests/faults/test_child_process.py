"""An analysis that dies in its own process, or hangs there: killed for real."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.errors import PtychoError, SettingsError

from .repeatable import SETTINGS, Repeatable
from .scene import Results, Scan

PACE_S = 0.02


@pytest.fixture(scope="module")
def scan():
    return Repeatable()


@pytest.fixture(scope="module")
def baseline(scan, tmp_path_factory):
    """Error of the undisturbed run in a process of its own."""
    with Live(scan, tmp_path_factory.mktemp("clean")) as run:
        run.play()
        return scan.error(run.live.wait(120).snapshot)


@pytest.fixture(autouse=True)
def nothing_leaks():
    process = psutil.Process()
    subprocess.run([sys.executable, "-c", ""], check=True)  # what Python itself opens, it opens once
    gc.collect()
    before = process.num_fds(), threading.active_count(), len(process.children(recursive=True))
    yield
    gc.collect()
    after = process.num_fds(), threading.active_count(), len(process.children(recursive=True))
    assert np.all(np.array(after) <= before), f"descriptors, threads, processes: {before} -> {after}"


class Live:
    """A scan whose documents go to an analysis in a process of its own."""

    def __init__(self, scan, directory, settings=SETTINGS, **options):
        self.results = Results(directory)
        self.live = LivePtycho(settings, catalog=self.results, process=True, **options)
        self.documents = Scan(scan.plan, directory, scan.frames).documents()
        self.seconds = []

    def __enter__(self):
        self("start")
        self.wait_until(lambda progress: progress.phase == "live")
        return self

    def __exit__(self, *exc):
        self.live.close()

    def __call__(self, *names):
        """Send documents up to the next of `names`."""
        for name, doc in self.documents:
            begun = time.perf_counter()
            self.live(name, doc)
            self.seconds.append(time.perf_counter() - begun)
            if name in names:
                return True
        return False

    def play(self, n=10**9):
        """Send `n` points at their pace."""
        while n and self("stream_datum", "stop"):
            n -= 1
            time.sleep(PACE_S)

    def wait_until(self, reached, patience_s=60.0):
        deadline = time.monotonic() + patience_s
        while not reached(self.live.progress()):
            assert time.monotonic() < deadline, self.live.status()
            time.sleep(0.01)

    @property
    def analysis(self):
        (analysis,) = self.live._running.values()
        return analysis

    @property
    def child(self):
        return self.analysis._life.process

    def wait_for_another(self, pid, patience_s=60.0):
        self.wait_until(lambda _: self.child.pid != pid and self.child.poll() is None, patience_s)

    def summary(self):
        return self.results.summary()


@pytest.mark.fault(
    "10",
    "kill -9 of the solver process",
    bound="restarted once by itself, error <= 1.01 x baseline, p99 of a document < 5 ms, told once",
)
@pytest.mark.parametrize("fault", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)])
def test_a_killed_analysis_goes_on_by_itself_and_the_scan_notices_nothing(
    scan, baseline, tmp_path, fault, figure, time_counts
):
    with Live(scan, tmp_path) as run:
        run.play(100)
        run.wait_until(lambda progress: progress.used > 60 and progress.iteration > 10)
        lock = run.live._claims._locks[run.analysis._start_doc["uid"]]
        run.wait_until(lambda _: lock.checkpoint.exists())
        os.kill(run.child.pid, fault)
        run.play()
        outcome = run.live.wait(120)
        error = scan.error(outcome.snapshot)
    p99_ms = 1e3 * float(np.quantile(run.seconds, 0.99))
    figure(error_over_baseline=error / baseline, p99_ms=p99_ms)
    assert outcome.error is None and outcome.update.exit_status == "success"
    (message,) = outcome.update.messages
    assert message == f"the analysis process died ({fault.name}) and is started again from its checkpoint"
    assert run.summary()["messages"] == [message]
    assert outcome.snapshot.seq_nums.tolist() == list(range(1, 197))
    assert outcome.progress.lag == 0 and outcome.at_last_frame is not None
    assert error <= 1.01 * baseline
    assert p99_ms < 5 or not time_counts
    assert not list((tmp_path / "checkpoints").iterdir()), "a finished run leaves nothing to resume"


def test_the_process_gives_the_same_image_as_the_thread(scan, baseline, tmp_path):
    with LivePtycho(SETTINGS) as live:
        for name, doc in Scan(scan.plan, tmp_path, scan.frames).documents():
            live(name, doc)
        assert scan.error(live.wait(120).snapshot) == pytest.approx(baseline, rel=0.01)


@pytest.mark.slow
def test_an_analysis_that_dies_again_at_the_same_place_fails_with_the_reason(scan, tmp_path):
    with Live(scan, tmp_path) as run:
        run.play(20)
        run.wait_until(lambda progress: progress.used == 20)
        pid = run.child.pid
        os.kill(pid, signal.SIGKILL)
        run.wait_for_another(pid)
        os.kill(run.child.pid, signal.SIGKILL)
        run.play()
        with pytest.raises(PtychoError, match=r"died again \(SIGKILL\), after 1 restart"):
            run.live.wait(240)
        outcome = run.live.result
    assert outcome.update.exit_status == "fail" and "died again" in outcome.update.reason
    (stop,) = [doc for name, doc in run.results.documents if name == "stop"]
    assert stop["exit_status"] == "fail" and "SIGKILL" in stop["reason"]
    assert list((tmp_path / "checkpoints").glob("*.lock")), "it can still be resumed"


@pytest.mark.slow
@pytest.mark.fault(
    "30",
    "the GPU, or the process that waits for it, hangs without an error",
    bound="replaced within watchdog_s + 5 s, on the CPU, error <= 1.01 x baseline, says so",
)
def test_an_analysis_that_hangs_is_replaced_and_goes_on_without_a_gpu(scan, baseline, tmp_path, figure):
    """A stopped process answers nobody, as one does that waits for a device in the kernel."""
    settings = SETTINGS.replace(watchdog_s=4.0)
    with Live(scan, tmp_path, settings) as run:
        run.play(100)
        run.wait_until(lambda progress: progress.used > 60 and progress.iteration > 10)
        pid, begun = run.child.pid, time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        run.wait_until(lambda _: not psutil.pid_exists(pid) or run.child.pid != pid)
        seconds = time.monotonic() - begun
        run.play()
        outcome = run.live.wait(120)
        error = scan.error(outcome.snapshot)
    figure(seconds_until_replaced=seconds, error_over_baseline=error / baseline)
    assert outcome.error is None
    (message,) = outcome.update.messages
    assert "no sign of life for 4 s" in message and "it goes on without a GPU" in message
    assert outcome.update.settings["backend"] == "numpy"
    assert seconds < settings.watchdog_s + 5
    assert error <= 1.01 * baseline


def test_a_child_whose_parent_dies_ends_by_itself(tmp_path):
    code = (
        "import sys, time; from tests.faults.test_child_process import Live, Repeatable\n"
        "run = Live(Repeatable(), __import__('pathlib').Path(sys.argv[1])).__enter__()\n"
        "run.play(5); print(run.child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as session:
        child = psutil.Process(int(session.stdout.readline()))
        session.kill()
        assert child.wait(15) is None
    assert not child.is_running()


def test_closing_ends_a_run_that_is_open_with_what_it_has(scan, tmp_path):
    with Live(scan, tmp_path) as run:
        run.play(40)
        run.wait_until(lambda progress: progress.used == 40 and progress.iteration > 0)
        assert "40/196 points taken, 40 used" in run.live.status()
    outcome = run.live.result
    assert outcome.update.exit_status == "abort" and len(outcome.snapshot.seq_nums) == 40


@pytest.mark.slow
def test_an_analysis_that_does_not_end_in_time_is_left_behind(scan, tmp_path):
    with Live(scan, tmp_path) as run:
        run.play(20)
        os.kill(run.child.pid, signal.SIGSTOP)
        run.live.close(timeout=1.0)
    assert run.live.result.update.exit_status == "fail"


@pytest.mark.slow
def test_settings_and_sinks_meet_on_the_other_side(scan, tmp_path):
    told = []
    settings = SETTINGS.replace(snapshot_interval_s=0.3)
    with Live(scan, tmp_path, settings, sinks=[told.append]) as run:
        run.play()
        final = run.live.wait(120).update
    assert (told[0].kind, told[-1].kind) == ("start", "final")
    assert any(update.kind == "snapshot" and update.stxm is not None for update in told)
    snapshot = final.snapshot
    assert snapshot.object.dtype == snapshot.probe.dtype == np.complex64
    assert snapshot.canvas.shape == snapshot.object.shape and snapshot.geometry == final.geometry
    assert final.settings == settings.to_dict() and final.missing == () and final.rejected == {}
    snapshot.object[0, 0] = 0  # it is the session's own


def test_an_executor_cannot_work_in_another_process():
    with pytest.raises(SettingsError, match="executor"):
        LivePtycho(process=True, executor=object())
