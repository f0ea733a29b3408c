"""Row 11: the disk is full while frames, results or documents are written."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

FAULT = "disk full"


@functools.cache
def can_mount():
    command = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run_case(case, directory):
    """Run a case in its own process, which must not even crash at its end; return what it found."""
    command = [sys.executable, "-m", "tests.faults.small_disk", case, str(directory)]
    command = ["unshare", "-Urm", *command] if can_mount() else [*command, "--limit"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.fault("11a", f"{FAULT}: results", bound="scan unharmed; no half-written file; analysis says so")
def test_results_that_do_not_fit(tmp_path, figure):
    found = run_case("results", tmp_path)
    halves = [name for case in found for name, is_whole in case["left"].items() if not is_whole]
    harmed = [case for case in found if case["used"] != 36 or case["status"] != "success"]
    figure(half_written_files=len(halves), scans_harmed=len(harmed))
    assert halves == [] == harmed
    expected = {"reconstruction.png": "png", "result.cxi": "cxi", "result.h5": "result run"}
    for case in found:
        written = {expected[name] for name in set(case["left"]) - {"checkpoint.h5"}}
        assert written == set(expected.values()) - set(case["failed"])
        for sink in case["failed"]:
            assert sum(f"sink {sink} failed: OSError" in message for message in case["messages"]) == 1
        assert (case["result"] == "fail") == ("result run" in case["failed"])
        if case["result"] == "fail":
            assert "the result could not be written" in case["reason"]
    assert found[0]["failed"] == ["cxi", "png", "result run"], "nothing fits on a full disk"
    assert found[-1]["failed"] == [], "there is room"


@pytest.mark.slow
@pytest.mark.fault("11b", f"{FAULT}: catalog", bound="scan unharmed; analysis says so")
def test_a_catalog_that_does_not_fit(tmp_path, figure):
    found = run_case("catalog", tmp_path)
    figure(f"{found['used']} of 36 frames used")
    assert found["used"] == 36
    assert all(found["left"].values())
    assert any("sink result run failed" in message for message in found["messages"])


@pytest.mark.fault("11c", f"{FAULT}: frames", bound="the detector decides: scan fails; whole frames used, none foreign")
@pytest.mark.slow
def test_frames_that_do_not_fit(tmp_path, figure):
    found = run_case("frames", tmp_path)
    figure(f"{found['used']} of {found['announced']} announced frames used")
    assert "No space left" in found["error"] + found["reason"] or "File too large" in found["error"] + found["reason"]
    assert not found["shutter open"]
    assert found["status"] == "fail" and found["reason"]
    assert 10 < found["used"] == found["announced"] < 100
    assert found["foreign"] == 0 and found["finite"]
