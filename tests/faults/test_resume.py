"""Sessions that are killed in the middle of a reconstruction, and what the next one makes of it."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time

import h5py
import pytest

from bluesky_ptycho import LivePtycho, open_catalog, resume
from bluesky_ptycho.callbacks.checkpoints import DIRECTORY, RunLock
from bluesky_ptycho.cli import main
from bluesky_ptycho.errors import MetadataError, PtychoError
from bluesky_ptycho.io.checkpoint import read_checkpoint
from bluesky_ptycho.replay import replay
from bluesky_ptycho.resuming import left_behind

from .repeatable import SETTINGS, Repeatable
from .scene import Scan
from .session import PACE_S

INTERVAL_S = SETTINGS.checkpoint_interval_s
SLOW_PACE_S = 10.0

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def scan():
    return Repeatable()


@pytest.fixture(scope="module")
def baseline(scan, tmp_path_factory):
    with LivePtycho(SETTINGS) as live:
        for name, doc in Scan(scan.plan, tmp_path_factory.mktemp("clean"), scan.frames).documents():
            live(name, doc)
        return scan.error(live.wait(600).snapshot)


class Session:
    """A process that reconstructs, to be killed."""

    def __init__(self, kind, catalog_dir, uid):
        self.checkpoint = catalog_dir / "results" / DIRECTORY / f"{uid}.h5"
        command = [sys.executable, "-m", "tests.faults.session", kind, str(catalog_dir), uid]
        self.process = subprocess.Popen([*command, json.dumps(SETTINGS.to_dict())], stderr=subprocess.PIPE, text=True)

    def kill_at(self, n_frames, patience_s=400.0):
        """Send SIGKILL once a checkpoint holds so many frames; return how much time was not saved, in s."""
        deadline = time.monotonic() + patience_s
        frames = 0
        while frames < n_frames:
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline, f"{frames} frames in the checkpoint"
            time.sleep(0.02)
            with contextlib.suppress(PtychoError):  # not there yet
                frames = len(read_checkpoint(self.checkpoint).seq_nums)
        time.sleep(0.3 * INTERVAL_S)
        self.process.send_signal(signal.SIGKILL)
        killed_at = time.time()
        self.process.communicate()
        return killed_at - read_checkpoint(self.checkpoint).saved_at


@contextlib.contextmanager
def scanning(catalog, scan, n_frames):
    """Write a scan into `catalog` in a thread; give its uid, and what is to be set when its session was killed.

    After some more than `n_frames` it comes hardly any further until then, however long the session takes to begin.
    """
    made = Scan(scan.plan, catalog.frames_dir, scan.frames)
    writer = catalog.raw_writer(batch=4, flush_s=0.1)
    begun, killed = threading.Event(), threading.Event()

    def write():
        for name, doc in made.documents():
            writer(name, doc)
            begun.set()
            if name == "event" and doc["seq_num"] > n_frames + 4 and not killed.is_set():
                killed.wait(SLOW_PACE_S)
            elif name == "event":
                time.sleep(PACE_S)

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    try:
        yield made.start["uid"], killed
    finally:
        killed.set()
        thread.join()


def results_of(catalog, uid):
    return [run.metadata for run in catalog.processed.values() if run.metadata["start"]["raw_uid"] == uid]


@pytest.mark.fault(
    "9",
    "kill -9 of the session at 25, 50 and 90 %, then resume",
    bound=f"unsaved <= 2 x the interval of {INTERVAL_S:g} s; error <= 1.01 x baseline; no open result",
)
@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_killed_session_goes_on_while_the_scan_still_runs(scan, baseline, catalog_dir, share, figure):
    with open_catalog(catalog_dir) as catalog, scanning(catalog, scan, share * 196) as (uid, killed):
        unsaved_s = Session("follow", catalog_dir, uid).kill_at(share * 196)
        killed.set()
        assert [found.raw_uid for found in left_behind(catalog)] == [uid]
        said = []
        outcome = resume(uid, catalog, say=said.append)
        error = scan.error(outcome.snapshot)
        figure(error_over_baseline=error / baseline, unsaved_s=unsaved_s)
        assert any("going on from" in line for line in said)
        assert any("closed as failed" in line for line in said)
        assert outcome.update.exit_status == "success"
        assert outcome.update.settings == SETTINGS.to_dict()
        assert outcome.snapshot.seq_nums.tolist() == list(range(1, 197))
        assert error <= 1.01 * baseline
        assert unsaved_s <= 2 * INTERVAL_S
        stops = [found["stop"]["exit_status"] for found in results_of(catalog, uid)]
        assert stops == ["fail", "success"]
        assert left_behind(catalog) == [] and not list((catalog.results_dir / DIRECTORY).iterdir())


@pytest.mark.slow
@pytest.mark.fault("9", "kill -9 of the session at 25, 50 and 90 %, then resume")
def test_a_session_that_died_with_its_scan_ends_with_what_is_there(scan, catalog_dir, figure):
    with open_catalog(catalog_dir) as catalog:
        made = Scan(scan.plan, catalog.frames_dir, scan.frames)
    lines = [json.dumps(document) for document in made.documents()]
    (catalog_dir / "documents.jsonl").write_text("\n".join(lines))
    Session("scan", catalog_dir, made.start["uid"]).kill_at(98)
    assert main(["restore", str(catalog_dir / "unwritten"), "--catalog", str(catalog_dir)]) == 0
    with open_catalog(catalog_dir) as catalog:
        resumed = resume(made.start["uid"], catalog, patience_s=1.0)
        with LivePtycho(SETTINGS, catalog=catalog) as live:
            replay(made.start["uid"], catalog, live)
            anew = live.wait(120)
    assert resumed.update.exit_status == anew.update.exit_status == "abort"
    n = len(anew.snapshot.seq_nums)
    assert 98 <= n < 196 and resumed.snapshot.seq_nums.tolist() == list(range(1, n + 1))
    error, expected = scan.error(resumed.snapshot), scan.error(anew.snapshot)
    figure(error_over_replay_of_what_is_stored=error / expected)
    assert error <= 1.01 * expected


@pytest.fixture
def stored(scan, catalog):
    """A stored scan and its checkpoint, as a session leaves them that is killed right after."""
    made = Scan(scan.plan, catalog.frames_dir, scan.frames)
    writer = catalog.raw_writer()
    for name, doc in made.documents():
        writer(name, doc)
    return made.start["uid"]


def test_a_scan_that_somebody_reconstructs_is_not_resumed(stored, catalog):
    lock = RunLock(catalog.results_dir / DIRECTORY, stored)
    assert lock.take()
    try:
        assert left_behind(catalog) == []
        with pytest.raises(PtychoError, match="another session"):
            resume(stored, catalog)
    finally:
        lock.release(done=True)


def test_without_a_usable_checkpoint_it_starts_anew_and_says_so(scan, stored, catalog, capsys, tmp_path):
    lock = RunLock(catalog.results_dir / DIRECTORY, stored)
    lock.take()
    lock.checkpoint.write_bytes(b"half a file")
    lock.release(done=False)
    assert main(["resume", "--catalog", catalog.name]) == 0
    assert f"{stored[:8]}  scan 1 : no checkpoint" in capsys.readouterr().out
    said = []
    outcome = resume(-1, catalog, settings=SETTINGS.with_changes(**{"solver.tail_passes": 4}), say=said.append)
    assert "is not an HDF5 file" in said[0] and "starts anew" in said[0]
    assert scan.error(outcome.snapshot) < 0.02
    assert main(["resume", "--catalog", catalog.name]) == 0
    assert "nothing to resume" in capsys.readouterr().out


def test_a_checkpoint_of_a_newer_version_is_refused_by_name(stored, catalog):
    lock = RunLock(catalog.results_dir / DIRECTORY, stored)
    lock.take()
    with h5py.File(lock.checkpoint, "w") as file:
        file.attrs["schema"], file.attrs["schema_version"] = "bluesky_ptycho.checkpoint", 2
    lock.release(done=False)
    with pytest.raises(MetadataError, match="schema_version is 2; this version of bluesky_ptycho reads 1"):
        resume(stored, catalog)
    assert lock.checkpoint.exists()
