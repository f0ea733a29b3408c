"""Row 19: memory runs out on the device, or is less than the data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bluesky_ptycho.backend import Backend
from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.errors import PtychoError, SettingsError
from bluesky_ptycho.preprocess import pipeline as pipelines
from bluesky_ptycho.recon import IncrementalSolver, memory, solver, store
from bluesky_ptycho.recon.device_engine import DeviceEngine
from tests import cuda_on_host
from tests.callbacks.small_data import small_scan
from tests.conftest import REPOSITORY
from tests.recon.small_problem import GEOMETRY, make_problem

from .scene import SETTINGS, Scan, plain_plan, reconstruct

LEAST_S = 10.0


class Device(cuda_on_host.HostCuda):
    """A simulated card, of whose memory somebody else takes more and more: `most` bytes are left for an array."""

    records = False  # passes that are recorded ask for no more memory

    def __init__(self, directory):
        super().__init__(directory)
        self.most, self.refused_at = float("inf"), None
        device, arrays = self, self.xp

        class Scarce(type(arrays)):
            @staticmethod
            def empty(shape, dtype):
                if np.prod(shape) * np.dtype(dtype).itemsize > device.most:
                    device.refused_at = device.refused_at or time.monotonic()
                    raise MemoryError("out of memory allocating on the device")
                return arrays.empty(shape, dtype)

        self.xp = Scarce()


@pytest.fixture
def device(tmp_path, monkeypatch):
    if cuda_on_host.COMPILER is None:
        pytest.skip("needs g++, which compiles the device's kernels for the host")
    made = Device(tmp_path)
    monkeypatch.setattr(solver, "get_backend", lambda name: Backend() if name == "numpy" else made)
    return made


@pytest.mark.fault("19a", "out of memory on the device", bound="smaller batches, then CPU within 10 s; 0 frames lost")
def test_smaller_batches_then_the_cpu(device, tmp_path, monkeypatch, figure):
    positions_m, patterns, _, _ = small_scan(n_side=6)
    chunks, on_cpu, visit = [], [], DeviceEngine.exit_waves

    def exit_waves(self, state, slots, probes):
        chunks.append(len(slots))
        if len(chunks) == 60:
            device.most = 3.5 * 8 * 64 * 64 * state.probe.shape[0]
        elif len(chunks) == 200:
            device.most, device.refused_at = 100, None  # from here on no batch is small enough
        return visit(self, state, slots, probes)

    step = IncrementalSolver.step

    def watched(self, n=1):
        found = step(self, n)
        if self.backend.name == "numpy" and n:
            on_cpu.append(time.monotonic())
        return found

    monkeypatch.setattr(DeviceEngine, "exit_waves", exit_waves)
    monkeypatch.setattr(IncrementalSolver, "step", watched)
    settings = SETTINGS.with_changes(passes=60)
    outcome, _ = reconstruct(
        Scan(plain_plan(positions_m, (64, 64)), tmp_path, patterns).documents(), tmp_path, settings
    )
    seconds = on_cpu[0] - device.refused_at
    lost = 36 - outcome.progress.used
    figure(seconds_to_the_CPU=seconds, frames_lost=lost)
    assert max(chunks[60:200]) <= 36 and min(chunks[60:200]) <= 3 < max(chunks[:60])
    assert outcome.error is None and lost == 0
    assert seconds < LEAST_S
    assert [m for m in outcome.update.messages if "ran out of memory" in m] == [
        "the device ran out of memory: the reconstruction goes on, on the CPU"
    ]
    monkeypatch.undo()
    clean, _ = reconstruct(
        Scan(plain_plan(positions_m, (64, 64)), tmp_path, patterns).documents(),
        tmp_path,
        settings.with_changes(backend="numpy"),
    )
    assert outcome.snapshot.residual == pytest.approx(clean.snapshot.residual, rel=0.05)


@pytest.mark.fault("19b", "device too small from the start", bound="CPU; 0 frames lost")
@pytest.mark.parametrize("where", ["solver", "warm-up", "cleaning", "cleaning a frame"])
def test_a_device_that_is_too_small_from_the_start(where, device, tmp_path, monkeypatch, figure):
    positions_m, patterns, _, _ = small_scan(n_side=5)
    if where == "solver":

        def too_small(self, *args, **kwargs):
            raise MemoryError("out of memory allocating on the device")

        monkeypatch.setattr(solver, "make_engine", lambda backend, between=None, make=solver.make_engine: (
            too_small(None) if backend is device else make(backend, between)
        ))  # fmt: skip
    elif where == "warm-up":
        device.most = 100
    else:
        most, run = (4 if where == "cleaning" else 0), pipelines.Pipeline.__call__
        cpu = []

        def scarce(self, frames, darks=None):
            if len(frames) > most and not (most == 0 and cpu):
                cpu.append(len(frames) == 1)
                cpu[:] = [True] if any(cpu) else []
                raise MemoryError("out of memory allocating on the device")
            return run(self, frames, darks)

        monkeypatch.setattr(pipelines.Pipeline, "__call__", scarce)
    scan = Scan(plain_plan(positions_m, (64, 64)), tmp_path, patterns)
    outcome, _ = reconstruct(scan.documents(), tmp_path, SETTINGS.with_changes(passes=5))
    figure(frames_lost=25 - outcome.progress.used)
    assert outcome.error is None and outcome.progress.used == 25
    assert any("on the CPU" in m for m in outcome.update.messages) == (where != "cleaning")


def anonymous_bytes():
    """Return the memory of this process that only it can give back: not what the system maps from files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


