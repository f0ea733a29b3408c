"""Raw frames, from a catalog or a file, to a CXI file that the reconstruction reads."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from matplotlib.image import imread

from bluesky_ptycho import ptycho_scan
from bluesky_ptycho.catalog import open_catalog
from bluesky_ptycho.cli import main
from bluesky_ptycho.io import read_cxi, read_result_cxi
from bluesky_ptycho.io.raw_file import read_facts
from bluesky_ptycho.preprocess import Pipeline
from bluesky_ptycho.recon.metrics import object_nrmse, scanned_box
from bluesky_ptycho.sim import make_beamline

DETECTOR = "entry_1/instrument_1/detector_1"


@pytest.fixture(scope="module")
def scan(blank_catalog, tmp_path_factory):
    """Directory of a catalog with one scan of the FCCD, 36 points and 3 darks; and the beamline's truth."""
    directory = shutil.copytree(blank_catalog, tmp_path_factory.mktemp("scan") / "catalog")
    loop = asyncio.new_event_loop()
    engine = RunEngine({}, loop=loop)
    with open_catalog(directory) as catalog:
        engine.subscribe(catalog.raw_writer())
        kwargs = {"photons": 1e6, "frame_rate": 50, "exposure_s": 0.1, "progress": False}
        with make_beamline(catalog.frames_dir, md=engine.md, **kwargs) as line:
            plan = ptycho_scan(
                line.fccd, line.stage.y, line.stage.x, width=0.48, height=0.48, step=0.08, exposure=0.1, darks=3,
                sample_name="gold",
            )  # fmt: skip
            engine(plan)
            yield directory, line.truth
    loop.call_soon_threadsafe(loop.stop)
    engine._th.join()
    loop.close()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture(scope="module")
def clean(scan, tmp_path_factory):
    """The stored scan as the command writes it."""
    path = tmp_path_factory.mktemp("clean") / "clean.cxi"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(path.parent / "state"))
        assert main(["preprocess", "-1", "--catalog", str(scan[0]), "--output", str(path)]) == 0
    return path


def test_a_stored_scan_becomes_a_file_that_reconstructs(scan, clean, workplace):
    with h5py.File(clean) as file:
        assert file[f"{DETECTOR}/data"].shape == (36, 240, 240)
        assert file[f"{DETECTOR}/data_dark"].shape == (1, 1040, 1152)
        assert file[f"{DETECTOR}/data_dark"].attrs["n_frames"].tolist() == [3]
        settings = json.loads(file["entry_1/process_1/settings"][()])
        assert settings["preset"] == "cosmic"
        assert "bluesky_ptycho" in json.loads(file["entry_1/process_1/versions"][()])
        assert file["entry_1/title"][()] == b"gold"
    with open_catalog(scan[0]) as catalog:
        run = catalog[-1]
        readback = np.stack([run["primary"][f"stage_{axis}"].read() for axis in ("y", "x")], axis=1)
    data = read_cxi(clean)
    np.testing.assert_allclose(data.positions_m, readback * 1e-6)
    assert data.geometry.energy_ev == pytest.approx(800)
    assert main(["reconstruct", str(clean), "--iterations", "40", "--output", "out"]) == 0
    found = read_result_cxi(workplace / "out" / "result.cxi")
    truth, box = scan[1](found.canvas), scanned_box(found.canvas, found.positions_m)
    error = object_nrmse(found.object, truth, box)
    assert error < 0.12
    assert object_nrmse(found.object, truth[:, ::-1], box) > 1.5 * error


def test_the_same_frames_from_their_file_give_the_same(scan, clean, workplace, capsys):
    frames, darks = (next(scan[0].glob(f"frames/**/*{stream}*.h5")) for stream in ("primary", "dark"))
    positions = read_cxi(clean).positions_m * 1e6
    with open("positions.csv", "w", newline="") as table:
        csv.writer(table).writerows([("x", "y"), *positions[:, ::-1]])
    arguments = ["--energy", "800", "--distance", "0.121", "--positions", "positions.csv", "--darks", str(darks)]
    assert main(["preprocess", str(frames), *arguments, "--output", "again.cxi"]) == 0
    assert re.fullmatch(
        r"36 patterns of 240 × 240 from 36 scan points; again\.cxi holds them\n", capsys.readouterr().out
    )
    assert main(["preprocess", str(frames), *arguments[:-2], "--output", "bare.cxi"]) == 0
    assert "scan points, not dark corrected: there are no darks; bare.cxi" in capsys.readouterr().out
    assert main(["preprocess", str(frames), *arguments[:-2], "--set", "strict_darks=true"]) == 2
    assert "strict_darks: there are no darks" in capsys.readouterr().err
    ours, again = read_cxi(clean), read_cxi("again.cxi")
    np.testing.assert_array_equal(again.photons, ours.photons)
    np.testing.assert_array_equal(again.mask, ours.mask)
    np.testing.assert_allclose(again.positions_m, ours.positions_m)
    assert again.geometry.pixel_m == pytest.approx(ours.geometry.pixel_m)


