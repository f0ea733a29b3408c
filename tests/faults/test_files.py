"""Files of frames that are cut short, locked, late or deleted while they are read."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tests.callbacks.compose import DATASET
from tests.callbacks.small_data import PIXEL_M

from .scene import SETTINGS, Scan, plain_plan, supply

N = 64
PATIENCE_S = 1.5
PATIENT = SETTINGS.replace(patience_s=PATIENCE_S)
BOUND = "valid frames used, the rest waited for at most the stated time and listed; no hang beyond 5 s past it"
FRAMES = np.random.default_rng(11).poisson(40, (N, 32, 32)).astype(np.uint16)
FRAMES[:, 10:20, 10:20] += 300
ROW = pytest.mark.fault("8", "raw HDF5 cut short, locked, late or deleted", bound=BOUND)


@pytest.fixture
def scan(tmp_path, request):
    positions_m = np.stack(np.divmod(np.arange(N), 8), axis=1) * PIXEL_M
    return Scan(plain_plan(positions_m, (32, 32)), tmp_path, FRAMES, packed=getattr(request, "param", True))


@pytest.fixture
def timed(scan, figure):
    """Supply a scan whose file suffers `harm` before its n-th document, and check what holds for every fault."""

    def run(what, harm, at=0, greedy=1.0):
        def documents():
            for i, document in enumerate(scan.documents()):
                if i == at:
                    harm()
                yield document

        before = time.monotonic()
        found = supply(documents(), PATIENT, greedy=greedy)
        waited = time.monotonic() - before
        figure(f"{what}: {len(found.frames)} used, {len(found.rejected)} listed, {waited:.1f} s")
        assert sorted([*found.frames, *found.rejected]) == list(range(1, N + 1)) and not found.missing
        assert all(reason.startswith("unreadable: ") for reason in found.rejected.values())
        assert waited < PATIENCE_S + 5
        for seq_num, (_, amplitude, _) in found.frames.items():
            given = np.frombuffer(amplitude, dtype=np.float32) ** 2
            np.testing.assert_allclose(given, FRAMES[seq_num - 1].ravel(), rtol=1e-5)
        return found, waited

    return run


def in_another_process(code, *arguments):
    """Start code that prints a line when it is ready, and wait for that line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


@ROW
@pytest.mark.parametrize("scan", [True, False], ids=["packed", "as they are"], indirect=True)
@pytest.mark.parametrize("at", [0, 3 + N])
def test_cut_short_before_and_while_it_is_read(scan, timed, at):
    """What lies beyond the end of a file HDF5 would read as zeros, where it need not unpack them."""

    def cut():
        with open(scan.path, "r+b") as file:
            file.truncate(scan.path.stat().st_size * 2 // 3)

    found, _ = timed("cut short while read" if at else "cut short", cut, at)
    assert N // 2 < len(found.frames) < N
    assert max(found.frames) < min(found.rejected)


@ROW
@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [200, 1000, 5000])
def test_cut_to_a_few_bytes_before_it_is_read(scan, timed, size):
    """What a file says of itself may be lost with its frames."""
    found, _ = timed(f"cut to {size} bytes", lambda: os.truncate(scan.path, size))
    assert all(f"cut short: {size} of " in reason for reason in found.rejected.values())


@ROW
@pytest.mark.parametrize("at", [0, 3 + N])
def test_deleted_before_and_while_it_is_read(scan, timed, at):
    found, _ = timed("deleted while read" if at else "deleted", scan.path.unlink, at)
    assert len(found.frames) == (N if at else 0), "what is open can be read to its end"


LOCK = """
import sys, h5py
with h5py.File(sys.argv[1], "r+", locking=True):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@ROW
@pytest.mark.parametrize("released", [True, False])
def test_locked_by_another_process(scan, timed, released):
    other = in_another_process(LOCK, scan.path)
    try:
        release = threading.Timer(0.5, other.communicate, args=["\n"])
        found, waited = timed("locked for 0.5 s" if released else "locked", release.start if released else str)
        assert len(found.frames) == (N if released else 0)
        assert waited > (0.5 if released else PATIENCE_S)
        release.cancel()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
        other.stdin.close()


WRITE = f"""
import sys, time, h5py, numpy as np
path, n = sys.argv[1], int(sys.argv[2])
frames = np.load(path + ".npy")
print("ready", flush=True)
time.sleep(0.5)
with h5py.File(path, "w", libver="latest") as file:
    data = file.create_dataset({DATASET!r}, (0, 32, 32), "u2", maxshape=(None, 32, 32), chunks=(1, 32, 32))
    file.swmr_mode = True
    for i in range(n):
        data.resize(i + 1, axis=0)
        data[i] = frames[i]
        data.flush()
        time.sleep(0.01)
    time.sleep(60)
"""


@ROW
@pytest.mark.parametrize("n", [N, 40])
def test_frames_that_another_process_writes_after_they_were_announced(scan, timed, n):
    """All documents are there at once; the file comes half a second later and grows slowly, perhaps not to its end."""
    scan.path.unlink()
    np.save(f"{scan.path}.npy", FRAMES)
    other = in_another_process(WRITE, scan.path, n)
    try:
        found, waited = timed("late" if n == N else "late and never whole", str, greedy=0)
        assert sorted(found.frames) == list(range(1, n + 1))
        assert waited > 0.5
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
        other.stdin.close()


@ROW
@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_the_file_is_not_waited_for_without_end(scan, timed):
    scan.path.unlink()
    os.mkfifo(scan.path)
    found, _ = timed("a pipe in its place", str)
    assert not found.frames
