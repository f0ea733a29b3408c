from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ptycho.errors import MetadataError, PtychoError, SettingsError
from bluesky_ptycho.io import read_result_cxi
from bluesky_ptycho.offline import reconstruct_file
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.recon.metrics import object_nrmse
from bluesky_ptycho.versions import software_versions
from tests.small_cxi import PIXEL_M, N, write_small_cxi

OUTPUT = ["reconstruction.png", "result.cxi", "summary.json"]
QUICK = SolverSettings(frc_passes=2, tail_passes=3)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return write_small_cxi(tmp_path_factory.mktemp("measured") / "star.cxi")


def known_on(canvas, measured) -> np.ndarray:
    """The known object on a result's canvas: pixel (r, c) of it is stage (r - N/2, c - N/2) pixels."""
    row, col = (round(o / PIXEL_M) + N // 2 for o in canvas.origin_m)
    known = np.pad(measured.known, 64, mode="edge")
    return known[64 + row :, 64 + col :][: canvas.shape[0], : canvas.shape[1]]


def test_a_known_object_is_recovered(measured, tmp_path, capsys):
    before = set(threading.enumerate())
    summary = reconstruct_file(measured.path, iterations=25, settings=QUICK, output=tmp_path / "new" / "out")
    output = tmp_path / "new" / "out"
    assert sorted(p.name for p in output.iterdir()) == OUTPUT
    assert json.loads((output / "summary.json").read_text()) == summary
    assert summary["n_frames"] == 49
    assert summary["iterations"] == 25
    assert summary["frames_lost"] == 0
    assert summary["raw_uid"] is summary["result_uid"] is summary["scan_seconds"] is None
    assert summary["input_file"] == str(measured.path.resolve())
    assert summary["settings_given"] == {"frc_passes": 2, "tail_passes": 3}
    assert imread(output / "reconstruction.png").shape[:2] == (1080, 1920)
    assert not set(threading.enumerate()) - before

    found = read_result_cxi(output / "result.cxi")
    box = found.canvas.scanned_box(found.positions_m)
    assert object_nrmse(found.object, known_on(found.canvas, measured), box) < 0.1
    assert summary["residual"] == pytest.approx(found.residual)
    assert 0 < summary["residual"] < 0.02
    assert 0.99 * PIXEL_M < summary["frc_resolution_m"] < 4 * PIXEL_M
    assert found.settings["frc_passes"] == 2
    out = capsys.readouterr()
    assert re.fullmatch(
        r"25 passes: resolution .* nm.*, residual 0\.0\d+, 0 of 49 frames lost; "
        r".*/out/ holds reconstruction\.png, result\.cxi, summary\.json\n",
        out.out,
    )
    with h5py.File(output / "result.cxi") as file:
        versions, used = (json.loads(file[f"entry_1/image_1/process_1/{n}"][()]) for n in ("versions", "settings"))
    assert versions == software_versions()
    assert used["modes"] == len(found.probe)
    assert "R 0." in out.err


def test_near_field_goes_from_the_arguments_to_the_result(measured, tmp_path):
    summary = reconstruct_file(
        measured.path, iterations=1, settings=QUICK, output=tmp_path, progress=False,
        propagation="near", focus_to_sample_m=0.002,
    )  # fmt: skip
    assert (summary["propagation"], summary["focus_to_sample_m"]) == ("near", 0.002)
    found = read_result_cxi(tmp_path / "result.cxi")
    assert (found.geometry.propagation, found.geometry.focus_to_sample_m) == ("near", 0.002)
    assert found.canvas.pixel_m == found.geometry.object_pixel_m


def test_fewer_passes_than_the_tail(measured, tmp_path, capsys):
    summary = reconstruct_file(measured.path, iterations=2, settings=QUICK, output=tmp_path, progress=False)
    assert summary["iterations"] == 2
    out = capsys.readouterr()
    assert (out.out, out.err) == ("", "")


def test_an_interruption_keeps_what_is_there(measured, tmp_path, monkeypatch, capsys):
    step = IncrementalSolver.step

    def interrupted_step(self, n=1):
        if self.iteration == 4:
            signal.raise_signal(signal.SIGINT)
        return step(self, n)

    monkeypatch.setattr(IncrementalSolver, "step", interrupted_step)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_file(measured.path, iterations=200, settings=QUICK, output=tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert sorted(p.name for p in tmp_path.iterdir()) == OUTPUT
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["iterations"] == 5
    assert summary["residual"] < 1
    assert summary["frc_resolution_m"] is None
    assert "interrupted" in capsys.readouterr().out


def test_an_interruption_ends_the_half_data_sets_too(measured, tmp_path, monkeypatch, capfd):
    step_halves = IncrementalSolver.step_halves
    made = []

    def interrupted_step(self, n=1):
        made.append(n)
        if sum(made) == 2:
            signal.raise_signal(signal.SIGINT)
        return step_halves(self, n)

    monkeypatch.setattr(IncrementalSolver, "step_halves", interrupted_step)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_file(measured.path, iterations=3, settings=QUICK.replace(frc_passes=9), output=tmp_path)
    assert sum(made) == 2
    assert json.loads((tmp_path / "summary.json").read_text())["iterations"] == 3
    out, err = capfd.readouterr()
    assert out.startswith("interrupted after 3 passes: ")
    assert "Ctrl-C again gives it up" in err


def test_a_second_run_does_not_replace_the_first_unless_told_so(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        reconstruct_file(measured.path, iterations=1, settings=QUICK.replace(frc_passes=1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ptycho_reconstruction", "ptycho_reconstruction_2"]
    first, second = capsys.readouterr().out.splitlines()
    assert "; ptycho_reconstruction/ holds" in first
    assert "; ptycho_reconstruction_2/ holds" in second
    assert first.startswith("1 pass: ")


def changed(source: Path, path: Path, change) -> Path:
    """Copy a measurement with its frames or positions changed by a function."""
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        name = "entry_1/instrument_1/detector_1/data"
        frames = change(file[name][...].astype(np.float32))
        del file[name]
        file[name] = frames
    return path


def test_pixels_that_are_not_finite_count_as_masked(measured, tmp_path):
    def gap(frames):
        frames[:, 3, :] = np.nan
        return frames

    file = changed(measured.path, tmp_path / "gap.cxi", gap)
    summary = reconstruct_file(file, iterations=10, settings=QUICK, output=tmp_path / "out", progress=False)
    assert 0 < summary["residual"] < 0.1


def test_patterns_without_light_are_refused(measured, tmp_path):
    with pytest.raises(MetadataError, match=r"dark\.cxi: no pattern holds a photon"):
        reconstruct_file(changed(measured.path, tmp_path / "dark.cxi", np.zeros_like), output=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_positions_in_another_unit_are_told(measured, tmp_path):
    shutil.copy(measured.path, tmp_path / "um.cxi")
    with h5py.File(tmp_path / "um.cxi", "r+") as file:
        file["entry_1/sample_1/geometry_1/translation"][...] *= 1e6
    with pytest.raises(PtychoError, match=r"not enough memory for .* positions over .*; expected positions in m"):
        reconstruct_file(tmp_path / "um.cxi", output=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_errors_come_before_work(measured, tmp_path):
    with pytest.raises(SettingsError, match="iterations is 0"):
        reconstruct_file(measured.path, iterations=0, output=tmp_path)
    scheduled = QUICK.replace(algorithm="mpie:30,lsqml:50")
    with pytest.raises(SettingsError, match="iterations is 30; expected more than 30, after which lsqml of the schedu"):
        reconstruct_file(measured.path, iterations=30, settings=scheduled, output=tmp_path / "never")
    occupied = tmp_path / "file"
    occupied.write_text("")
    with pytest.raises(PtychoError, match="file, which is a file; expected the name of a directory"):
        reconstruct_file(measured.path, output=occupied)
    broken = tmp_path / "broken.cxi"
    shutil.copy(measured.path, broken)
    with h5py.File(broken, "r+") as file:
        del file["entry_1/instrument_1/detector_1/distance"]
    with pytest.raises(MetadataError, match="distance"):
        reconstruct_file(broken, output=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def reoriented(source: Path, path: Path, change: str) -> Path:
    """Copy a measurement with its frames flipped left to right or its positions' x and y swapped."""
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        if change == "flipped":
            frames = file["entry_1/instrument_1/detector_1/data"]
            frames[...] = frames[...][:, :, ::-1]
            mask = file["entry_1/instrument_1/detector_1/mask"]
            mask[...] = mask[...][:, ::-1]
        elif change == "swapped":
            translation = file["entry_1/sample_1/geometry_1/translation"]
            translation[...] = translation[...][:, [1, 0, 2]]
    return path


@pytest.mark.slow
def test_measured_data_tell_the_orientation(real_file, tmp_path):
    source = real_file("cnm235_first20.cxi")
    residual = {}
    for change in ("as stored", "flipped", "swapped"):
        path = reoriented(source, tmp_path / f"{change}.cxi", change)
        summary = reconstruct_file(path, iterations=12, settings=QUICK, output=tmp_path / change, progress=False)
        residual[change] = summary["residual"]
    assert residual["as stored"] < 0.012
    assert residual["flipped"] > 1.8 * residual["as stored"]
    assert residual["swapped"] > 1.8 * residual["as stored"]


@pytest.mark.slow
def test_siemens_star_is_no_worse_than_the_peer(real_file, tmp_path):
    settings = SolverSettings(modes=3)
    summary = reconstruct_file(real_file("siemens_aps.cxi"), iterations=100, settings=settings, output=tmp_path)
    assert summary["residual"] <= 0.0097
    assert summary["frc_resolution_m"] < 60e-9


@pytest.mark.slow
def test_etched_tungsten_is_no_worse_than_the_peer(real_file, tmp_path):
    summary = reconstruct_file(real_file("cnm235_first20.cxi"), iterations=150, output=tmp_path)
    assert summary["residual"] <= 1.3 * 0.00387


def test_a_schedule_brings_its_own_number_of_passes(measured, tmp_path):
    settings = SolverSettings(algorithm="mpie:4,lsqml:3", tail_passes=1)
    assert reconstruct_file(measured.path, settings=settings, output=tmp_path)["iterations"] == 7
    assert reconstruct_file(measured.path, iterations=5, settings=settings, output=tmp_path)["iterations"] == 5
    reconstruct_file(measured.path, settings=settings.replace(tail_passes=4), output=tmp_path)
    assert read_result_cxi(tmp_path / "result.cxi").settings["tail_passes"] == 3  # the others are mPIE's


def test_passes_end_when_the_residual_has_converged(measured, tmp_path):
    settings = SolverSettings(tolerance=0.05)
    assert reconstruct_file(measured.path, iterations=400, settings=settings, output=tmp_path)["iterations"] < 300


def test_a_picture_can_be_shown_in_a_window(measured, tmp_path, monkeypatch):
    """The toolkit's own windows are all that is left out here."""
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr("bluesky_ptycho.figure.window.WINDOWLESS", ())
    monkeypatch.setattr(plt, "show", lambda: shown.extend(plt.get_fignums()))
    reconstruct_file(measured.path, iterations=2, settings=QUICK, output=tmp_path, show=True)
    assert len(shown) == 1
    assert len(plt.figure(shown[0]).axes) > 5
    plt.close("all")
