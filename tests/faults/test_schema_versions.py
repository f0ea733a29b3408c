"""Row 31: what an older version stored is read, replayed and gone on with; what a newer one stored is refused."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest

from bluesky_ptycho import LivePtycho, LiveSettings, resume
from bluesky_ptycho.callbacks.checkpoints import DIRECTORY, RunLock
from bluesky_ptycho.catalog.restore import kept_files, restore
from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.io import checkpoint
from bluesky_ptycho.replay import replay
from bluesky_ptycho.resuming import left_behind
from bluesky_ptycho.scan_plan import SCHEMA_VERSION, START_KEY
from bluesky_ptycho.stored_scan import find_scan
from tests.conftest import REPOSITORY
from tests.golden.make import DARKS, PLACE

GOLDEN = REPOSITORY / "tests" / "golden"
VERSIONS = range(1, max(SCHEMA_VERSION, checkpoint.SCHEMA_VERSION) + 1)
N = 25
OLDER = pytest.mark.fault(
    "31a", "documents, results and checkpoints of every released schema", bound="replayed, read and resumed"
)
NEWER = pytest.mark.fault("31b", "documents and checkpoints of a newer schema", bound="refused, naming both versions")


class Golden:
    """The files of a schema version in a catalog, as that version left them there."""

    def __init__(self, directory, catalog):
        place = catalog.frames_dir
        shutil.copytree(directory, place, dirs_exist_ok=True)
        for kept in kept_files([place]):
            kept.write_text(kept.read_text().replace(PLACE, str(place)))
        assert [found.error for found in restore(kept_files([place]), catalog)] == ["", ""]
        self.checkpoint, self.catalog = place / "checkpoint.h5", catalog
        (run,), (result,) = catalog.raw.values(), catalog.processed.values()
        self.uid, self.result = run.start["uid"], result
        self.file = place / f"00001_{result.start['uid']}.h5"
        self.settings = LiveSettings.from_mapping(result.start["settings"])
        self.residual = result.stop["ptychography"]["residual"]


@pytest.fixture(params=VERSIONS, ids="schema_{}".format)
def golden(request, catalog):
    return Golden(GOLDEN / f"schema_{request.param}", catalog)


@OLDER
def test_a_run_replays(golden, figure):
    with LivePtycho(golden.settings, catalog=golden.catalog, strict=True) as live:
        replay(golden.uid, golden.catalog, live)
        outcome = live.wait(120)
    figure(
        f"replay {outcome.progress.used} of {N} frames, residual x {outcome.snapshot.residual / golden.residual:.3f}"
    )
    assert outcome.snapshot.seq_nums.tolist() == list(range(1, N + 1))
    assert (outcome.update.exit_status, outcome.update.messages) == ("success", ())
    assert outcome.update.dark_corrected and outcome.update.plan.n_darks == DARKS
    assert outcome.snapshot.residual == pytest.approx(golden.residual, rel=0.05)


@OLDER
def test_a_result_is_read(golden, figure):
    snapshot = find_scan(golden.uid, golden.catalog).snapshot()
    with h5py.File(golden.file) as file:
        for name, values in {
            "object": snapshot.object,
            "probe": snapshot.probe,
            "coverage": snapshot.coverage,
            "positions": snapshot.positions_m,
            "seq_nums": snapshot.seq_nums,
            "residual_history": snapshot.residuals,
            "gain": snapshot.gain,
            "uncertainty": snapshot.uncertainty,
            "frc_correlation": snapshot.frc["correlation"],
        }.items():
            np.testing.assert_array_equal(values, file["entry"][name][0])
        figure(f"result {len(file['entry'])} arrays")
        assert snapshot.canvas.pixel_m == tuple(file["entry/object"].attrs["pixel_size_m"])
    assert snapshot.residual == golden.residual
    assert snapshot.settings["algorithm"] == golden.settings.solver.algorithm


@OLDER
def test_a_checkpoint_is_resumed(golden, figure):
    lock = RunLock(golden.catalog.results_dir / DIRECTORY, golden.uid)
    assert lock.take()
    shutil.copy(golden.checkpoint, lock.checkpoint)
    lock.release(done=False)
    passes = len(checkpoint.read_checkpoint(lock.checkpoint).arrays["residuals"])
    assert [found.frames for found in left_behind(golden.catalog)] == [N]
    said = []
    outcome = resume(golden.uid, golden.catalog, say=said.append)
    figure(f"checkpoint of {N} frames, residual x {outcome.snapshot.residual / golden.residual:.3f}")
    assert f"going on from {N} frames" in " ".join(said)
    assert (outcome.update.exit_status, outcome.update.messages) == ("success", ())
    assert outcome.update.settings == golden.settings.to_dict()
    expected = checkpoint.read_checkpoint(golden.checkpoint).arrays["residuals"]
    np.testing.assert_array_equal(outcome.snapshot.residuals[:passes], expected)
    assert outcome.snapshot.residual == pytest.approx(golden.residual, rel=0.05)


def start_of(version):
    first, *_ = (GOLDEN / f"schema_{version}" / "run.jsonl").read_text().splitlines()
    return json.loads(first)["doc"]


@NEWER
@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, "1", None])
def test_a_scan_of_another_schema_is_left_alone(version, figure):
    start = start_of(SCHEMA_VERSION)
    start[START_KEY]["schema_version"] = version
    with LivePtycho() as live:
        live("start", start)
        (error,) = live.errors.values()
        assert live.progress() is None
    figure("scan refused")
    assert isinstance(error, MetadataError)
    assert str(error) == f"scan plan: schema_version is {version!r}; this version reads {SCHEMA_VERSION}"


@NEWER
def test_a_checkpoint_of_another_schema_is_kept_and_refused(golden, figure):
    newer = checkpoint.SCHEMA_VERSION + 1
    lock = RunLock(golden.catalog.results_dir / DIRECTORY, golden.uid)
    assert lock.take()
    shutil.copy(golden.checkpoint, lock.checkpoint)
    lock.release(done=False)
    with h5py.File(lock.checkpoint, "r+") as file:
        file.attrs["schema_version"] = newer
    with pytest.raises(MetadataError, match=f"schema_version is {newer}; this version of bluesky_ptycho reads") as told:
        resume(golden.uid, golden.catalog)
    figure("checkpoint refused")
    assert str(lock.checkpoint) in str(told.value) and lock.checkpoint.exists()


def test_every_released_schema_has_golden_files():
    assert {path.name for path in GOLDEN.glob("schema_*")} == {f"schema_{version}" for version in VERSIONS}
