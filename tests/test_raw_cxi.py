"""Raw frames in a CXI file: cleaned with what the file tells of them, and not taken for patterns."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from bluesky_ptycho import convert
from bluesky_ptycho.cli import main
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
