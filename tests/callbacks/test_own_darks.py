"""Darks of a detector that knows nothing of this package, in a stream of any name."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.callbacks.intake import Intake
from bluesky_ptycho.callbacks.own_keys import translator
from bluesky_ptycho.replay import replay
from bluesky_ptycho.scan_plan import ScanPlan

from .live_scan import Frames, play, until
from .own_run import FACTS, KEYS, NO_ZONE_PLATE, OwnRun

SETTINGS = LiveSettings(frc=False, passes=2)


@pytest.fixture(scope="module")
def darks():
    """Frames of a camera that adds 300 counts, and more to the right."""
    offset = 300 + np.arange(64)[None, None, :]
    return (offset + np.random.default_rng(7).integers(-1, 2, (5, 64, 64))).astype(np.uint16)


@pytest.mark.parametrize(
    ("dark_stream", "late", "told", "process"),
    [
        ("dark", False, True, False),
        ("background", True, True, False),
        ("background", False, False, False),
        pytest.param("background", False, True, True, marks=pytest.mark.slow),
        pytest.param("background", True, False, True, marks=pytest.mark.slow),
    ],
)
def test_darks_of_a_named_stream_are_taken_off(tmp_path, scan, darks, dark_stream, late, told, process):
    run = OwnRun(tmp_path / "eiger.h5", scan, told=told, darks=darks, dark_stream=dark_stream)
    keys, warned = {**KEYS, **FACTS, "dark_stream": dark_stream}, nullcontext() if process else NO_ZONE_PLATE()
    clean = Frames()
    with LivePtycho(SETTINGS, **keys, process=process, sinks=[clean], strict=True) as live, warned:
        play(live, run.documents(late=late))
        outcome = live.wait(240)
    assert outcome.progress.used == outcome.progress.planned == 64
    assert (outcome.update.dark_uid, outcome.update.dark_corrected) == (run.bundle.start_doc["uid"], True)
    assert_clean(clean, scan)


@pytest.mark.parametrize("late", [False, True])
def test_points_wait_for_darks_whose_frames_are_told_of_last(tmp_path, scan, darks, late):
    """As a stored run may give them: all events, then which frames are theirs."""
    run = OwnRun(tmp_path / "eiger.h5", scan, darks=darks)
    documents = list(run.documents(late=late))
    translated = translator(**KEYS, facts=FACTS)
    dark_stream = next(d["uid"] for name, d in documents if name == "descriptor" and d["name"] == "dark")
    last = [d for d in documents if d[0] == "stream_datum" and d[1]["descriptor"] == dark_stream]
    intake = None
    for name, doc in [d for d in documents[:-1] if d not in last]:
        for kind, given in translated(name, doc):
            if intake is None:
                intake = Intake(given, ScanPlan.from_start(given), patience_s=600)
            intake(kind, given)
    assert intake.problem is None and intake.counts()[:2] == (64, 64)
    assert not intake.has_ready and intake.take_points(99) == []
    for name, doc in last:
        for pair in translated(name, doc):
            intake(*pair)
    assert [point.row for point in intake.take_darks(99)] == list(range(5))
    assert [point.row for point in intake.take_points(99)] == list(range(64))


def assert_clean(clean, scan):
    """Assert that frames have their photons back, but for the darks' mean, which whole counts rounded."""
    assert sorted(clean.newest) == list(range(1, 65))
    for seq_num, amplitude in clean.newest.items():
        np.testing.assert_allclose(amplitude**2, scan[1][seq_num - 1], atol=0.51)


def test_a_stored_run_replays_with_its_darks(tmp_path, scan, darks, catalog):
    catalog.frames_dir.mkdir(parents=True, exist_ok=True)
    run = OwnRun(catalog.frames_dir / "eiger.h5", scan, darks=darks, dark_stream="background")
    writer = catalog.raw_writer()
    for name, doc in run.documents():
        writer(name, doc)
    keys = {**KEYS, **FACTS, "dark_stream": "background"}
    clean = Frames()
    with LivePtycho(SETTINGS, catalog=catalog, **keys, sinks=[clean], strict=True) as live, NO_ZONE_PLATE():
        replay(-1, catalog, live)
        outcome = live.wait(240)
    assert (outcome.progress.used, outcome.update.dark_uid) == (64, run.bundle.start_doc["uid"])
    assert_clean(clean, scan)


@pytest.mark.slow
def test_a_process_that_dies_goes_on_with_the_same_darks(tmp_path, scan, darks):
    documents = list(OwnRun(tmp_path / "eiger.h5", scan, darks=darks).documents())
    settings = SETTINGS.with_changes(passes=12, progress_interval_s=0.05, checkpoint_interval_s=0.1)
    with LivePtycho(settings, **KEYS, **FACTS, process=True) as live:
        play(live, documents[:90])
        until(live, lambda progress: progress.used >= 20)
        (analysis,) = live._running.values()
        analysis._life.kill()
        play(live, documents[90:])
        outcome = live.wait(240)
    assert any("is started again" in message for message in outcome.update.messages)
    assert (outcome.progress.used, outcome.update.dark_uid) == (64, outcome.raw_uid)


def test_frames_without_a_stage_in_a_stream_that_nobody_named_are_told_of(tmp_path, scan, darks):
    with LivePtycho(SETTINGS, **KEYS, **FACTS) as live:
        play(live, OwnRun(tmp_path / "eiger.h5", scan, darks=darks, dark_stream="background").documents())
        (error,) = live.errors.values()
    assert "stream 'background' has no data key 'sy_readback'; it has eiger_image; expected" in str(error)
    assert str(error).endswith("or dark_stream='background' if they are darks")
