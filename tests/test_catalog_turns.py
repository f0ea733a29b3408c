"""Two processes write to one catalog, or one reads while the other writes."""

import subprocess
import sys
import time

import pytest

from bluesky_ptycho import file_lock
from bluesky_ptycho.catalog import turns
from tests.conftest import REPOSITORY
from tests.stored import store_scan

STORE = """
import sys
from pathlib import Path
from bluesky_ptycho.catalog import open_catalog
from tests.stored import scan_documents

with open_catalog(Path(sys.argv[1])) as catalog:
    catalog.frames_dir.mkdir(exist_ok=True)
    print("open", flush=True)
    sys.stdin.readline()
    for _ in range(3):
        writer = catalog.raw_writer(flush_s=0.0)  # every event is a write of its own
        for name, doc in scan_documents(catalog.frames_dir):
            writer(name, doc)
"""

READ = """
import sqlite3, sys
tables = sqlite3.connect(sys.argv[1] + "/tables.db", isolation_level=None)
(name,) = tables.execute("SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 1").fetchone()
tables.execute("BEGIN")
tables.execute(f'SELECT * FROM "{name}"').fetchone()
print("reading", flush=True)
sys.stdin.readline()
"""

WAIT = """
import sys
from pathlib import Path
from bluesky_ptycho.catalog.turns import Turns

print("waiting", flush=True)
with Turns(Path(sys.argv[1])).taken():
    sys.exit(0 if Path(sys.argv[1], "first").exists() else 1)
"""


def start(program, directory):
    """Start a program and wait for its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    return process


def finish(process):
    """Let a program go on to its end; return its exit status."""
    process.communicate("go\n", timeout=280)
    return process.returncode


@pytest.mark.slow
def test_two_processes_store_all_their_scans(catalog_dir, catalog):
    processes = [start(STORE, catalog_dir) for _ in range(2)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [finish(process) for process in processes] == [0, 0]
    sizes = [catalog.raw[uid]["primary"].read()["cam_frame_index"].size for uid in catalog.raw]
    assert sizes == [6] * 6
    assert not list(catalog_dir.glob("unwritten/*"))


def test_a_reader_elsewhere_does_not_keep_a_scan_out(catalog_dir, catalog):
    catalog.frames_dir.mkdir(exist_ok=True)
    store_scan(catalog)
    reader = start(READ, catalog_dir)
    uid = store_scan(catalog)["uid"]
    assert finish(reader) == 0
    assert catalog[uid]["primary"].read()["cam_frame_index"].size == 6
    assert not list(catalog_dir.glob("unwritten/*"))


@pytest.mark.skipif(file_lock.fcntl is None, reason="the system has no locks between processes")
def test_processes_take_turns(tmp_path):
    with turns.Turns(tmp_path).taken():
        other = start(WAIT, tmp_path)
        time.sleep(0.2)  # for a process that would not wait
        (tmp_path / "first").touch()
    assert finish(other) == 0


@pytest.mark.skipif(file_lock.fcntl is None, reason="the system has no locks between processes")
def test_a_process_that_holds_its_turn_for_ever_is_passed(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(turns, "PATIENCE_S", 0.05)
    monkeypatch.setattr(turns.time, "sleep", lambda seconds, sleep=time.sleep: waits.append(sleep(seconds)))
    held, passing = turns.Turns(tmp_path), turns.Turns(tmp_path)
    with held.taken():
        with passing.taken():
            assert waits
        waits.clear()
        with passing.taken():
            assert not waits  # nobody is waited for twice
    with passing.taken(), held.taken():
        assert waits  # it takes its turn again, and the other one waits for it


def test_a_catalog_that_is_no_directory_takes_turns_within_the_process(tmp_path):
    with turns.Turns(None).taken(), turns.Turns(tmp_path / "nowhere").taken():
        assert not list(tmp_path.iterdir())
