"""Row 28: the figure's window is closed, the terminal is lost, Ctrl-C comes twice: at a real terminal each time."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from bluesky_ptycho.catalog import open_catalog
from bluesky_ptycho.catalog.restore import kept_files, restore
from tests.conftest import REPOSITORY

from .terminal_session import CLOSED_AT, N

PATIENCE_S = 240.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BOUND = "scan and analysis go on or stop as RunEngine rules; nothing hangs"


class Terminal:
    """A pseudo-terminal with a session at it; what it shows is read all the time, or it would stand still."""

    def __init__(self, catalog_dir, *what):
        self.place = catalog_dir.parent
        self._end, theirs = pty.openpty()
        self.session = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.terminal_session", str(catalog_dir), *what],
            cwd=REPOSITORY,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_STATE_HOME": str(self.place / "state")},
        )
        os.close(theirs)
        self.shown, self._is_lost = "", threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(OSError):  # nobody is at the other end any more
            while not self._is_lost.is_set():
                if select.select([self._end], [], [], 0.05)[0]:
                    self.shown += os.read(self._end, 1 << 16).decode(errors="replace")

    def wait_until(self, reached):
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert self.session.poll() is None and time.monotonic() < deadline, self.shown
            time.sleep(0.01)

    def wait_for_events(self, n):
        told = self.place / "events.txt"
        self.wait_until(lambda: told.exists() and len(told.read_text().splitlines()) >= n)

    def press_ctrl_c(self):
        os.write(self._end, b"\x03")

    def lose(self):
        """Close this end, as a window that is closed or a connection that breaks does."""
        self._is_lost.set()
        self._reader.join()
        os.close(self._end)

    def end(self):
        """Wait for the session; return what it says about its end, None if it did not come so far."""
        self.session.wait(PATIENCE_S)
        told = self.place / "end.json"
        return json.loads(told.read_text()) if told.exists() else None

    def close(self):
        if self.session.poll() is None:
            self.session.kill()
            self.session.wait()
        if not self._is_lost.is_set():
            self.lose()


@pytest.fixture
def terminal(catalog_dir):
    made = []

    def start(*what):
        made.append(Terminal(catalog_dir, *what))
        return made[0]

    yield start
    made[0].close()


def assert_whole(catalog_dir, end, n):
    """The session and its scan came to their ends, and all of it is stored."""
    assert (end["RE"], end["exit_status"], end["used"], end["shutter"]) == ("idle", "success", n, False)
    with open_catalog(catalog_dir) as catalog:
        (scan,), (result,) = catalog.raw.values(), catalog.processed.values()
        assert scan.metadata["stop"]["exit_status"] == "success"
        assert result.metadata["stop"]["ptychography"]["frames_used"] == n
        assert not kept_files([catalog.backup_dir] if catalog.backup_dir.exists() else [])


SCREENS = [*(["window"] if importlib.util.find_spec("PySide6") else []), "png", "web"]


@pytest.mark.fault("28a", "figure window closed", bound=BOUND)
@pytest.mark.parametrize("screen", SCREENS)
def test_a_figure_that_is_closed_in_mid_scan(screen, terminal, catalog_dir, figure):
    """A window of Qt where there is Qt; the other screens end likewise."""
    at = terminal("figure", screen)
    end = at.end()
    assert end is not None, at.shown
    figure(f"{screen} closed at point {end['closed_at']}: {end['used']} of {N['figure']} points used")
    assert CLOSED_AT <= end["closed_at"] < N["figure"]
    assert at.session.returncode == 0 and not end["sink_errors"]
    assert "Traceback" not in at.shown
    assert_whole(catalog_dir, end, N["figure"])


@pytest.mark.fault("28b", "terminal lost", bound=BOUND)
def test_a_session_that_heeds_no_hang_up_goes_on_without_its_terminal(terminal, catalog_dir, figure):
    """As under nohup: all that is printed from then on fails, which harms neither the scan nor its result."""
    at = terminal("hangup", "ignored")
    at.wait_for_events(10)
    at.lose()
    end = at.end()
    assert end is not None
    figure(f"hang-up ignored: {end['used']} of {N['hangup']} points used")
    assert at.session.returncode == 0
    assert_whole(catalog_dir, end, N["hangup"])


@pytest.mark.fault("28b", "terminal lost", bound=BOUND)
def test_a_session_that_a_hang_up_ends_leaves_its_documents(terminal, catalog_dir, figure):
    """The RunEngine rules nothing of it: the process ends, at once, and what was measured can be stored."""
    at = terminal("hangup", "heeded")
    at.wait_for_events(1 + 20)  # one is the dark
    children = psutil.Process(at.session.pid).children(recursive=True)
    at.lose()
    began = time.monotonic()
    assert at.end() is None
    seconds = time.monotonic() - began
    assert at.session.returncode == -signal.SIGHUP
    assert not psutil.wait_procs(children, PATIENCE_S)[1]
    with open_catalog(catalog_dir) as catalog:
        assert not [found.error for found in restore(kept_files([catalog.backup_dir]), catalog) if found.error]
        (scan,) = catalog.raw.values()
        n = len(scan["primary"]["stage_x"].read())
    figure(f"hang-up heeded: ended after {seconds:.1f} s, {n} points stored")
    assert 20 <= n < N["hangup"]


@pytest.mark.fault("28c", "Ctrl-C twice", bound=BOUND)
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_ctrl_c_twice(then, terminal, catalog_dir, figure):
    """The first asks for a pause after the point, the second pauses at once; then the user decides."""
    at, n = terminal("interrupted", then), N["interrupted"]
    at.wait_for_events(1 + 3)
    at.press_ctrl_c()
    at.wait_until(lambda: "A 'deferred pause' has been requested" in at.shown)
    time.sleep(0.15)  # the RunEngine takes what comes sooner for the same one
    at.press_ctrl_c()
    end = at.end()
    assert end is not None, at.shown
    figure(f"{then}: paused at point {end['paused_at']}, then {end['exit_status']} with {end['used']} of {n}")
    assert "A 'hard pause' has been requested" in at.shown
    assert at.session.returncode == 0
    if then == "resume":
        assert "Traceback" not in at.shown
        assert_whole(catalog_dir, end, n)
    else:
        assert (end["RE"], end["exit_status"], end["shutter"]) == ("idle", "abort", False)
        assert 3 <= end["used"] < n
