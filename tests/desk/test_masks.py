"""Masks composed on the mean frame of a run."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from tests.stored import numbered_frames

from .commands import error_of, run


def test_a_mask_is_composed_and_drawn(desk, workplace, capsys):
    np.save("first.npy", np.eye(16) == 0)
    arguments = ["--rectangle", "0,2,0,16", "--circle", "8,8,2", "--file", "first.npy", "--above", "45000"]
    status, out, _ = run(capsys, "mask", "1", "--catalog", str(desk.name), *arguments)
    assert status == 0
    good = np.load("mask.npy")
    mean = (numbered_frames(6, seed=2).astype(float) - numbered_frames(2, seed=1).mean(axis=0)).mean(axis=0)
    assert not good[:2].any() and not good[8, 8] and not good.diagonal().any()
    rest = np.ones((16, 16), dtype=bool)
    rest[:2], rest[5:12, 5:12] = False, False
    np.fill_diagonal(rest, False)
    np.testing.assert_array_equal(good[rest], (mean <= 45000)[rest])
    assert f"{np.count_nonzero(~good)} of 16 × 16 pixels bad" in out and out.endswith("mask.png shows it\n")
    assert imread("mask.png").shape[1] == 900


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["1", "--output", "m.png"], "--output is m.png; expected the name of a .npy file"),
        (["1", "--circle", "1,2"], "argument --circle: value is '1,2'; expected row, column and radius"),
        (["1", "--file", "no.npy"], "no.npy"),
        (["99"], "99"),
    ],
)
def test_masks_that_cannot_be_made_are_refused(desk, workplace, capsys, arguments, says):
    try:
        line = error_of(capsys, "mask", *arguments, "--catalog", str(desk.name))
    except SystemExit as left:
        assert left.code == 2
        (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not list(workplace.glob("m*"))
