from __future__ import annotations

import h5py
import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError, NotFoundError
from bluesky_ptycho.io.raw_file import open_frames, read_facts, read_positions
from tests.small_cxi import DETECTOR_PIXEL_M, DISTANCE_M, PIXEL_M, N, write_small_cxi


@pytest.fixture
def bare(tmp_path):
    """A file with two stacks, and nothing else."""
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["scan/images"] = np.arange(60, dtype=np.uint16).reshape(5, 3, 4)
        file["scan/darks"] = np.zeros((2, 3, 4), dtype=np.uint16)
        file["scan/times"] = np.zeros(5)
        file["scan/where"] = np.array([[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]])
    return tmp_path / "bare.h5"


def test_what_lies_where_cxi_has_it_is_found(tmp_path):
    small = write_small_cxi(tmp_path / "small.cxi", grid=3)
    facts = read_facts(small.path)
    assert (facts.n_frames, facts.frame_shape) == (9, (N, N))
    assert facts.dataset == "/entry_1/instrument_1/detector_1/data"
    assert facts.energy_ev == pytest.approx(800)
    assert (facts.distance_m, facts.pixel_m) == (DISTANCE_M, (DETECTOR_PIXEL_M, DETECTOR_PIXEL_M))
    np.testing.assert_allclose(facts.positions_m, small.corners * PIXEL_M)
    assert facts.dark_dataset is None


def test_the_only_stack_is_taken_and_others_are_named(bare):
    facts = read_facts(bare, "scan/images")
    assert (facts.n_frames, facts.frame_shape, facts.energy_ev, facts.positions_m) == (5, (3, 4), None, None)
    with pytest.raises(MetadataError, match=r"3-D data sets scan/darks, scan/images; expected one .* with dataset="):
        read_facts(bare)
    with pytest.raises(MetadataError, match="no data set 'scan/absent'; it has 3-D data sets scan/darks, scan/images"):
        read_facts(bare, "scan/absent")
    with pytest.raises(
        MetadataError, match=r"scan/times is float64 \(5,\); expected numbers \(frames, rows, columns\)"
    ):
        read_facts(bare, "scan/times")
    with h5py.File(bare, "r+") as file:
        del file["scan/darks"]
    assert read_facts(bare).dataset == "/scan/images"
    with open_frames(bare, "scan/images") as frames:
        assert frames[1, 0].tolist() == [12, 13, 14, 15]


def test_unusable_files_are_told(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        read_facts(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(MetadataError, match="is not an HDF5 file"):
        read_facts(tmp_path / "text.h5")


def test_positions_come_with_names_and_units(tmp_path, bare):
    table = tmp_path / "positions.csv"
    table.write_text("\ufeffindex, X ,y\n0,1.5,-2\n1,2.5,4e-1\n")
    np.testing.assert_allclose(read_positions(str(table)), [[-2e-6, 1.5e-6], [0.4e-6, 2.5e-6]])
    np.testing.assert_allclose(read_positions(str(table), "nm"), [[-2e-9, 1.5e-9], [0.4e-9, 2.5e-9]])
    np.testing.assert_allclose(read_positions(f"{bare}::scan/where"), [[2, 1], [4, 3]])
    np.testing.assert_allclose(read_positions(f"{bare}::scan/where", "um"), [[2e-6, 1e-6], [4e-6, 3e-6]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2\n3,4\n", "begins with 1, 2; expected columns named x and y"),
        ("", "begins with nothing; expected columns named x and y"),
        ("x,y\n", "holds no rows; expected finite numbers x and y"),
        ("x,y\n1,two\n", "p.csv line 2: y is 'two'; expected a finite number"),
        ("x,y\n1,2\nnan,4\n", "p.csv line 3: x is 'nan'; expected a finite number"),
        ("x,y\n1\n", "p.csv line 2: y is None; expected a finite number"),
    ],
)
def test_positions_that_are_none_are_told(tmp_path, text, says):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(MetadataError, match=says):
        read_positions(str(tmp_path / "p.csv"))


def test_positions_elsewhere_are_told(tmp_path, bare):
    with pytest.raises(NotFoundError, match="does not exist"):
        read_positions(str(tmp_path / "absent.csv"))
    with pytest.raises(MetadataError, match=r"scan/images has shape \(5, 3, 4\); expected \(n, 2\) or \(n, 3\)"):
        read_positions(f"{bare}::scan/images")
    with pytest.raises(MetadataError, match=r"units of .* are 'furlong'"):
        read_positions(f"{bare}::scan/where", "furlong")
