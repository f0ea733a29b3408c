"""Frames that come, go and come again, and what is kept of each slot."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.backend import Backend
from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import Canvas
from bluesky_ptycho.recon import store as store_module
from bluesky_ptycho.recon.newcomers import Newcomers
from bluesky_ptycho.recon.store import FrameStore

CANVAS = Canvas((200, 200), (0.0, 0.0), (1e-8, 1e-8), (8, 8))


def batch_of(seq_nums, seed=0):
    rng, n = np.random.default_rng(seed), len(seq_nums)
    return Batch(
        np.asarray(seq_nums),
        rng.uniform(2e-7, 1.5e-6, (n, 2)),
        rng.random((n, 8, 8)).astype(np.float32),
        np.ones((8, 8), bool),
    )


@pytest.fixture
def store():
    return FrameStore(4, (8, 8), Backend(), subpixel=True)


def test_frames_that_come_again_or_take_a_slot_are_new(store):
    newcomers = Newcomers()
    store.put(batch_of(range(4)), CANVAS)
    assert len(newcomers.meet(store, store.slots())) == 4
    assert len(newcomers.meet(store, store.slots())) == 0
    replaced = store.put(batch_of([2], seed=1), CANVAS)
    store.drop(np.array([0]))
    taken = store.put(batch_of([10], seed=2), CANVAS)
    more = store.put(batch_of([11], seed=3), CANVAS)
    assert set(newcomers.meet(store, store.slots())) == {*replaced, *taken, *more}


def test_a_store_that_has_grown_is_that_of_the_whole_scan(store):
    store.put(batch_of(range(30)), CANVAS)
    whole = FrameStore(30, (8, 8), Backend(), subpixel=True)
    whole.put(batch_of(range(30)), CANVAS)
    for name in (*store_module.BOOKKEEPING, "counts"):
        assert np.array_equal(getattr(store, name)[:30], getattr(whole, name)), name
    assert store.gain.min() == 1
    assert store.unit.min() > 0


def test_only_frames_that_come_are_placed(store, monkeypatch):
    """Placing all of them with each batch would take a time that grows with their number squared."""
    placed = []
    whole = FrameStore._place
    monkeypatch.setattr(
        FrameStore, "_place", lambda self, canvas, slots: placed.append(len(slots)) or whole(self, canvas, slots)
    )
    monkeypatch.setattr(store_module, "PLACED_AT_ONCE", 2)
    store.put(batch_of(range(3)), CANVAS)
    store.put(batch_of([3]), CANVAS)
    assert placed == [2, 1, 1]
    store.place(CANVAS)
    assert sum(placed) == 8


def test_what_was_learnt_of_a_frame_goes_when_it_is_replaced(store):
    slots = store.put(batch_of(range(2)), CANVAS)
    for name in ("shift_px", "shift_speed", "gain"):
        getattr(store, name)[slots] = 0.5
    store.put(batch_of([1]), CANVAS)
    assert np.array_equal(store.shift_px[slots], [[0.5, 0.5], [0, 0]])
    assert np.array_equal(store.shift_speed[slots], [[0.5, 0.5], [0, 0]])
    assert np.array_equal(store.gain[slots], [0.5, 1.0])


@pytest.mark.parametrize("on_disk", [False, True])
def test_weights_grow_with_the_frames(on_disk):
    store = FrameStore(4, (8, 8), Backend(), subpixel=True, on_disk=on_disk, keeps_weights=True)
    store.weighing = True
    store.put(batch_of(range(2)), CANVAS)  # before any had weights
    assert store.weights_of(np.array([0])) is None
    weight = np.random.default_rng(1).uniform(0.01, 1, (10, 8, 8)).astype(np.float32)
    slots = store.put(dataclasses.replace(batch_of(range(2, 12)), weight=weight), CANVAS)
    assert len(store.counts) == len(store.stored_weights) == len(store.photons) > 4
    shifted = np.fft.ifftshift(weight, axes=(1, 2))
    # to half a step of their roots, which are bytes
    np.testing.assert_allclose(np.sqrt(store.weights_of(slots)), np.sqrt(shifted), atol=0.5 / 255 + 1e-6)
    assert (store.weights_of(np.array([0, 1])) == 1).all()
    store.put(batch_of([5]), CANVAS)  # again, without
    assert (store.weights_of(slots[3:4]) == 1).all()


def test_without_room_for_the_weights_nothing_grows():
    class Small(Backend):
        asked = 0

        def zeros_of_frames(self, shape, dtype):
            self.asked += 1
            if self.asked == 4:
                raise MemoryError("no room")
            return super().zeros_of_frames(shape, dtype)

    store = FrameStore(4, (8, 8), Small(), subpixel=True, keeps_weights=True)
    batch = dataclasses.replace(batch_of(range(4)), weight=np.full((8, 8), 0.5, np.float32))
    store.put(batch, CANVAS)
    with pytest.raises(MemoryError):
        store.put(batch_of([7]), CANVAS)
    assert len(store.counts) == len(store.stored_weights) == len(store.photons) == 4
    assert store.seq_nums.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("weight", [1.5, -0.1, np.nan])
def test_weights_beyond_a_whole_are_refused(store, weight):
    batch = dataclasses.replace(batch_of([1]), weight=np.full((8, 8), weight, np.float32))
    with pytest.raises(MetadataError, match=r"Batch.weight holds values from .* expected 0 to 1"):
        store.check(batch)