BUDGET = """
import json, numpy as np, sys
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.recon import IncrementalSolver
from bluesky_ptycho.scan_plan import Illumination
from tests.callbacks.compose import small_plan
from tests.faults.test_memory import anonymous_bytes
from bluesky_ptycho.preprocess import PreprocessSettings, output_geometry

n, side = 6000, 128
positions = np.stack(np.divmod(np.arange(n), 80), axis=1) * 1e-8
light = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=60e-6, defocus_m=10e-6)
plan = small_plan(positions, shape=(side, side), illumination=light)
geometry = output_geometry(plan, PreprocessSettings())
with IncrementalSolver(plan, geometry, backend="numpy", memory_budget=sys.argv[1]) as solver:
    solver.warm_up()
    before = peak = anonymous_bytes()
    rng = np.random.default_rng(0)
    pattern = rng.poisson(100, (side, side)).astype(np.float32) ** 0.5
    for first in range(0, n, 16):
        rows = np.arange(first, min(n, first + 16))
        frames, mask = np.repeat(pattern[None], len(rows), 0), np.ones((side, side), bool)
        solver.add(Batch(rows + 1, positions[rows], frames, mask))
        peak = max(peak, anonymous_bytes())
    solver.step(2)
    solver.snapshot()
    peak = max(peak, anonymous_bytes())
    print(json.dumps({"frames": solver.n_frames, "grown": peak - before, "data": 2 * n * side * side,
                      "residual": solver.step(0)}))
"""


@pytest.mark.slow
@pytest.mark.fault("19c", "memory budget below the data", bound="memory grows less than the budget; 0 frames lost")
def test_a_budget_far_below_the_data_is_kept(figure):
    budget = 80e6
    command = [sys.executable, "-c", BUDGET, str(int(budget))]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    figure(grown_by_MB=found["grown"] / 1e6, data_MB=found["data"] / 1e6)
    assert found["data"] > 2 * budget
    assert found["frames"] == 6000 and np.isfinite(found["residual"])
    assert found["grown"] < budget


def test_frames_on_disk_give_the_same_image():
    problem, results = make_problem(), []
    with problem.solver() as one:
        whole = memory.reconstruction_bytes(problem.plan.n_points, one.canvas.shape, GEOMETRY.shape, one.settings)
    for budget in (whole, whole - 1):
        given = {"backend": "numpy", "probe": problem.probe, "memory_budget": budget}
        with IncrementalSolver(problem.plan, GEOMETRY, **given) as one:
            assert one._state.frames.on_disk == (budget < whole)
            one.add(problem.batch())
            one.step(4)
            results.append(one.snapshot().object)
    np.testing.assert_array_equal(*results)


def test_a_budget_that_cannot_be_kept_is_refused_and_the_scan_goes_on(tmp_path):
    positions_m, patterns, _, _ = small_scan(n_side=5)
    live = LivePtycho(SETTINGS.with_changes(memory_budget="100 kB"))
    for name, doc in Scan(plain_plan(positions_m, (64, 64)), tmp_path, patterns).documents():
        live(name, doc)
    with pytest.raises(PtychoError, match=r"memory_budget is 0 MB, and without its frames this reconstruction takes"):
        live.wait(240)
    live.close()


@pytest.mark.parametrize("budget", ["0", "-3", "2 XB", "lots", "", "1e400"])
def test_a_budget_is_a_number_of_bytes(budget):
    with pytest.raises(SettingsError, match=r"memory_budget is .* expected a number of bytes, or a text like '2 GB'"):
        SETTINGS.with_changes(memory_budget=budget)


def test_a_budget_in_words():
    assert [memory.bytes_of(b) for b in (None, 7, "7", "2 GB", "1.5kB", "20M")] == [
        None,
        7,
        7,
        2 * 10**9,
        1500,
        2 * 10**7,
    ]
    assert SETTINGS.with_changes(memory_budget=2 * 10**9).memory_budget == "2000000000"


def test_a_disk_that_has_no_room_for_the_frames_is_told_before_it_is_written_to(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        store.zeros_on_disk((4, 8, 8))
    monkeypatch.undo()
    assert store.zeros_on_disk((4, 8, 8)).sum() == 0
    assert os.path.isdir(store.SCRATCH)
