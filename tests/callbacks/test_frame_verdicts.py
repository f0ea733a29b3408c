"""Verdicts on dim frames: what comes later may take them back, the order of arrival may not change them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bluesky_ptycho.callbacks.document_keys import Point
from bluesky_ptycho.callbacks.frame_verdicts import FrameVerdicts, count_kinds, wrong_in_themselves
from bluesky_ptycho.callbacks.updates import in_ranges

FLUX = {**dict.fromkeys(range(1, 5), 30.0), **dict.fromkeys(range(5, 31), 1000.0), 31: 29.0, 32: 31.0}


def judge(verdicts, seq_nums, reasons=None):
    points = [Point(n, n - 1, (0.0, 0.0), 0.0) for n in seq_nums]
    return verdicts.judge(points, reasons or {}, np.array([FLUX[n] for n in seq_nums]))


def test_frames_of_a_dim_start_are_withdrawn_when_better_ones_come():
    verdicts = FrameVerdicts(0.1)
    assert judge(verdicts, [1, 2, 3, 4]) == (set(), [])
    newly, returned = judge(verdicts, [5, 6, 7])
    assert (newly, returned) == ({1, 2, 3, 4}, [])
    assert verdicts.rejected[1] == "dark: 30 photons where 1e+03 are usual"
    assert verdicts.kinds == {"dark": 4}


def test_what_is_dim_beside_few_bright_frames_returns_when_all_are_as_dim():
    verdicts = FrameVerdicts(0.1)
    judge(verdicts, [5, 1])
    assert set(verdicts.rejected) == {1}
    for n in range(40, 60):
        FLUX[n] = 30.0
    newly, returned = judge(verdicts, range(40, 60))
    assert newly == set() and [p.seq_num for p in returned] == [1]
    assert verdicts.is_current(returned[0]) and not verdicts.rejected
    judge(verdicts, [1])
    assert not verdicts.is_current(returned[0])


@given(st.permutations(sorted(n for n in range(1, 33))), st.integers(1, 32))
def test_neither_order_nor_chunks_change_the_verdicts(order, chunk):
    verdicts, used = FrameVerdicts(0.03), set()
    for first in range(0, 32, chunk):
        part = order[first : first + chunk]
        newly, returned = judge(verdicts, part, {i: "corrupt: test" for i, n in enumerate(part) if n == 7})
        used = (used | {n for n in part if n not in verdicts.rejected} | {p.seq_num for p in returned}) - newly
    assert verdicts.rejected == {7: "corrupt: test", 31: "dark: 29 photons where 1e+03 are usual"}
    assert used == set(range(1, 33)) - {7, 31}


def test_kinds_are_counted_and_numbers_written_as_ranges():
    assert count_kinds({1: "dark: a", 2: "corrupt: b", 9: "dark: c"}) == {"corrupt": 1, "dark": 2}
    assert in_ranges([3, 7, 8, 9, 11]) == "3, 7-9, 11"
    assert in_ranges([]) == ""


def test_nothing_is_dim_where_all_are_to_be_kept():
    verdicts = FrameVerdicts(0.0)
    assert judge(verdicts, [1, 5, 6, 31]) == (set(), [])


def test_a_place_far_beyond_the_plan_is_an_encoders_mistake():
    extent_m = (0.0, 40e-6, -20e-6, 20e-6)
    places = [(0.0, 0.0), (79e-6, 0.0), (20e-6, 61e-6), (-41e-6, 0.0), (np.nan, 0.0)]
    points = [Point(i + 1, i, place, 0.0) for i, place in enumerate(places)]
    reasons = wrong_in_themselves(points, {}, extent_m)
    assert set(reasons) == {2, 3, 4}
    assert reasons[2] == "position: (y, x) is (20, 61) µm, more than 40 µm beyond the plan"
