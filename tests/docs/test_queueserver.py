"""The how-to of the queueserver: a real RE Manager with its Redis runs a scan, and the page shows it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bluesky_ptycho.catalog import open_catalog
from tests.conftest import REPOSITORY

from .blocks import read_blocks

PAGE = REPOSITORY / "docs" / "how-to" / "queueserver.md"
PORTS = ("6379", "60615", "60625")
PATIENCE_S = 400.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture
def programs():
    """Directory of the manager's commands; skips with a reason where they, or Redis, are not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("no Redis: redis-server is not installed (Debian: apt-get install redis-server)")
    directory = Path(sys.executable).parent
    if not (directory / "start-re-manager").is_file():
        pytest.skip("no RE Manager: bluesky-queueserver is not installed (extra test)")
    return directory


@pytest.fixture
def blocks():
    """Blocks of the page, with ports that are free."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    free = [str(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()

    def with_ports(code):
        for port, other in zip(PORTS, free, strict=True):
            code = code.replace(port, other)
        return code

    return [(block.file, with_ports(block.code)) for block in read_blocks(PAGE)], dict(zip(PORTS, free, strict=True))


@contextmanager
def running(command, directory, environment, log):
    with (directory / log).open("wb") as file:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def wait_for(what, told, log):
    """Return what `what()` gives as soon as it is true; an address that does not answer yet is no failure."""
    deadline, found = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < deadline:
        with suppress(OSError):
            if found := what():
                return found
        time.sleep(0.5)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {told}\n{log.read_text()[-3000:] if log.exists() else ''}")


def test_a_queued_scan_is_run_and_shown(tmp_path, programs, blocks):
    code, ports = blocks
    for file, text in code:
        if file:
            (tmp_path / file).write_text(text)
    redis, manager, opening, queueing = (
        [shlex.split(ln) for ln in text.splitlines()] for file, text in code if not file
    )
    log = tmp_path / "manager.log"
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "QSERVER_ZMQ_CONTROL_ADDRESS": f"tcp://127.0.0.1:{ports['60615']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "MPLBACKEND": "Agg",
    }

    def qserver(*line):
        done = subprocess.run(
            [str(programs / "qserver"), *line],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout + done.stderr

    def state_is(*any_of):
        told = qserver("status")
        return any(what in told for what in any_of)

    def ask(line, *happened):
        """Run a command of the page; on a busy machine its answer may be late, but the status tells what it did."""
        assert line[0] == "qserver"
        wait_for(lambda: "'success': True" in qserver(*line[1:]) or state_is(*happened), f"answer to {line}", log)

    def page():
        (url,) = set(re.findall(r"live figure at (http://127\.0\.0\.1:\d+/)", log.read_text()))  # 8470 may be in use
        with urllib.request.urlopen(f"{url}state", timeout=10) as answer:
            return json.load(answer)

    with running(redis[0], tmp_path, environment, "redis.log"), running(manager[0], tmp_path, environment, log.name):
        wait_for(lambda: state_is("'manager_state': 'idle'"), "the manager is there", log)
        ask(opening[0], *(f"'worker_environment_state': '{state}'" for state in ("initializing", "idle")))
        wait_for(lambda: state_is("'worker_environment_state': 'idle'"), "the environment is open", log)
        assert page()["title"] == "Waiting for a scan"
        ask(queueing[0], "'items_in_queue': 1")
        ask(queueing[1], "'manager_state': 'executing_queue'", "'items_in_history': 1")
        wait_for(lambda: page()["title"] == "scan 1 gold", "the page shows the scan", log)
        done = wait_for(lambda: (state := page())["state"] == "done" and state, "it is reconstructed", log)
        assert (done["taken"], done["planned"]) == (16, 16)
        history = wait_for(
            lambda: (told := qserver("history", "get")) and "exit_status" in told and told, "history", log
        )
        assert "'exit_status': 'completed'" in history, history
        with open_catalog(tmp_path / "ptycho_catalog", create=False) as catalog:
            assert catalog[-1].start["uid"] in history
            wait_for(lambda: len(catalog.processed.new_variation()) == 1, "the result is stored", log)
        ask(["qserver", "environment", "destroy"], "'worker_environment_state': 'closed'")
        wait_for(lambda: state_is("'worker_environment_state': 'closed'"), "the worker has ended", log)
        qserver("manager", "stop")
