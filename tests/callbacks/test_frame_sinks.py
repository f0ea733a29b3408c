"""Files of frames that grow with the scan."""

from __future__ import annotations

import dataclasses
import threading

import h5py
import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.callbacks.frame_sinks import NxsSink, PtydSink
from bluesky_ptycho.callbacks.lanes import MOST_BATCHES, Lanes
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.io.cxi import read_cxi
from bluesky_ptycho.io.patterns import open_patterns
from bluesky_ptycho.whole_file import GrowingHdf5
from tests.stored import GEOMETRY, POSITIONS, small_snapshot, update

from .live_scan import documents_in_order, make_run, play

START = {"uid": "0123456789abcdef", "scan_id": 12, "sample_name": "gold", "time": 0.0}


def batch(points, seed=0):
    """Return a batch of the numbers of `points`, of which each has a frame of its own."""
    n = len(points)
    photons = np.random.default_rng(seed).poisson(20, (n, *GEOMETRY.shape)).astype(np.float32)
    photons[:, 0, 0] = points
    mask = np.ones(photons.shape, dtype=bool)
    mask[:, 3, 4] = False
    positions = np.array([POSITIONS[p % len(POSITIONS)] for p in points])
    return Batch(np.array(points), positions, np.sqrt(photons), mask)


def numbers_in(path):
    with open_patterns(path) as patterns:
        photons, mask = patterns.read(0, patterns.n)
    assert not mask[:, 3, 4].any() and mask.sum() == patterns.n * (mask[0].size - 1)
    return np.rint(photons[:, 0, 0]).astype(int).tolist()


def frames(points, seed=0):
    return update("frames", START, frames=batch(points, seed))


def test_a_ptyd_file_can_be_read_whenever_it_grew(tmp_path, monkeypatch):
    monkeypatch.setattr("bluesky_ptycho.callbacks.frame_sinks.FRAMES_IN_PART", 4)
    sink = PtydSink(tmp_path)
    path = tmp_path / "00012_01234567" / "patterns.ptyd"
    sink(update("start", START))
    sink(frames([1, 2, 3]))
    assert not path.exists(), "PtyPy opens no file without a chunk"
    sink(frames([4, 5]))
    assert numbers_in(path) == [1, 2, 3, 4, 5]
    sink(frames([6, 7, 8, 9, 2], seed=1))
    assert numbers_in(path) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    with open_patterns(path) as patterns:
        again = patterns.read(1, 2)[0]
    np.testing.assert_allclose(again[0, 5:], np.square(batch([6, 7, 8, 9, 2], seed=1).amplitude[4, 5:]), rtol=1e-6)
    sink(frames([10]))
    sink(update("final", START, small_snapshot(), rejected={3: "dark: dim", 6: "dark: dim", 7: "d", 8: "d", 9: "d"}))
    assert numbers_in(path) == [1, 2, 4, 5, 10]


def test_a_nexus_file_appears_at_the_end_alone(tmp_path):
    sink = NxsSink(tmp_path)
    sink(frames([1, 2, 3]))
    sink(frames([4, 2], seed=1))
    path = tmp_path / "00012_01234567" / "patterns.nxs"
    assert not path.exists()
    sink(update("final", START, small_snapshot(), rejected={3: "dark: dim"}))
    assert numbers_in(path) == [1, 2, 4]
    assert [p.name for p in path.parent.iterdir()] == ["patterns.nxs"]


def test_a_nexus_file_has_the_weights_of_merged_exposures(tmp_path):
    sink, taken = NxsSink(tmp_path), batch([1, 2])
    weight = np.random.default_rng(0).random(taken.amplitude.shape).astype(np.float32)
    sink(update("frames", START, frames=dataclasses.replace(taken, weight=weight)))
    sink(update("final", START, small_snapshot()))
    np.testing.assert_array_equal(read_cxi(tmp_path / "00012_01234567" / "patterns.nxs").weight, weight)


def test_nothing_stays_where_every_frame_was_bad(tmp_path):
    for sink in (NxsSink(tmp_path), PtydSink(tmp_path)):
        sink(frames([1]))
        sink(update("final", START, rejected={1: "dark: dim"}))
    assert not [p for p in tmp_path.rglob("patterns.*") if p.suffix != ".part000"]


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    sink = NxsSink(tmp_path)
    sink(frames([1]))
    monkeypatch.setattr("bluesky_ptycho.whole_file.MARGIN_BYTES", 10**18)
    with pytest.raises(OSError, match="No space left"):
        sink(frames([2]))
    assert not list((tmp_path / "00012_01234567").iterdir())


def test_a_file_that_cannot_be_closed_goes_too(tmp_path, monkeypatch):
    def full(file):
        raise OSError("No space left on device")

    file = GrowingHdf5(tmp_path / "a.h5")
    monkeypatch.setattr(h5py.File, "close", full)
    with pytest.raises(ValueError, match="what came first"), file:
        raise ValueError("what came first")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("process", [False, True])
def test_sinks_by_name_hold_the_frames_that_were_used(tmp_path, scan, monkeypatch, process):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path, scan)
    settings = LiveSettings(frc=False, passes=2)
    with LivePtycho(settings, sinks=["ptyd", "nxs"], process=process) as live:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(120)
    assert not outcome.sink_errors
    directory = tmp_path / "ptycho_output" / f"00001_{run.start['uid'][:8]}"
    for name in ("patterns.ptyd", "patterns.nxs"):
        with open_patterns(directory / name) as patterns:
            assert patterns.n == outcome.progress.used == 64
            np.testing.assert_allclose(np.sort(patterns.positions_m, axis=0), np.sort(scan[0], axis=0))


def test_a_sink_that_is_behind_holds_the_analysis_but_not_for_ever(tmp_path):
    released, seen, failed = threading.Event(), [], []

    def slow(told):
        released.wait(10)
        seen.append(told.kind)

    slow.wants_frames = True
    lanes = Lanes([slow], "run", 0.2, lambda name, error: failed.append(str(error)))
    lanes.start()
    for _ in range(MOST_BATCHES + 1):
        lanes.send(frames([1]))
    assert not failed, "one is with the sink, the others wait"
    lanes.send(frames([1]))
    assert failed == ["it has not taken a batch of frames for 0.2 s"] and not lanes.want_frames
    released.set()


def test_only_who_asks_is_sent_frames():
    seen = []
    lanes = Lanes([lambda told: seen.append(told.kind)], "run", 5.0, lambda *failed: None)
    lanes.start()
    lanes.send(frames([1]))
    lanes.finish(lambda: update("final", START))
    assert seen == ["final"] and not lanes.want_frames
