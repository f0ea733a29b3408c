"""The toy plug-in of docs/plugins.md, installed: off unless enabled, then at work, and listed in the result."""

from __future__ import annotations

import sys
import tomllib

import numpy as np
import pytest

from bluesky_ptycho import enable_plugins
from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.errors import NotFoundError
from bluesky_ptycho.preprocess.presets import PLAIN_STEPS
from bluesky_ptycho.registry import algorithms, detectors, preprocessing_steps, sinks
from tests.callbacks.compose import ComposedRun, small_plan
from tests.callbacks.live_scan import documents_in_order, play
from tests.callbacks.small_data import small_scan
from tests.conftest import REPOSITORY
from tests.distributions import installer

from .blocks import read_blocks

TABLES = (
    (detectors, "toy-camera", "camera"),
    (preprocessing_steps, "without_offset", "without_offset"),
    (algorithms, "cautious_pie", "cautious_pie"),
    (sinks, "counter", "Counter"),
)
STEPS = (PLAIN_STEPS[0], "without_offset", *PLAIN_STEPS[1:])


@pytest.fixture
def toys(tmp_path):
    """The plug-in, installed and not enabled."""
    files = {b.file: b.code for b in read_blocks(REPOSITORY / "docs" / "plugins.md") if b.file}
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    with installer(tmp_path) as install:
        install(project["name"], project["entry-points"], files, enabled=False)
        yield project["name"]
    for table, name, _ in TABLES:
        table._entries.pop(name, None)


def test_it_is_off_until_it_is_enabled(toys):
    for table, name, _ in TABLES:
        with pytest.raises(NotFoundError, match=rf"offered by {toys} 1\.0, which is not enabled"):
            table[name]
    assert "beamline_toys" not in sys.modules
    enable_plugins(toys)
    for table, name, attribute in TABLES:
        assert table[name] is getattr(sys.modules["beamline_toys"], attribute)


def test_a_scan_with_all_four(toys, catalog, tmp_path):
    enable_plugins(toys)
    scan = small_scan(n_side=6)
    raw = 100 + np.kron(scan[1], np.array([[1, 0], [0, 0]], dtype=np.uint16))  # two by two pixels, and an offset
    plan = small_plan(scan[0], shape=(128, 128), trajectory="list")
    plan = plan.__class__(**{**vars(plan), "detector": _toy(plan.detector)})
    catalog.frames_dir.mkdir(parents=True, exist_ok=True)
    run = ComposedRun(plan, catalog.frames_dir / "toy.h5", raw.astype(np.uint16))
    settings = LiveSettings(frc=False, passes=3).with_changes(
        **{"preprocess.steps": STEPS, "solver.algorithm": "cautious_pie"}
    )
    warned = pytest.warns(UserWarning, match="no zone plate")
    with LivePtycho(settings, catalog=catalog, sinks=["counter"], strict=True) as live, warned:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(120)
    assert outcome.progress.used == 36
    assert outcome.update.geometry.shape == (64, 64), "its pixels were put together"
    photons = float(np.sum(np.abs(outcome.snapshot.probe) ** 2))
    assert photons == pytest.approx(scan[1].sum(axis=(1, 2)).max(), rel=0.5), "the offset was taken off"
    assert sys.modules["beamline_toys"].Counter.seen >= 2
    start = catalog[outcome.result_uid].start
    assert start["versions"]["beamline-toys"] == "1.0"


def _toy(detector):
    return detector.__class__(**{**vars(detector), "layout": "toy-camera", "pixel_m": (60e-6, 60e-6)})