@pytest.mark.slow
def test_settings_and_an_explanation(scan, workplace, monkeypatch, capsys):
    explained, explain = [], Pipeline.explain

    def noted(self, frame, darks):
        explained.append(frame)
        return explain(self, frame, darks)

    monkeypatch.setattr(Pipeline, "explain", noted)
    arguments = ["--catalog", str(scan[0]), "--preset", "nanosurveyor", "--set", "pattern_px=128", "--explain", "7"]
    assert main(["preprocess", "1", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.endswith("clean.cxi holds them, the steps of point 7 clean.point7.png\n")
    assert imread("clean.point7.png").shape[1] > 1500
    path = next(scan[0].glob("frames/**/*primary*.h5"))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(explained[0][0], file[read_facts(path).dataset][6])  # points count from 1
    with h5py.File("clean.cxi") as file:
        assert file[f"{DETECTOR}/data"].shape == (36, 128, 128)
        settings = json.loads(file["entry_1/process_1/settings"][()])
        assert (settings["preset"], settings["pattern_px"]) == ("nanosurveyor", 128)
        assert "subtract_background" in json.loads(file["entry_1/process_1/steps"][()])


def test_an_interruption_leaves_no_file(scan, workplace, monkeypatch, capsys):
    calls = []

    def interrupted(self, frames, darks=None):
        calls.append(len(frames))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, frames, darks)

    whole = Pipeline.__call__
    monkeypatch.setattr(Pipeline, "__call__", interrupted)
    assert main(["preprocess", "-1", "--catalog", str(scan[0])]) == 130
    assert calls == [16, 16]
    assert not [p for p in workplace.iterdir() if p.name != "state"]


# -- small plain files ----------------------------------------------------------------------------


def write_plain(path: Path, frames, **more):
    with h5py.File(path, "w") as file:
        file["frames"] = frames
        for name, value in more.items():
            file[name] = value
    n = len(frames)
    (path.parent / "p.csv").write_text("x,y\n" + "".join(f"{i},{2 * i}\n" for i in range(n)))


def patterns(n, seed=0):
    y, x = np.mgrid[-16:16, -16:16]
    return np.random.default_rng(seed).poisson(200 * np.exp(-(y**2 + x**2) / 12), (n, 32, 32)).astype(np.uint16)


PLAIN = ["--energy", "800", "--distance", "0.1", "--pixel", "120", "--positions", "p.csv"]
FRAMES = ["raw.h5", *PLAIN, "--dataset", "frames"]


def test_bad_frames_stay_out_and_damage_of_one_frame_stays_its_own(workplace, capsys):
    frames = patterns(12)
    frames[3] = 900  # saturated all over
    frames[5] //= 50  # the beam was away: dim beside the others
    frames[7, 2, 4] = 900  # one pixel
    write_plain(workplace / "raw.h5", frames)
    assert main(["preprocess", "raw.h5", *PLAIN, "--set", "saturation=800"]) == 0
    assert "10 patterns of 32 × 32 from 12 scan points, 2 rejected (saturated 1, dark 1)" in capsys.readouterr().out
    with h5py.File("clean.cxi") as file:
        process = file["entry_1/process_1"]
        assert process["seq_nums"][()].tolist() == [1, 2, 3, 5, 7, 8, 9, 10, 11, 12]
        assert sorted(json.loads(process["rejected"][()])) == ["4", "6"]
    data = read_cxi("clean.cxi")
    assert np.argwhere(~data.mask).tolist() == [[5, 2, 4]]
    np.testing.assert_array_equal(data.photons[4], frames[6])
    np.testing.assert_allclose(data.positions_m[4], [12e-6, 6e-6])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["reconstruct", "clean.cxi", "--iterations", "2"]) == 0
    assert "no zone plate" in capsys.readouterr().err


