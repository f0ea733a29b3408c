"""What the supply makes of a run's darks, as documents come and from the catalog's order."""

import time
from pathlib import Path
from urllib.parse import unquote, urlparse

import h5py
import numpy as np
import pytest

from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.callbacks.dark_store import DarkStore, RunDarks, darks_of_documents
from bluesky_ptycho.callbacks.document_keys import Point
from bluesky_ptycho.callbacks.frame_supply import FrameSupply
from bluesky_ptycho.callbacks.intake import Intake
from bluesky_ptycho.errors import MetadataError, SettingsError

from .compose import DATASET, ComposedRun, small_plan

POSITIONS_M = np.array([[0.0, 0.0], [0.0, 1e-7]])
DARKS = np.random.default_rng(4).integers(90, 110, (8, 16, 16), dtype=np.uint16)
"""Two exposures a point: rows 0 to 3 are points 1 and 2, then point 2 was taken twice more."""


@pytest.fixture
def rewound(tmp_path):
    """Documents of a run that was paused twice at its second dark point, and its uid."""
    run = ComposedRun(small_plan(POSITIONS_M, exposures_s=(0.1, 0.01), n_darks=2))
    documents = [("start", run.start)]
    for name, frames in (("dark", DARKS), ("primary", np.full((4, 16, 16), 200, np.uint16))):
        run.path = tmp_path / f"{name}.h5"
        with h5py.File(run.path, "w", libver="latest") as file:
            file.create_dataset(DATASET, data=frames, chunks=(1, 16, 16))
        documents += run.open_stream(name)
        for event, seq_num in enumerate((1, 2, 2, 2) if name == "dark" else (1, 2)):
            position = None if name == "dark" else POSITIONS_M[event] * 1e6
            documents += [run.event(seq_num, 2 * event, position, name), run.stored(event, event + 1, name)]
    return [*documents, run.stop()]


def darks_of_run(documents, each):
    """Return the darks that a supply makes if it is asked after `each` document, or at the end."""
    start = documents[0][1]
    intake, store = Intake(start, small_plan(POSITIONS_M, exposures_s=(0.1, 0.01), n_darks=2)), DarkStore()
    supply = FrameSupply(intake, LiveSettings(), store, pytest.fail)
    supply.set_up()
    try:
        for name, doc in documents[1:]:
            intake(name, doc)
            while each and supply.take():
                pass
        while supply.take():
            pass
        assert intake.problem is None and supply.dark_corrected
    finally:
        supply.close()
    return store.get(start["uid"])


def test_a_dark_taken_again_counts_once_live_and_replayed(rewound):
    live, replayed, stored = darks_of_run(rewound, True), darks_of_run(rewound, False), darks_of_documents(rewound)
    for k in (0, 1):
        last = DARKS[[k, 6 + k]].astype(float)
        for darks in (live, replayed, stored):
            assert darks[k].n == 2
            np.testing.assert_allclose(darks[k].mean, last.mean(axis=0), rtol=1e-6)
            np.testing.assert_allclose(darks[k].sigma, last.std(axis=0, ddof=1), rtol=1e-5)


def test_a_stored_dark_that_cannot_be_read_costs_itself_only(rewound):
    """As live; where none can be read that is said."""
    path = unquote(urlparse(next(doc["uri"] for name, doc in rewound if name == "stream_resource")).path)
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(DATASET, shape=DARKS.shape, dtype=DARKS.dtype, chunks=(1, 16, 16))
        data[2:] = DARKS[2:]  # the first point was never written
    for k, dark in enumerate(darks_of_documents(rewound)):
        np.testing.assert_array_equal(dark.mean, DARKS[6 + k])
        assert dark.n == 1
    Path(path).unlink()
    with pytest.raises(MetadataError, match="does not exist"):
        darks_of_documents(rewound)


def test_a_replaced_dark_that_cannot_be_read_any_more_stays_the_only_one_of_its_point():
    lost = set()

    def read(points):
        there = [p for p in points if p.row not in lost]
        return there, DARKS[[p.row for p in there]][:, None]

    darks = RunDarks(small_plan(POSITIONS_M, n_darks=2), read)
    darks.add([Point(1, 0, None, 0.0), Point(2, 1, None, 0.0)])
    lost.add(1)
    darks.add([Point(2, 2, None, 0.0)])
    (model,) = darks.models()
    assert model.n == 2
    np.testing.assert_allclose(model.mean, DARKS[[0, 1]].mean(axis=0), rtol=1e-6)
    lost.clear()
    lost.add(3)
    darks.add([Point(2, 3, None, 0.0)])  # now the new one is lost, for good
    darks.add([Point(2, 4, None, 0.0)])
    (model,) = darks.models()
    assert model.n == 2
    np.testing.assert_allclose(model.mean, DARKS[[0, 4]].mean(axis=0), rtol=1e-6)


def test_the_backend_holds_for_preprocessing_too(monkeypatch):
    monkeypatch.setattr("bluesky_ptycho.backend.cupy_usable", lambda: False)
    run = ComposedRun(small_plan(POSITIONS_M))
    supply = FrameSupply(
        Intake(run.start, small_plan(POSITIONS_M)), LiveSettings(backend="cupy"), DarkStore(), pytest.fail
    )
    with pytest.raises(SettingsError, match="backend is 'cupy'"):
        supply.set_up()
    supply.close()


