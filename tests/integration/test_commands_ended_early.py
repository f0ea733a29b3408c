"""Commands that end before they are done: Ctrl-C, and a process that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FRAME_BYTES = 2 * 1040 * 1152
PATIENCE_S = 120.0


class Command:
    """Commands in an empty directory, with nothing remembered at home."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state")}
        self.process: subprocess.Popen[str] | None = None

    def _start(self, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "bluesky_ptycho", *arguments],
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command to its end; return status, what it said and its complaints."""
        process = self._start(arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def start(self, *arguments: str) -> None:
        self.process = self._start(arguments)

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait for a state of the command that was started."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err

    def measured(self, n_frames: int) -> bool:
        """Whether so many frames of the scan are in their file."""
        files = (self.directory / "ptycho_demo" / "catalog" / "frames").rglob("*_primary.h5")
        return any(file.stat().st_size > n_frames * FRAME_BYTES for file in files)

    def renders(self) -> bool:
        """Whether frames are rendered ahead, into a file without a name."""
        frames = str(self.directory / "ptycho_demo" / "catalog" / "frames")
        links = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return any(target.startswith(frames) and target.endswith("(deleted)") for target in map(_target, links))


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return ""


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    started = Command(tmp_path)
    yield started
    if started.process is not None and started.process.poll() is None:
        started.process.kill()
        started.process.communicate()


def test_an_interrupted_demo_keeps_what_was_measured(command):
    command.start("demo", "--shape", "12", "12")
    command.wait_until(lambda: command.measured(21))  # the last frame in the file may have no event yet
    status, out, err = command.end(signal.SIGINT)
    assert status == 130, out + err
    assert "Traceback" not in out + err
    assert err.splitlines()[-1] == "bluesky-ptycho: interrupted"
    assert out.count("interrupted: ") == 1
    made = command.directory / "ptycho_demo"
    assert {"result.cxi", "reconstruction.png", "truth.h5"} <= {p.name for p in made.iterdir()}
    summary = json.loads((made / "summary.json").read_text())
    assert 20 <= summary["n_frames"] < 144
    assert summary["frames_lost"] == 0
    assert summary["object_nrmse"] < 0.3
    status, out, _ = command.run("runs")
    assert status == 0
    scan, reconstruction = out.splitlines()[2:]
    assert scan.split()[4:6] == [str(summary["n_frames"]), "abort"]
    assert reconstruction.split()[3] == str(summary["n_frames"]) and " abort " in reconstruction


def test_an_interruption_while_frames_are_rendered_is_heard_at_once(command):
    command.start("demo", "--shape", "40", "40")
    command.wait_until(command.renders)
    status, out, err = command.end(signal.SIGINT)
    assert status == 130, out + err
    assert "Traceback" not in out + err
    assert "interrupted: nothing was measured yet" in out
    assert "1600/1600" not in err, "all frames were rendered first"
    assert err.splitlines()[-1] == "bluesky-ptycho: interrupted"


def test_a_scan_whose_process_was_killed_is_listed_and_replayed(command):
    command.start("demo", "--shape", "16", "16")
    # Rows reach the catalog every five seconds: after 80 frames at 10 Hz some are there.
    command.wait_until(lambda: command.measured(80))
    status, _, _ = command.end(signal.SIGKILL)
    assert status == -signal.SIGKILL
    status, out, err = command.run("runs")
    assert (status, err) == (0, "")
    assert [line.split()[-2] for line in out.splitlines()[2:]] == ["open", "open"]
    status, out, err = command.run("replay", "-1")
    assert status == 0
    assert out.startswith("abort (the stored run was never closed): resolution ")
    assert "Traceback" not in err
    summary = json.loads((command.directory / "ptycho_replay" / "summary.json").read_text())
    assert summary["n_frames"] > 0 and summary["frames_lost"] == 0
    assert summary["residual"] < 0.05