def test_exposures_are_merged(workplace):
    frames = np.stack([patterns(4) // 10, patterns(4)], axis=1).reshape(8, 32, 32)
    write_plain(workplace / "raw.h5", frames)
    (workplace / "p.csv").write_text("x,y\n" + "0,0\n" * 4)
    assert main(["preprocess", "raw.h5", *PLAIN, "--exposures", "0.01,0.1", "--output", "hdr.cxi",
        "--zone-plate", "240,60,60,10"]) == 0  # fmt: skip
    guess = read_cxi("hdr.cxi").probe_guess
    assert np.sum(np.abs(guess) ** 2) == pytest.approx(patterns(4).sum() / 4, rel=1e-3)
    np.testing.assert_array_equal(read_cxi("hdr.cxi").photons, patterns(4))


def test_frames_that_are_clean_already_are_called_so(workplace, capsys):
    """Their file holds the darks of the raw frames, which do not fit them."""
    write_plain(workplace / "raw.h5", patterns(4))
    (workplace / "p.csv").write_text("x,y\n" + "0,0\n" * 4)
    assert main(["preprocess", "raw.h5", *PLAIN]) == 0
    with h5py.File("clean.cxi", "r+") as file:
        file["entry_1/instrument_1/detector_1/data_dark"] = np.zeros((1, 64, 64), dtype=np.float32)
    capsys.readouterr()
    assert main(["preprocess", "clean.cxi", "--output", "again.cxi"]) == 2
    assert capsys.readouterr().err == (
        "bluesky-ptycho: error: clean.cxi holds clean frames, whose darks are of the raw ones; expected raw frames "
        "(bluesky-ptycho reconstruct takes clean ones)\n"
    )
    assert not (workplace / "again.cxi").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["raw.h5", "--dataset", "frames", *PLAIN[:4]], "not tell all that is needed; expected --positions, --pixel"),
        (["raw.h5", "--dataset", "frames"], "expected --energy, --distance, --positions, --pixel beside it"),
        (["absent.h5", *PLAIN], "absent.h5 does not exist"),
        ([*FRAMES, "--exposures", "1,2"], "raw.h5 holds 6 frames and there are 6 positions; expected 2 frames"),
        (["raw.h5", *PLAIN, "--dataset", "no"], "raw.h5 has no data set 'no'; it has 3-D data sets darks, frames"),
        (["raw.h5", *PLAIN], "3-D data sets darks, frames; expected one data set of frames"),
        ([*FRAMES, "--darks", "raw.h5::darks"], "darks raw.h5: darks has 2 frames of (4, 4); expected frames of (32"),
        ([*FRAMES, "--layout", "magic"], "detector 'magic' is not known; known: fccd-"),
        ([*FRAMES, "--layout", "fccd-wire"], "frames of layout 'fccd-wire' have shape"),
        ([*FRAMES, "--layout", "plain", "--adu-per-ev", "0.004"], "--adu-per-ev is 0.004; expected none, as frames"),
        ([*FRAMES, "--explain", "7"], "--explain is 7; expected one of the scan points 1-6"),
        ([*FRAMES, "--output", "raw.h5"], "--output is raw.h5, which the command reads; expected another file"),
        ([*FRAMES, "--output", "."], "--output is ., which is a directory; expected the name of a .cxi file"),
        ([*FRAMES, "--output", "no/clean.cxi"], "directory no does not exist"),
        ([*FRAMES, "--set", "colour=red"], "--set colour is no setting that this command takes; expected one of "),
        ([*FRAMES, "--set", "solver.modes=3"], "--set solver.modes is no setting that this command takes; "),
        ([*FRAMES, "--set", "binning=wide"], "preprocess.binning is 'wide'; expected a number, 1 <= value"),
        ([*FRAMES, "--set", "binning"], "--set is 'binning'; expected NAME=VALUE"),
        ([*FRAMES, "--set", "mask=m.npy"], "preprocess.mask is 'm.npy', which cannot be unpacked (it is not bits, "),
        ([*FRAMES, "--set", "saturation=0"], "none of the 6 scan points can be used: saturated: 100.0 %"),
        (["-1", "--catalog", "absent"], "'absent' is neither"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line_and_leave_nothing(arguments, says, workplace, capsys):
    write_plain(workplace / "raw.h5", patterns(6), darks=np.zeros((2, 4, 4), dtype=np.uint16))
    before = sorted(workplace.iterdir())
    assert main(["preprocess", *arguments]) == 2
    lines = [text for text in capsys.readouterr().err.splitlines() if not text.startswith("preprocessing: ")]
    (line,) = lines
    assert line.startswith("bluesky-ptycho: error: ")
    assert says in line
    assert [p for p in sorted(workplace.iterdir()) if p.name != "state"] == before


def test_the_centre_of_the_first_frames_is_taken_where_it_is_asked_for(workplace, capsys):
    frames = np.zeros((6, 32, 32), np.uint16)
    frames[:, 20:22, 10:12] = 400  # centre at row 21, column 11
    write_plain(workplace / "raw.h5", frames)
    assert main(["preprocess", "raw.h5", *PLAIN, "--set", "centre_frames=4", "--set", "crop_px=16"]) == 0
    with h5py.File("clean.cxi") as file:
        pattern = file["entry_1/data_1/data"][()].sum(axis=0)
    assert np.argwhere(pattern).tolist() == [[8, 8], [8, 9], [9, 8], [9, 9]] or np.argwhere(pattern).tolist() == [
        [7, 7], [7, 8], [8, 7], [8, 8]
    ]  # fmt: skip


def test_a_centre_that_is_not_found_is_told(workplace, capsys):
    frames = np.concatenate([np.zeros((4, 32, 32), np.uint16), patterns(6)[:2]])
    write_plain(workplace / "raw.h5", frames)
    assert main(["preprocess", "raw.h5", *PLAIN, "--set", "centre_frames=4"]) == 0
    assert "there is no light in 4 frames: the optical centre stays the array's" in capsys.readouterr().out
