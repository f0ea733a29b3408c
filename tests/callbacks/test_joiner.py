import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_ptycho.callbacks.document_keys import Point
from bluesky_ptycho.callbacks.joiner import NO_ROW, Joiner


def point(seq_num, row=None):
    row = seq_num - 1 if row is None else row
    return Point(seq_num, row, (row * 1e-6, -row * 1e-6), 0.0)


def drain(joiner, limit=100):
    return [(p.seq_num, p.row) for p in joiner.take(limit)]


@given(st.permutations(range(1, 13)), st.lists(st.integers(0, 12), max_size=8), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_every_pair_once(seq_nums, stored, random):
    joiner = Joiner()
    arrivals = [("point", s) for s in seq_nums] + [("stored", n) for n in [*stored, 12]]
    random.shuffle(arrivals)
    pairs = []
    for kind, value in arrivals:
        if kind == "point":
            joiner.add_point(point(value), 0.0)
        else:
            joiner.add_stored(value)
        pairs += drain(joiner, limit=3)
    pairs += drain(joiner)
    assert sorted(pairs) == [(s, s - 1) for s in range(1, 13)]
    assert joiner.n_waiting == 0


def test_frame_is_not_handed_out_before_it_is_stored():
    joiner = Joiner(frames_per_event=2)
    joiner.add_point(point(1, row=0), 0.0)
    joiner.add_point(point(2, row=2), 0.0)
    assert drain(joiner) == []
    joiner.add_stored(1)
    assert drain(joiner) == [(1, 0)]
    assert (joiner.n_waiting, joiner.last_seq_num) == (1, 2)


def test_last_event_of_a_sequence_number_wins_before_and_after_it_was_taken():
    joiner = Joiner()
    joiner.add_point(point(6, row=5), 0.0)
    joiner.add_point(point(6, row=6), 0.0)
    joiner.add_stored(6)
    assert drain(joiner) == []
    joiner.add_stored(7)
    assert drain(joiner) == [(6, 6)]
    joiner.add_point(point(6, row=7), 0.0)
    assert drain(joiner) == []
    joiner.add_stored(8)
    assert drain(joiner) == [(6, 7)]
    assert joiner.n_points == 1


def test_the_higher_row_wins_in_any_order_and_repetitions_change_nothing():
    joiner = Joiner()
    joiner.add_stored(9)
    for row in (6, 5, 6):
        joiner.add_point(point(6, row=row), 0.0)
    assert drain(joiner) == [(6, 6)]
    for row in (6, 5):
        joiner.add_point(point(6, row=row), 0.0)
    assert drain(joiner) == []


def test_lag_is_the_age_of_the_oldest_waiting_point():
    joiner = Joiner()
    joiner.add_point(point(1), now=10.0)
    joiner.add_point(point(2), now=11.0)
    assert joiner.oldest_wait_s(12.0) == pytest.approx(2.0)
    joiner.add_stored(1)
    joiner.take(1)
    assert joiner.oldest_wait_s(12.0) == pytest.approx(1.0)
    joiner.add_stored(2)
    joiner.take(1)
    assert joiner.oldest_wait_s(12.0) == 0.0


def test_many_points_that_wait_for_their_stream_documents_cost_little():
    joiner = Joiner()
    for seq_num in range(1, 20_001):
        joiner.add_point(point(seq_num), 0.0)
        assert not joiner.has_ready
    joiner.add_stored(20_000)
    rows = np.array([row for _, row in drain(joiner, limit=20_000)])
    assert np.array_equal(rows, np.arange(20_000))


def test_a_point_without_a_row_waits_until_it_has_one():
    joiner = Joiner()
    joiner.add_point(point(1, row=NO_ROW), 0.0)
    joiner.add_stored(5)
    assert (drain(joiner), joiner.n_points, joiner.n_waiting) == ([], 1, 1)
    joiner.add_point(point(1, row=3), 1.0)
    joiner.add_point(point(1, row=NO_ROW), 2.0)
    assert drain(joiner) == [(1, 3)] and joiner.n_waiting == 0
