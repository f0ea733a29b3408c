"""A session that ends, or forks, while reconstructions are under way: they are finished, or it is said what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bluesky_ptycho.catalog import open_catalog
from tests.callbacks.small_data import small_scan
from tests.conftest import REPOSITORY

from .scene import Scan, plain_plan

N = 25

SESSION = """
import json, sys, time
from pathlib import Path
from bluesky_ptycho.callbacks import LivePtycho, leaving
from bluesky_ptycho.catalog import open_catalog
from tests.faults.scene import SETTINGS

directory, options = Path(sys.argv[1]), json.loads(sys.argv[2])
leaving.FINISHING_S = options.get("patience_s", 60.0)
catalog = open_catalog(directory)
settings = SETTINGS.with_changes(passes=options.get("passes", 20))
live = LivePtycho(settings, catalog=catalog, process=options.get("process", False))
raw = catalog.raw_writer(flush_s=0.0)
lines = (directory / "documents.jsonl").read_text().splitlines()
for name, doc in map(json.loads, lines[: options.get("documents", len(lines))]):
    raw(name, doc)
    live(name, doc)
while live.under_way and not live.progress().used:
    time.sleep(0.05)
if options.get("stuck"):
    live._running[live.under_way[0]]._cancelled.set = lambda: None
"""

CASES = {
    "all frames are there": ({}, "success"),
    "the scan is open": ({"documents": 40}, "abort"),
    "in a process of its own": ({"process": True}, "success"),
    "no end in sight": ({"passes": 10**6, "patience_s": 1.0}, "success"),
}


def leave(catalog_dir, **options):
    """Let a session take the documents of a scan and end; return its uid and what the session said."""
    positions_m, patterns, _, _ = small_scan(n_side=5)
    made = Scan(plain_plan(positions_m, (64, 64)), catalog_dir / "frames", patterns)
    (catalog_dir / "documents.jsonl").write_text("\n".join(json.dumps(document) for document in made.documents()))
    command = [sys.executable, "-c", SESSION, str(catalog_dir), json.dumps(options)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "failed" not in done.stderr, done.stderr
    return made.start["uid"], done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_what_is_under_way_is_finished_when_the_session_ends(case, catalog_dir):
    options, status = CASES[case]
    uid, said = leave(catalog_dir, **options)
    assert "ending 1 reconstruction, in" in said and "not finished" not in said
    with open_catalog(catalog_dir) as catalog:
        (result,) = catalog.processed.values()
        start, stop = result.metadata["start"], result.metadata["stop"]
    assert (start["raw_uid"], stop["exit_status"]) == (uid, status)
    assert stop["ptychography"]["frames_used"] > (N // 2 if "documents" in options else N - 1)


@pytest.mark.slow
def test_what_cannot_be_finished_is_told_and_can_be_gone_on_with(catalog_dir, capsys):
    from bluesky_ptycho.cli import main

    uid, said = leave(catalog_dir, passes=10**6, patience_s=1.0, stuck=True)
    assert f"bluesky-ptycho resume {uid[:8]} goes on" in said
    assert main(["resume", "--catalog", str(catalog_dir)]) == 0
    assert uid[:8] in capsys.readouterr().out


CHILDREN = """
import multiprocessing, sys
from pathlib import Path
from bluesky_ptycho.callbacks import LivePtycho
from tests.callbacks.small_data import small_scan
from tests.faults.scene import SETTINGS, Scan, plain_plan

def reconstruct(directory):
    positions_m, patterns, _, _ = small_scan(n_side=5)
    with LivePtycho(SETTINGS.with_changes(passes=3), process=PROCESS) as live:
        documents = list(Scan(plain_plan(positions_m, (64, 64)), Path(directory), patterns).documents())
        for document in documents[:30]:
            live(*document)
        yield live
        for document in documents[30:]:
            live(*document)
        assert live.wait(120).progress.used == 25

def whole(directory):
    for _ in reconstruct(directory):
        pass

def nothing():
    pass

PROCESS = "process" in sys.argv
if __name__ == "__main__":
    how = multiprocessing.get_context(sys.argv[2])
    task = {"fork": (nothing, ()), "spawn": (whole, (sys.argv[1],))}[sys.argv[2]]
    for live in reconstruct(sys.argv[1]):  # a child begins and ends in the midst of a scan
        child = how.Process(target=task[0], args=task[1])
        child.start()
        child.join(120)
        assert child.exitcode == 0
        assert live.under_way
    print("both ended well")
"""


@pytest.mark.slow
@pytest.mark.parametrize("in_child", [[], ["process"]], ids=["thread", "process"])
@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_children_of_a_session_leave_its_scan_alone(how, in_child, tmp_path):
    """One that is forked does nothing of its parent's when it ends; one that is spawned can reconstruct for itself."""
    script = tmp_path / "session.py"
    script.write_text(CHILDREN)
    command = [sys.executable, str(script), str(tmp_path), how, *in_child]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["both ended well"]
