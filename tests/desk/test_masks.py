"""Masks composed on the mean frame of a run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ptycho.figure.mask import mask_figure
from tests.stored import numbered_frames

from .commands import error_of, run


def test_a_mask_is_composed_and_drawn(desk, workplace, capsys):
    np.save("first.npy", np.eye(16) == 0)
    arguments = ["--rectangle", "0,1,0,15", "--circle", "8,8,2", "--file", "first.npy", "--above", "45000"]
    arguments += ["--below=-1e6"]
    status, out, _ = run(capsys, "mask", "1", "--catalog", str(desk.name), *arguments)
    assert status == 0
    good = np.load("mask.npy")
    mean = (numbered_frames(6, seed=2).astype(float) - numbered_frames(2, seed=1).mean(axis=0)).mean(axis=0)
    assert not good[:2].any() and not good[8, 8] and not good.diagonal().any()
    rest = np.ones((16, 16), dtype=bool)
    rest[:2], rest[5:12, 5:12] = False, False
    np.fill_diagonal(rest, False)
    np.testing.assert_array_equal(good[rest], (mean <= 45000)[rest])
    bad = np.count_nonzero(~good)
    caught = f"first.npy 16, rectangle 32, circle 12, above {np.count_nonzero(mean > 45000)}, below 0"
    told = f"{bad} of 16 × 16 pixels are bad ({bad / 2.56:.3g} %): {caught}; mask.npy holds them, mask.png shows them\n"
    assert out == told
    assert imread("mask.png").shape[1] == 900


@pytest.mark.parametrize(
    ("offset", "noise", "light"), [(0, 1.5, 3000), (0, 0.3, 0), (0, 50, 60000), (1000, 4, 200), (-20, 3, 1e5)]
)
def test_numbers_of_the_colour_bar_do_not_overlap(offset, noise, light):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:120j, -1:1:120j]
    mean = offset + noise * rng.standard_normal((120, 120)) + light * np.exp(-20 * (y**2 + x**2))
    figure = mask_figure(mean, np.ones((120, 120), dtype=bool), "a scan")
    image, bar = figure.axes
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in bar.get_yticklabels()]
    assert len(boxes) >= 4 and all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
    assert bar.get_ylabel() == "mean, ADU" and bar.yaxis.label.get_window_extent().x1 <= figure.bbox.x1
    assert image.get_window_extent().width > 0.75 * figure.bbox.width


def test_the_last_row_and_column_of_a_rectangle_belong_to_it(desk, workplace, capsys):
    assert run(capsys, "mask", "1", "--catalog", str(desk.name), "--rectangle", "3,3,14,15")[0] == 0
    assert np.argwhere(~np.load("mask.npy")).tolist() == [[3, 14], [3, 15]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["1", "--rectangle", "5,4,0,3"],
            "--rectangle is 5,4,0,3; expected first row <= last row, first column <= last column, of the rows 0 to 15 "
            "and the columns 0 to 15",
        ),
        (
            ["1", "--rectangle", "0.5,4,0,3"],
            "argument --rectangle: value is '0.5,4,0,3'; expected first row, last row, ",
        ),
        (["1", "--rectangle", "0,4,16,20"], "--rectangle is 0,4,16,20; expected first row <="),
        (["1", "--output", "m.png"], "--output is m.png; expected the name of a .npy file"),
        (["1", "--circle", "8,8,-3"], "error: --circle: circle is 8, 8, -3; expected row, column and radius of one"),
        (["1", "--keep-circle", "99,99,3"], "error: --keep-circle: circle is 99, 99, 3; expected row, column"),
        (["1", "--circle", "1,2"], "argument --circle: value is '1,2'; expected row, column and radius"),
        (["1", "--above", "nan"], "argument --above: value is 'nan'; expected a number"),
        (["1", "--below=-inf"], "argument --below: value is '-inf'; expected a number"),
        (["1", "--file", "no.npy"], "no.npy"),
        (
            ["1", "--above", "1", "--below", "2"],
            "--below is 2, more than --above, which is 1; expected it to be less",
        ),
        (["99", "--above", "1"], "99"),
        (["1"], "nothing says what is bad; expected --file, --rectangle, --circle, "),
        (["1", "--rectangle", "0,100000,0,100000"], "--rectangle is 0,100000,0,100000; expected first row <= last row"),
        (["1", "--rectangle", "-3,4,0,3"], "--rectangle is -3,4,0,3; expected first row <= last row"),
        (
            ["1", "--above", "-100000"],
            "no pixel is left: 256 of 16 × 16 pixels are bad (100 %): above 256; ",
        ),
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


@pytest.mark.parametrize("command", [("mask", "--rectangle", "0,0,0,0"), ("preprocess",)], ids=lambda each: each[0])
def test_the_uid_of_a_reconstruction_means_its_scan(desk, workplace, capsys, command):
    uid = desk.processed[-1].start["uid"]
    command, *more = command
    status, _, _ = run(capsys, "--quiet", command, uid, *more, "--catalog", str(desk.name))
    assert status == 0
    assert (workplace / {"mask": "mask.npy", "preprocess": "clean.cxi"}[command]).is_file()
