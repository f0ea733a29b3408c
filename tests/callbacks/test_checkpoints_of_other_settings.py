"""A checkpoint is gone on with under the settings that it was made with, or others that lay out images alike."""

from __future__ import annotations

import shutil
import time

import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.checkpoints import DIRECTORY
from bluesky_ptycho.catalog import open_catalog

from .live_scan import QUICK, documents_in_order, make_run, play

SETTINGS = QUICK.with_changes(
    passes=4, frc=False, checkpoint_interval_s=0, **{"preprocess.binning": 2, "preprocess.pattern_px": 32}
)


@pytest.fixture(scope="module")
def catalog(blank_catalog, tmp_path_factory):
    with open_catalog(shutil.copytree(blank_catalog, tmp_path_factory.mktemp("left") / "catalog")) as opened:
        yield opened


@pytest.fixture(scope="module")
def left(scan, catalog):
    """Documents of a scan, where the checkpoint of its reconstruction belongs, and what was in it."""
    catalog.frames_dir.mkdir(parents=True, exist_ok=True)
    run = make_run(catalog.frames_dir, scan)
    documents = list(documents_in_order(run, scan))
    with LivePtycho(SETTINGS, catalog=catalog) as live:
        play(live, documents[:-1])
        (file,) = wait_for(lambda: list((catalog.results_dir / DIRECTORY).glob("*.h5")))
        content = file.read_bytes()
        play(live, documents[-1:])
    return documents, file, content


def wait_for(something, patience_s=60.0):
    deadline = time.monotonic() + patience_s
    while not (found := something()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"solver.tail_passes": 3}, None),
        ({"preprocess.binning": 1}, "its patterns are 32 × 32 pixels for an object pixel of"),
        ({"preprocess.optical_centre": (31.0, 33.0)}, "its optical_centre is None; expected (31.0, 33.0)"),
    ],
    ids=["as before", "more passes", "grid", "centre"],
)
def test_what_is_laid_out_otherwise_starts_anew_and_says_so(left, catalog, changes, says):
    documents, file, content = left
    file.write_bytes(content)
    with LivePtycho(SETTINGS.with_changes(**changes), catalog=catalog, resume=True, strict=True) as live:
        play(live, documents)
        outcome = live.wait(120)
    told = [message for message in outcome.update.messages if "the checkpoint cannot be used" in message]
    assert len(told) == (says is not None) and all(says in message for message in told)
    assert outcome.progress.used == 64 and outcome.update.exit_status == "success"
