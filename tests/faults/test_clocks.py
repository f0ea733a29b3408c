"""Clocks that jump, stand still or are of another time zone: nothing but what is shown depends on them."""

import itertools
import os
import random
import time

import numpy as np
import pytest

from tests.callbacks.small_data import PIXEL_M

from .repeatable import SETTINGS
from .scene import Scan, plain_plan, reconstruct, supply

N = 64
POSITIONS_M = np.stack(np.divmod(np.arange(N), 8), axis=1) * 2 * PIXEL_M
FRAMES = np.random.default_rng(3).poisson(30, (N, 32, 32)).astype(np.uint16)
FRAMES[:, 8:24, 8:24] += 400
FRAMES[9] = 0
NOW = 1.8e9

CLOCKS = {
    "equal": lambda i: NOW,
    "backwards": lambda i: NOW - i,
    "jumps by a year": lambda i: NOW + 3.2e7 * (i % 2),
    "of 1970": float,
    "random": lambda i: random.Random(i).uniform(0, 4e9),
}


TAKEN_AGAIN = 40
"""Point that the RunEngine takes twice; the frames after it lie a row further on."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    frames = np.insert(FRAMES, TAKEN_AGAIN - 1, FRAMES[0], axis=0)
    made = Scan(plain_plan(POSITIONS_M, (32, 32)), tmp_path_factory.mktemp("scan"), frames)
    points = sorted([*range(1, N + 1), TAKEN_AGAIN])
    head = [("start", made.start), *made.open_stream()]
    taken = [
        document
        for row, n in enumerate(points)
        for document in (made.event(n, row, POSITIONS_M[n - 1] * 1e6), made.stored(row, row + 1))
    ]
    return [*head, *taken, made.stop()]


def results_of(documents, directory):
    directory.mkdir()
    outcome, results = reconstruct(documents, directory, SETTINGS)
    return outcome.snapshot, dict(outcome.update.rejected), results.summary()["messages"]


@pytest.mark.fault(
    "24", "clock jumps, equal timestamps, time zones", bound="same set bit for bit, same image, same verdicts"
)
@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns"])
def test_the_same_comes_of_it_whatever_the_clocks_say(scan, clock, zone, tmp_path, monkeypatch, figure):
    expected = supply(scan)
    reference, verdicts, messages = results_of(scan, tmp_path / "reference")
    ticks = itertools.count()
    monkeypatch.setattr(time, "time", lambda: CLOCKS[clock](next(ticks)))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        odd = [
            (name, {**doc, "time": CLOCKS[clock](i)} if "time" in doc else doc) for i, (name, doc) in enumerate(scan)
        ]
        found = supply(odd)
        snapshot, odd_verdicts, odd_messages = results_of(odd, tmp_path / "odd")
    finally:
        monkeypatch.undo()
        time.tzset()
    differ = sum(found.frames.get(n) != frame for n, frame in expected.frames.items())
    figure(f"{differ} of {len(expected.frames)} differ")
    assert not differ and len(found.frames) == len(expected.frames)
    assert (odd_verdicts, odd_messages) == (verdicts, messages)
    np.testing.assert_array_equal(snapshot.seq_nums, reference.seq_nums)
    assert snapshot.residual == pytest.approx(reference.residual, rel=0.05)
    assert os.environ.get("TZ") != zone
