"""``bluesky-ptycho show``: files and runs, drawn."""

from __future__ import annotations

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import KeyEvent
from matplotlib.image import imread

from bluesky_ptycho import convert
from bluesky_ptycho.cli import main
from bluesky_ptycho.figure.frame_sheet import FrameRoll, frame_sheet, spread, sum_up
from bluesky_ptycho.figure.window import leaf_through
from bluesky_ptycho.io import write_result_cxi
from tests.snapshots import make_snapshot
from tests.stored import store_result, store_scan


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def is_picture(path):
    image = imread(path)[..., :3]
    return image.shape == (1080, 1920, 3) and image.std() > 0.05


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def roll_of(n=30, *, lost=(), photons=True, k=None):
    rng = np.random.default_rng(0)
    frames = rng.poisson(3.0, (n, *((k,) if k else ()), 40, 50)).astype(np.float32)
    frames[:, ..., 4, 5] = np.nan if photons else 0
    positions = rng.uniform(-1e-6, 1e-6, (n, 2))
    return FrameRoll("a roll", photons, positions, lambda points: [None if p in lost else frames[p] for p in points])


@pytest.mark.parametrize("photons", [True, False])
def test_a_contact_sheet_tells_which_frames_and_what_they_hold(photons):
    roll = roll_of(lost={7}, photons=photons)
    sums = sum_up(roll)
    assert np.isnan(sums.values[7]) and np.isfinite(np.delete(sums.values, 7)).all()
    frame = roll.read([3])[0]
    assert sums.values[3] == pytest.approx(np.nansum(frame) if photons else frame[frame != 0].mean())
    figure = frame_sheet(roll, [0, 7, 29], sums)
    assert titles(figure)[:3] == ["point 1", "point 8", "point 30"]
    assert "cannot be read" in [text.get_text() for text in figure.axes[1].texts]
    histogram = next(axes for axes in figure.axes if "Pixels" in axes.get_title(loc="left"))
    counted = int(histogram.patches[0].get_data().values.sum())
    shown = np.concatenate([roll.read([p])[0].ravel() for p in (0, 29)])
    shown = shown[np.isfinite(shown)]
    assert counted == np.count_nonzero(shown >= 0.5 if photons else shown != 0)


def test_exposures_stand_side_by_side():
    figure = frame_sheet(roll_of(k=2, photons=False), [0], sum_up(roll_of(k=2, photons=False)))
    assert figure.axes[0].images[0].get_array().shape == (40, 100)


def test_points_are_spread_from_first_to_last():
    assert spread(30, 4).tolist() == [0, 10, 19, 29]
    assert spread(3, 12).tolist() == [0, 1, 2]


def test_keys_leaf_through_the_frames():
    figure = plt.figure()
    try:
        leaf_through(figure, roll_of(), [0, 14, 29])
        seen = []
        for key in ("right", "right", "right", "x", "left"):
            figure.canvas.callbacks.process("key_press_event", KeyEvent("key_press_event", figure.canvas, key))
            seen.append(titles(figure)[0])
        assert seen == ["point 1", "point 13", "point 19", "point 19", "point 7"]
    finally:
        plt.close(figure)


def test_a_run_and_its_files_are_drawn(catalog, workplace, capsys):
    start = store_scan(catalog)
    target = ["--catalog", str(catalog.name)]
    assert main(["show", "-1", *target, "--output", "frames.png"]) == 0
    assert "6 of 6 points of scan 1 gold, raw frames; frames.png shows it" in capsys.readouterr().out
    uid = store_result(catalog, start, make_snapshot())
    assert main(["show", "-1", *target, "--output", "result.png"]) == 0
    assert f"scan 1 gold, result {uid[:8]}; result.png shows it" in capsys.readouterr().out
    convert(-1, catalog, "cxi", "result.cxi", stage="result")
    convert(-1, catalog, "nxs", "raw.nxs", stage="raw", progress=False)
    for what, told in (("result.cxi", "result.cxi; show"), ("raw.nxs", "6 of 6 points of raw.nxs, raw frames; show")):
        assert main(["show", what]) == 0
        assert told in capsys.readouterr().out, "without a display there is a file"
        assert is_picture("show.png")
    assert main(["show", uid[:8], "--compare", "result.cxi", *target, "--output", "both.png"]) == 0
    assert "0 % apart, agree down to ≤ " in capsys.readouterr().out
    assert all(is_picture(f"{name}.png") for name in ("frames", "result", "both"))


def test_patterns_of_measured_files_are_drawn(real_file, workplace, capsys):
    for name, n in (("siemens_aps.cxi", 516), ("petra3_p25_nearfield.cxi", 200), ("cnm235_first20.cxi", 20)):
        assert main(["show", str(real_file(name)), "--points", "3-8", "--output", "a.png"]) == 0
        assert f"6 of {n} points of {name}" in capsys.readouterr().out
        assert is_picture("a.png")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "no run 'nope' in the catalog"),
        (["nope.cxi"], "nope.cxi does not exist"),
        (["./nope"], "nope does not exist"),
        (["a.cxi", "--compare", "nope.nxs"], "nope.nxs does not exist"),
        (["a.cxi", "--output", "a.pdf"], "--output is a.pdf; expected the name of a .png file"),
        (["a.cxi", "--compare", "b.cxi"], "the scans have 0 × 0 pixels in common"),
        (["a.cxi", "--compare", "-1"], "-1 holds no reconstruction; expected two that can be compared"),
        (["a.cxi", "--compare", "b.cxi", "--frames"], "--compare is given with --frames"),
        (["a.cxi", "--compare", "b.cxi", "--points", "5"], "--compare is given with --points"),
        (["-1", "--points", "5-7"], "points are '5-7'; expected 1 to 12 of the points 1 to 6, as 5,9 or 40-51"),
        (["-1", "--points", "1-99999999999"], "points are '1-99999999999'; expected 1 to 12 of the points 1 to 6"),
        (["-1", "--points", "5-4,1"], "points are '5-4,1'; expected 1 to 12 of the points 1 to 6"),
        (["-1", "--points", "0-3"], "points are '0-3'; expected 1 to 12 of the points 1 to 6"),
        (["0"], "no scan has the number 0; expected 1 or more, or -1 for the last scan"),
        (["-1", "--points", "x"], "points are 'x'; expected"),
        (
            ["a.cxi", "--frames"],
            "a.cxi holds a reconstruction, not the patterns of a measurement; 'bluesky-ptycho show ",
        ),
        (["text.cxi"], "text.cxi"),
    ],
)
def test_mistakes_are_told_in_one_line(catalog, workplace, capsys, arguments, says):
    store_scan(catalog)
    snapshot = make_snapshot()
    write_result_cxi("a.cxi", snapshot)
    write_result_cxi("b.cxi", dataclasses.replace(snapshot, positions_m=snapshot.positions_m + 1e-5))
    (workplace / "text.cxi").write_text("no HDF5")
    files_alone = arguments[0].endswith(".cxi") and "-1" not in arguments
    where = [] if files_alone else ["--catalog", str(catalog.name)]
    assert main(["show", *arguments, *where]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bluesky-ptycho: error: ") and says in line
    assert not list(workplace.glob("*.png"))


def test_a_catalog_is_for_runs_alone(workplace, capsys):
    write_result_cxi("a.cxi", make_snapshot())
    assert main(["show", "a.cxi", "--catalog", "absent"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("--catalog is given; expected only for a run: a.cxi is a file")
