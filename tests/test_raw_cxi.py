"""Raw frames in a CXI file: cleaned with what the file tells of them, and not taken for patterns."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from bluesky_ptycho import convert
from bluesky_ptycho.cli import main
from bluesky_ptycho.io import read_cxi, read_result_cxi
from bluesky_ptycho.io.cxi import FRAME_WEIGHT
from bluesky_ptycho.raw_scan import RawFileOptions, raw_file
from bluesky_ptycho.scan_plan import Illumination
from tests.desk.commands import error_of
from tests.stored import store_scan

LIGHT = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=60e-6, defocus_m=10e-6)
PATTERNS = "entry_1/instrument_1/detector_1/data"


@pytest.fixture
def raw(catalog, tmp_path, monkeypatch):
    """A file of 6 points of two exposures each, in the working directory."""
    monkeypatch.chdir(tmp_path)
    start = store_scan(catalog, exposures_s=(0.01, 0.1), planned={"illumination": LIGHT})
    convert(start["uid"], catalog, "cxi", tmp_path / "rawf.cxi", stage="raw", progress=False)
    return tmp_path / "rawf.cxi"


def test_they_are_not_reconstructed_as_if_they_were_patterns(raw, capsys):
    says = "rawf.cxi holds raw frames; expected patterns, which `bluesky-ptycho preprocess rawf.cxi` makes of them"
    assert error_of(capsys, "reconstruct", "rawf.cxi").endswith(says)
    assert not (raw.parent / "ptycho_reconstruction").exists()
    assert main(["preprocess", "rawf.cxi"]) == 0
    with h5py.File("clean.cxi") as file:
        assert file[PATTERNS].shape == (6, 16, 16)
    assert main(["reconstruct", "clean.cxi", "--iterations", "1"]) == 0


def test_what_the_file_tells_of_them_need_not_be_told_again(raw):
    with h5py.File(raw, "r+") as file:
        file[PATTERNS].attrs["adu_per_ev"] = 0.02
    with raw_file(raw, RawFileOptions()) as scan:
        assert (scan.plan.exposures_s, scan.plan.n_points) == ((0.01, 0.1), 6)
        assert (scan.plan.detector.adu_per_ev, scan.plan.detector.layout) == (0.02, "plain")
        np.testing.assert_allclose(list(vars(scan.plan.illumination).values()), list(vars(LIGHT).values()))
    with raw_file(raw, RawFileOptions(adu_per_ev=0.01, layout="fccd-full")) as scan:
        assert (scan.plan.detector.adu_per_ev, scan.plan.detector.layout) == (0.01, "fccd-full")


def test_weights_of_merged_exposures_reach_the_solver_where_they_are_asked_for(raw, capsys):
    """Many of the long exposure's pixels are said to be saturated; the short one, a tenth as long, gives them."""
    with h5py.File(raw, "r+") as file:
        longer = file[PATTERNS][1::2]
        full = float(np.median(longer[longer > 0]))
        file[PATTERNS][0::2] = np.minimum(longer, int(0.9 * full))
    assert main(["preprocess", "rawf.cxi", "--set", f"saturation={full:g}", "--quiet"]) == 0
    weight = read_cxi("clean.cxi").weight
    assert weight.min() == pytest.approx(0.1, rel=0.01)
    assert 0.1 < (weight < 0.5).mean() < 0.9
    objects = {}
    for name, options in {"off": [], "on": ["--set", "pixel_weights=true"]}.items():
        more = ["--set", "refine_start=0", *options, "--iterations", "5", "--output", name]
        assert main(["reconstruct", "clean.cxi", *more]) == 0
        objects[name] = read_result_cxi(f"{name}/result.cxi").object
    assert not np.allclose(objects["on"], objects["off"], atol=1e-3)
    with h5py.File("clean.cxi", "r+") as file:
        del file[FRAME_WEIGHT]
    capsys.readouterr()
    refused = error_of(capsys, "reconstruct", "clean.cxi", "--set", "pixel_weights=true")
    assert "solver.pixel_weights is True, and clean.cxi has no weights; expected patterns of merged" in refused
    assert (
        main(["reconstruct", "clean.cxi", "--set", "refine_start=0", "--iterations", "5", "--output", "without"]) == 0
    )
    np.testing.assert_allclose(read_result_cxi("without/result.cxi").object, objects["off"], atol=1e-3)
