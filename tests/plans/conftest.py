"""A RunEngine and a small simulated beamline with a camera that takes 32 x 32 pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bluesky import RunEngine

from bluesky_ptycho.sim import Beamline, make_beamline

from .recording import Recorder, Seen, watch


@pytest.fixture
def RE() -> Iterator[RunEngine]:
    engine = RunEngine({"cycle": "2026-3", "proposal": "pass-1"})
    yield engine
    if engine.state != "idle":
        engine.halt()
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join()
    engine.loop.close()


@pytest.fixture
def recorder(RE: RunEngine) -> Recorder:
    recorder = Recorder()
    RE.subscribe(recorder)
    return recorder


@pytest.fixture
def beamline(RE: RunEngine, tmp_path: Path) -> Iterator[Beamline]:
    with make_beamline(
        tmp_path, md=RE.md, camera="plain", shape=(32, 32), frame_rate=200.0, settle_time_s=0.0, progress=False
    ) as made:
        yield made


@pytest.fixture
def seen(beamline: Beamline) -> list[Seen]:
    return watch(beamline)
