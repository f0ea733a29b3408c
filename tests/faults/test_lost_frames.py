"""Frames that never come, come twice or out of order."""

import numpy as np
import pytest

from bluesky_ptycho.recon.metrics import object_nrmse, scanned_box
from bluesky_ptycho.words import counted
from tests.callbacks.small_data import PIXEL_M, small_scan

from .scene import Scan, disturbed, plain_plan, reconstruct, supply


@pytest.fixture(scope="module")
def scan():
    return small_scan(n_side=14, step=2, photons=2e5)


def error_of(outcome, scan):
    """Return the object's error against the truth, over the scanned field."""
    positions_m, _, sample, _ = scan
    snapshot = outcome.snapshot
    low = np.round(snapshot.canvas.corners_px(positions_m)).astype(int).min(axis=0)
    first = np.round((positions_m / PIXEL_M - 32).min(axis=0)).astype(int)
    truth = np.ones(snapshot.object.shape, dtype=np.complex128)
    corner = low - first
    truth[corner[0] : corner[0] + len(sample), corner[1] : corner[1] + len(sample)] = sample
    return object_nrmse(snapshot.object, truth, scanned_box(snapshot.canvas, positions_m))


@pytest.fixture(scope="module")
def baseline(scan, tmp_path_factory):
    directory = tmp_path_factory.mktemp("clean")
    clean = Scan(plain_plan(scan[0], (64, 64)), directory, scan[1])
    outcome, _ = reconstruct(clean.documents(), directory)
    assert len(outcome.snapshot.seq_nums) == 196 and not outcome.update.missing
    error = error_of(outcome, scan)
    assert error < 0.1
    return error


DROPPED = [("1a", 0.01, 1.1), ("1b", 0.05, 1.25), ("1c", 0.2, 2.0)]


@pytest.mark.parametrize(
    ("share", "worse"),
    [
        pytest.param(
            share,
            worse,
            marks=pytest.mark.fault(
                id, f"{share:.0%} of frames dropped", bound=f"exact list of the missing, error <= {worse:g} x baseline"
            ),
        )
        for id, share, worse in DROPPED
    ],
)
def test_dropped_frames_are_listed_exactly_and_cost_little(scan, baseline, tmp_path, share, worse, figure):
    """Half of them lost their event on the way, the other half were never written."""
    rng = np.random.default_rng(round(100 * share))
    dropped = 1 + rng.choice(196, round(196 * share), replace=False)
    no_event, no_frame = sorted(dropped[::2].tolist()), sorted(dropped[1::2].tolist())
    faulty = Scan(plain_plan(scan[0], (64, 64)), tmp_path, scan[1], left_out=[n - 1 for n in no_frame])
    outcome, results = reconstruct(faulty.documents(lost=no_event), tmp_path)
    update, summary = outcome.update, results.summary()
    told = sorted([*update.missing, *update.rejected])
    figure(f"{len(set(told) ^ set(dropped.tolist()))} of {len(dropped)} wrongly listed")
    figure(error_over_baseline=error_of(outcome, scan) / baseline)
    assert update.exit_status == "success" and outcome.error is None
    assert list(update.missing) == no_event == summary["missing"]
    assert sorted(update.rejected) == no_frame == sorted(map(int, summary["rejected"]))
    assert all("was never written" in reason for reason in update.rejected.values())
    assert summary["rejected_kinds"] == ({"unreadable": len(no_frame)} if no_frame else {})
    assert f"{counted(len(no_event), 'point is', 'points are')} missing: {no_event[0]}" in " ".join(summary["messages"])
    assert sorted([*outcome.snapshot.seq_nums, *dropped]) == list(range(1, 197))
    assert error_of(outcome, scan) <= worse * baseline


def test_the_counts_of_kinds_go_to_the_progress_stream_and_the_status(scan, tmp_path):
    frames = scan[1].copy()
    frames[4:9] = 0
    faulty = Scan(plain_plan(scan[0], (64, 64)), tmp_path, frames, broken=[20, 30])
    outcome, results = reconstruct(faulty.documents(), tmp_path)
    assert outcome.progress.kinds == {"dark": 5, "unreadable": 2}
    rows = [doc["data"] for name, doc in results.documents if name == "event"]
    last = [row for row in rows if "rejected_dark" in row][-1]
    assert (last["rejected_dark"], last["rejected_unreadable"], last["rejected_corrupt"]) == (5, 2, 0)
    assert results.summary()["rejected_kinds"] == {"dark": 5, "unreadable": 2}


@pytest.mark.fault(
    "2", "10 % of documents twice, order shuffled within 64", bound="preprocessed set bit-identical to the clean one"
)
@pytest.mark.parametrize("seed", range(3))
def test_duplicates_and_another_order_give_the_same_set_bit_for_bit(scan, tmp_path, seed, figure):
    frames = scan[1].copy()
    frames[:6] = 0  # the scan starts dark
    frames[40:44] //= 60  # and has dim frames, which only the others show
    made = Scan(plain_plan(scan[0], (64, 64)), tmp_path, frames, broken=[100])
    documents = list(made.documents())
    clean = supply(documents, greedy=0)
    faulty = supply(disturbed(documents, seed), seed=seed)
    figure(f"{sum(faulty.frames.get(n) != frame for n, frame in clean.frames.items())} of {len(clean.frames)} differ")
    assert len(clean.frames) == 196 - 6 - 4 - 1
    assert faulty.frames == clean.frames
    assert faulty.rejected == clean.rejected
    assert faulty.missing == clean.missing == ()


@pytest.mark.parametrize("seed", range(2))
def test_what_is_dim_beside_the_first_frames_only_is_used_in_the_end(scan, tmp_path, seed):
    frames = scan[1].copy()
    frames[12:] //= 60
    documents = list(Scan(plain_plan(scan[0], (64, 64)), tmp_path, frames).documents())
    clean, faulty = supply(documents), supply(disturbed(documents, seed), seed=seed)
    assert len(clean.frames) == 196 and not clean.rejected
    assert faulty.frames == clean.frames
