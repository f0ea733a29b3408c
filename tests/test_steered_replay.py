"""A scan whose reconstruction was steered is reconstructed again as it was."""

from __future__ import annotations

import shutil
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bluesky_ptycho.bug_report import write_bug_report
from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.catalog import open_catalog
from bluesky_ptycho.cli import main
from bluesky_ptycho.devices import ReconControl
from bluesky_ptycho.recon.metrics import object_nrmse
from bluesky_ptycho.replay import replay, steering_of
from tests.callbacks.live_scan import QUICK, make_run, steer
from tests.callbacks.small_data import small_scan

SETTINGS = QUICK.with_changes(passes=10, **{"solver.tail_passes": 1})


@pytest.fixture(scope="module")
def scan():
    return small_scan()


@pytest.fixture(scope="module")
def catalog(blank_catalog, tmp_path_factory):
    with open_catalog(shutil.copytree(blank_catalog, tmp_path_factory.mktemp("steered") / "catalog")) as opened:
        yield opened


@pytest.fixture(scope="module")
def steered(catalog, scan):
    """Live outcome of a steered scan that is in the catalog."""
    recon = ReconControl()
    acts = {
        20: partial(recon.modes.put, 2),
        37: partial(recon.step.put, 0.05),  # too small to get far
        50: partial(recon.reset.put, True),
        64: partial(recon.probe_regularisation.put, 0.2),
    }
    writer = catalog.raw_writer()

    def take(name, doc):
        writer(name, doc)
        live(name, doc)

    with LivePtycho(SETTINGS, catalog=catalog, control=recon) as live:
        return steer(live, make_run(catalog.frames_dir, scan), scan, acts, take)


def versions(changes):
    return [(change.version, change.changed, change.frames_used) for change in changes]


def difference(outcome, other):
    box = np.s_[36:-36, 36:-36]
    return object_nrmse(outcome.snapshot.object, other.snapshot.object, box)


def test_live_and_replay_agree(catalog, steered):
    found = steering_of(steered.result_uid, catalog)
    assert found.changes == steered.update.changes
    assert found.settings == SETTINGS
    with LivePtycho(found.settings, catalog=catalog, script=found.changes) as live:
        replay(steered.raw_uid, catalog, live)
        again = live.wait(240)
    assert versions(again.update.changes) == versions(steered.update.changes)
    assert again.update.settings == steered.update.settings
    assert again.snapshot.settings == steered.snapshot.settings
    assert steering_of(steered.raw_uid, catalog).result_uid == again.result_uid, "the newest counts"
    assert versions(steering_of(steered.raw_uid, catalog).changes) == versions(found.changes)
    with LivePtycho(found.settings) as live:
        replay(steered.raw_uid, catalog, live)
        unsteered = live.wait(240)
    assert len(unsteered.snapshot.probe) == 1 and unsteered.update.changes == ()
    assert difference(steered, again) < 0.02
    assert difference(steered, again) < 0.5 * difference(steered, unsteered)


@pytest.mark.slow
def test_the_command_does_it_by_itself_unless_told_otherwise(catalog, steered, tmp_path, capsys):
    for arguments, n_changes in (([], 4), (["--no-changes"], 0)):
        output = tmp_path / f"replay_{n_changes}"
        words = ["replay", steered.result_uid, "--catalog", str(catalog.name), "--output", str(output), *arguments]
        assert main(words) == 0
        said = capsys.readouterr().out
        assert ("and 4 changes made while it ran" in said) == bool(n_changes)
        newest = steering_of(steered.raw_uid, catalog)
        assert (0 if newest is None else len(newest.changes)) == n_changes


def test_the_log_lies_beside_the_result_and_tells_of_the_changes(catalog, steered, tmp_path):
    start = catalog[steered.result_uid].metadata["start"]
    log = Path(start["log"])
    assert log.parent == Path(catalog.results_dir) and start["uid"] in log.name
    text = log.read_text(encoding="utf-8")
    for change in steered.update.changes:
        ((name, value),) = change.changed.items()
        assert f"{name} = {value} from iteration {change.iteration} on, with {change.frames_used} frames" in text
    write_bug_report(steered.result_uid, catalog, tmp_path / "bug.zip")
    with zipfile.ZipFile(tmp_path / "bug.zip") as archive:
        assert (
            "solver.step = 0.05 from iteration" in archive.read(f"reconstruction-log-{start['uid'][:8]}.txt").decode()
        )