def test_points_do_not_wait_for_ever_for_a_dark_that_was_lost(rewound):
    """The live analysis goes on while the scan runs, with the darks that there are."""
    plan = small_plan(POSITIONS_M, exposures_s=(0.1, 0.01), n_darks=2)
    intake = Intake(rewound[0][1], plan, patience_s=0.2)
    dark = next(doc["uid"] for name, doc in rewound if name == "descriptor")
    for name, doc in rewound[1:-1]:
        if not (name == "stream_datum" and doc["descriptor"] == dark and doc["indices"]["stop"] > 1):
            intake(name, doc)
    assert len(intake.take_darks(9)) == 1 and intake.take_points(9) == []
    intake.wait(timeout=0.0)
    time.sleep(0.3)
    assert intake.has_ready and [p.seq_num for p in intake.take_points(9)] == [1, 2]


@pytest.mark.parametrize("each", [True, False])
def test_the_first_frames_tell_the_optical_centre(tmp_path, each):
    """Five frames come one by one or at once; three are waited for, and all patterns lie about their centre."""
    positions = np.stack([np.zeros(5), np.arange(5) * 1e-7], axis=1)
    plan = small_plan(positions)
    run = ComposedRun(plan)
    run.path = tmp_path / "primary.h5"
    frames = np.zeros((5, 16, 16), np.uint16)
    frames[:, 9, 6] = 500
    frames[:, 11, 6] = 500
    frames[4] = 0
    frames[4, 5, 5] = 900
    with h5py.File(run.path, "w", libver="latest") as file:
        file.create_dataset(DATASET, data=frames, chunks=(1, 16, 16))
    documents = [("start", run.start), *run.open_stream("primary")]
    for event in range(5):
        documents += [run.event(event + 1, event, positions[event] * 1e6), run.stored(event, event + 1)]
    documents.append(run.stop())
    notes, batches = [], []
    settings = LiveSettings().with_changes(**{"preprocess.centre_frames": 3, "preprocess.crop_px": 8})
    intake = Intake(run.start, plan)
    supply = FrameSupply(intake, settings, DarkStore(), notes.append)
    supply.set_up()
    for name, doc in documents[1:]:
        intake(name, doc)
        while each and (taken := supply.take()):
            batches.append(taken.batch)
    while taken := supply.take():
        batches.append(taken.batch)
    supply.close()
    assert any("optical centre at row 10.50, column 6.50, the centre of mass of 3 frames" in note for note in notes)
    amplitude = np.concatenate([batch.amplitude for batch in batches if batch is not None])
    lit = amplitude[:4].sum(axis=0)
    assert np.argwhere(lit).tolist() == [[3, 4], [5, 4]]


def test_a_point_taken_again_while_it_is_held_for_the_centre_counts_once(tmp_path):
    positions = np.stack([np.zeros(3), np.arange(3) * 1e-7], axis=1)
    plan = small_plan(positions)
    frames = np.zeros((4, 16, 16), np.uint16)
    frames[:, 9, 6] = [500, 900, 500, 500]
    run = ComposedRun(plan, tmp_path / "primary.h5", frames)
    documents = run.open_stream("primary")
    for row, seq_num in enumerate((1, 2, 2, 3)):
        documents += [run.event(seq_num, row, positions[seq_num - 1] * 1e6), run.stored(row, row + 1)]
    intake = Intake(run.start, plan)
    settings = LiveSettings().with_changes(**{"preprocess.centre_frames": 3})
    supply = FrameSupply(intake, settings, DarkStore(), lambda note: None)
    supply.set_up()
    batches = []
    for document in [*documents, run.stop()]:
        intake(*document)
        while taken := supply.take():
            batches.append(taken.batch)
    supply.close()
    (batch,) = batches
    assert batch.seq_nums.tolist() == [1, 2, 3]
    np.testing.assert_allclose((batch.amplitude**2).sum(axis=(1, 2)), 500, rtol=1e-5)


def test_weights_that_there_are_none_of_are_told():
    run, notes = ComposedRun(small_plan(POSITIONS_M)), []
    settings = LiveSettings().with_changes(**{"solver.pixel_weights": True})
    for times, told in (((0.1,), 1), ((0.1, 0.01), 1)):
        supply = FrameSupply(
            Intake(run.start, small_plan(POSITIONS_M, exposures_s=times)), settings, DarkStore(), notes.append
        )
        supply.set_up()
        supply.close()
        assert [note[:13] for note in notes] == ["pixel_weights"] * told


def test_merged_exposures_bring_weights_to_the_solver(tmp_path):
    plan = small_plan(POSITIONS_M, exposures_s=(0.1, 0.01))
    run = ComposedRun(plan)
    run.path = tmp_path / "primary.h5"
    frames = np.full((4, 16, 16), 20, np.uint16)
    frames[[0, 2], 3, 5] = 1000  # saturated in the long exposures of both points
    frames[[1, 3], 3, 5] = 300
    with h5py.File(run.path, "w", libver="latest") as file:
        file.create_dataset(DATASET, data=frames, chunks=(1, 16, 16))
    intake = Intake(run.start, plan)
    supply = FrameSupply(
        intake, LiveSettings().with_changes(**{"preprocess.saturation": 1000.0}), DarkStore(), pytest.fail
    )
    supply.set_up()
    for name, doc in run.open_stream("primary"):
        intake(name, doc)
    for event in range(2):
        for name, doc in (run.event(event + 1, 2 * event, POSITIONS_M[event] * 1e6), run.stored(event, event + 1)):
            intake(name, doc)
    batch = supply.take().batch
    supply.close()
    bright = batch.amplitude**2 > 2000
    assert np.argwhere(bright).tolist() == [[0, 3, 5], [1, 3, 5]]
    np.testing.assert_allclose(batch.weight, np.where(bright, 0.1, 1.0), rtol=1e-5)
