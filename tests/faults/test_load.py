"""Rows 14 and 22: analysis or display far too slow, and a long session."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.frame_supply import FrameSupply
from bluesky_ptycho.callbacks.lanes import Lanes

from .load import ManyFrames, resident, resources, timed
from .scene import SETTINGS

QUICK = SETTINGS.with_changes(
    passes=1,
    chunk=256,
    snapshot_interval_s=0.1,
    **{"solver.tail_passes": 0, "preprocess.min_relative_flux": 0.0},
)


class SlowDisplay:
    name = "slow display"

    def __init__(self, seconds):
        self.seconds, self.shown = seconds, []

    def __call__(self, update):
        self.shown.append((update.kind, update.progress.used))
        if update.kind == "snapshot":
            time.sleep(self.seconds)


@pytest.mark.slow
@pytest.mark.fault("14a", "analysis 10 x too slow", bound="callback p99 < 5 ms; memory bounded; 0 frames lost")
def test_an_analysis_that_is_ten_times_too_slow(tmp_path, monkeypatch, figure, time_counts):
    n, interval_s = 400, 0.002
    scan = ManyFrames(n, tmp_path)
    take = FrameSupply.take

    def slow(self, *limit):
        found = take(self, *limit)
        if found is not None and found.batch is not None:
            time.sleep(10 * interval_s * found.batch.n)
        return found

    monkeypatch.setattr(FrameSupply, "take", slow)
    behind = 0
    with LivePtycho(QUICK.with_changes(chunk=16)) as live:
        live("start", scan.start)
        while live.progress().phase == "warming up":  # what is loaded and compiled is no frame that waits
            time.sleep(0.02)
        _, *documents, stop = scan.documents()
        before = resident()
        took = timed(live, documents, interval_s / 2)
        grown, behind = resident() - before, live.progress().lag
        assert "waiting" in live.status()
        live(*stop)
        outcome = live.wait(120)
    p99 = float(np.percentile(took, 99)) * 1e3
    figure(callback_p99_ms=p99, frames_lost=n - outcome.progress.used, grown_by_MB=grown / 1e6)
    assert behind > n / 2, "the analysis was not far behind"
    assert p99 < 5 or not time_counts
    assert outcome.progress.used == n and not outcome.update.missing
    assert grown < n * 4000 + 64e6, "no pixels wait in memory but those of the chunk at work"


@pytest.mark.slow
@pytest.mark.fault("14b", "display 10 x too slow", bound="solver not slowed; newest shown; skips counted")
def test_a_display_that_is_ten_times_too_slow(tmp_path, monkeypatch, figure):
    """What the solver spends on handing over is measured, which a busy machine does not stretch as it does a run."""
    handing_over, send = [], Lanes.send

    def timed_send(self, update):
        began = time.monotonic()
        send(self, update)
        handing_over.append(time.monotonic() - began)

    monkeypatch.setattr(Lanes, "send", timed_send)
    scan, display = ManyFrames(600, tmp_path), SlowDisplay(1.0)
    with LivePtycho(QUICK.with_changes(passes=300), sinks=[display]) as live:
        timed(live, scan.documents(), 0.001)
        outcome = live.wait(240)
    skipped, share = outcome.progress.skipped, sum(handing_over) / outcome.progress.elapsed_s
    figure(skipped=skipped, percent_of_time_on_handing_over=100 * share)
    assert outcome.progress.used == 600
    shown = [kind for kind, _ in display.shown]
    assert (shown[0], shown[-1]) == ("start", "final") and "snapshot" in shown
    assert skipped > 0 and f"{skipped} snapshots not shown" in live.status()
    assert share < 0.05, "it was waited for"


@pytest.mark.parametrize(
    ("n_runs", "n_events"),
    [
        pytest.param(
            6,
            2400,
            id="quick",
            marks=[
                pytest.mark.slow,
                pytest.mark.fault("22a", "soak, quick", bound="memory < 5 % after warm-up; p99 < 1 ms a document"),
            ],
        ),
        pytest.param(
            20,
            100_000,
            id="long",
            marks=[
                pytest.mark.slow,
                pytest.mark.timeout(1800),
                pytest.mark.fault(
                    "22b", "soak: 100 000 events, 20 runs", bound="memory < 5 % after warm-up; per-event cost flat"
                ),
            ],
        ),
    ],
)
def test_soak(n_runs, n_events, tmp_path, figure, time_counts):
    """Runs of equal length, one after the other, as fast as they can be sent; memory after each, time of each call."""
    each, memory, took, left = n_events // n_runs, [], [], []
    with LivePtycho(QUICK, sinks=[SlowDisplay(0.0)]) as live:
        for _ in range(n_runs):
            scan = ManyFrames(each, tmp_path)
            documents = list(scan.documents())
            took.append(timed(live, documents))
            outcome = live.wait(300)
            assert outcome.progress.used == each and not outcome.sink_errors
            scan.path.unlink()
            del scan, documents
            memory.append(resident())
            left.append(resources())
    # Threads get their heaps one after the other: the level after warming up is that of three runs.
    warm = 3 * n_runs // 10
    growth = max(memory[warm:]) / float(np.median(memory[warm : warm + 3])) - 1
    p99 = float(np.percentile(np.concatenate(took[1:]), 99)) * 1e3
    half = len(took) // 2
    first, second = (float(np.median(np.concatenate(part))) for part in (took[1:half], took[half:]))
    figure(memory_growth_percent=100 * growth, p99_ms=p99, cost_ratio=second / first)
    assert growth < 0.05, [m // 10**6 for m in memory]
    assert p99 < 1 or not time_counts
    assert second < 1.5 * first, "the cost of an event grows"
    assert {row["threads"] for row in left} == {0}
    assert max(row["handles"] for row in left[warm:]) <= left[warm]["handles"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("22c", "cost of an event within one long run", bound="last tenth at most 1.5 x the first")
def test_an_event_costs_the_same_at_the_end_of_a_long_run(tmp_path, figure):
    n = 30_000
    scan = ManyFrames(n, tmp_path)
    with LivePtycho(QUICK) as live:
        took = timed(live, scan.documents())
        assert live.wait(800).progress.used == n
    tenth = len(took) // 10
    first, last = float(np.median(took[tenth : 2 * tenth])), float(np.median(took[-tenth:]))
    figure(first_us=first * 1e6, last_us=last * 1e6)
    assert last < 1.5 * first
