from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.io import CleanCxiWriter, read_cxi
from bluesky_ptycho.io.cxi import FRAME_WEIGHT

GEOMETRY = Geometry(800.0, 0.121, (120e-6, 100e-6), (6, 8))
DETECTOR = "entry_1/instrument_1/detector_1"
RNG = np.random.default_rng(3)


def frames(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(5, (n, 6, 8)).astype(np.float32), rng.uniform(-1e-6, 1e-6, (n, 2))


def write(path, photons, mask, positions, *, chunk=4, drop=(), darks=False):
    with CleanCxiWriter(path, GEOMETRY, title="gold", raw_uid="beef") as writer:
        for first in range(0, len(photons), chunk):
            rows = slice(first, first + chunk)
            writer.append(photons[rows], mask[rows], positions[rows], np.arange(len(photons))[rows] + 1)
        writer.drop(drop)
        if darks:
            writer.write_darks(np.full((2, 5, 7), 4096.0), np.full((2, 5, 7), 0.9), [10, 12], [0.01, 0.1])
        writer.write_process(
            settings={"preset": "cosmic"}, steps=["photons"], versions={"numpy": "2"}, rejected={3: "dark: no light"},
            dark_corrected=True,
        )  # fmt: skip


def test_what_is_written_is_read_and_lies_where_cxi_has_it(tmp_path):
    photons, positions = frames(10)
    mask = np.ones(photons.shape, dtype=bool)
    mask[:, 2, 3] = False
    path = tmp_path / "clean.cxi"
    write(path, photons, mask, positions, darks=True)
    assert [p.name for p in tmp_path.iterdir()] == ["clean.cxi"]
    with h5py.File(path) as file:
        assert file["cxi_version"][()] == 160
        assert file["entry_1/instrument_1/source_1/energy"][()] == pytest.approx(800 * 1.602176634e-19)
        data = file[f"{DETECTOR}/data"]
        assert (data.shape, data.dtype, data.maxshape[0]) == ((10, 6, 8), np.float32, None)
        assert data.attrs["axes"] == "translation:y:x"
        np.testing.assert_array_equal(file["entry_1/data_1/data"][()], photons)
        assert file[f"{DETECTOR}/distance"][()] == 0.121
        assert file[f"{DETECTOR}/x_pixel_size"][()] == 100e-6
        np.testing.assert_allclose(file[f"{DETECTOR}/basis_vectors"][()], [[0, -100e-6], [-120e-6, 0], [0, 0]])
        np.testing.assert_allclose(file[f"{DETECTOR}/corner_position"][()], [400e-6, 360e-6, 0.121])
        bad = file[f"{DETECTOR}/mask"]
        assert bad.dtype == np.uint32
        assert np.argwhere(bad[()]).tolist() == [[2, 3]]
        assert "frame_mask" not in file[DETECTOR]  # it would say the same
        for place in ("entry_1/sample_1/geometry_1", "entry_1/data_1", DETECTOR):
            xyz = file[f"{place}/translation"][()]
            np.testing.assert_allclose(xyz, np.column_stack([positions[:, 1], positions[:, 0], np.zeros(10)]))
        assert file[f"{DETECTOR}/data_dark"].shape == (2, 5, 7)
        assert file[f"{DETECTOR}/data_dark"].attrs["exposures_s"].tolist() == [0.01, 0.1]
        process = file["entry_1/process_1"]
        assert json.loads(process["settings"][()]) == {"preset": "cosmic"}
        assert json.loads(process["rejected"][()]) == {"3": "dark: no light"}
        assert process["seq_nums"][()].tolist() == list(range(1, 11))
        assert process["dark_corrected"][()]
        assert file["entry_1/experiment_identifier"][()] == b"beef"
    read = read_cxi(path)
    assert read.geometry == GEOMETRY
    np.testing.assert_allclose(read.positions_m, positions)
    assert read.mask.shape == (6, 8)
    np.testing.assert_array_equal(read.photons, np.where(mask, photons, 0))


def test_damage_of_single_frames_stays_theirs(tmp_path):
    photons, positions = frames(7)
    mask = np.ones(photons.shape, dtype=bool)
    mask[2, 1] = mask[:5, 4, 4] = False  # a lost row of one frame, a pixel that is saturated in most
    write(tmp_path / "clean.cxi", photons, mask, positions)
    read = read_cxi(tmp_path / "clean.cxi")
    np.testing.assert_array_equal(read.mask, mask)
    np.testing.assert_array_equal(read.photons, np.where(mask, photons, 0))
    with h5py.File(tmp_path / "clean.cxi") as file:
        # Readers that know CXI's mask only lose the pixel that is bad in most frames.
        assert np.argwhere(file[f"{DETECTOR}/mask"][()]).tolist() == [[4, 4]]


@pytest.mark.parametrize("drop", [(1,), (10,), (2, 3, 7), tuple(range(1, 10)), (99,)])
def test_frames_are_taken_out_again(tmp_path, drop, monkeypatch):
    monkeypatch.setattr("bluesky_ptycho.io.clean_cxi.MOVED_AT_ONCE", 3)
    photons, positions = frames(10)
    mask = RNG.random(photons.shape) > 0.2
    write(tmp_path / "clean.cxi", photons, mask, positions, drop=drop)
    kept = [i for i in range(10) if i + 1 not in drop]
    read = read_cxi(tmp_path / "clean.cxi")
    np.testing.assert_array_equal(read.photons, np.where(mask, photons, 0)[kept])
    np.testing.assert_allclose(read.positions_m, positions[kept])
    with h5py.File(tmp_path / "clean.cxi") as file:
        assert file["entry_1/process_1/seq_nums"][()].tolist() == [i + 1 for i in kept]
        expected = mask[kept].sum(axis=0) <= len(kept) / 2
        np.testing.assert_array_equal(file[f"{DETECTOR}/mask"][()], expected)


def test_what_fails_leaves_nothing_and_harms_nothing(tmp_path):
    path = tmp_path / "clean.cxi"
    path.write_text("the result of yesterday")
    photons, positions = frames(2)
    with pytest.raises(RuntimeError, match="lost"), CleanCxiWriter(path, GEOMETRY) as writer:
        writer.append(photons, photons > 0, positions, np.arange(2))
        raise RuntimeError("lost")
    assert path.read_text() == "the result of yesterday"
    assert [p.name for p in tmp_path.iterdir()] == ["clean.cxi"]
    with pytest.raises(FileNotFoundError):
        CleanCxiWriter(tmp_path / "absent" / "clean.cxi", GEOMETRY)


def test_weights_lie_beside_the_frames_that_have_them(tmp_path):
    photons, positions = frames(10)
    weight = RNG.random(photons.shape).astype(np.float32)
    path, numbers, valid = tmp_path / "clean.cxi", np.arange(10) + 1, np.ones(photons.shape, dtype=bool)
    with CleanCxiWriter(path, GEOMETRY) as writer:
        for rows in (slice(0, 4), slice(4, 10), slice(2, 5)):  # points 3 to 5 come again
            again = 0.5 * weight[rows] if rows.stop == 4 else weight[rows]
            writer.append(photons[rows], valid[rows], positions[rows], numbers[rows], again)
        writer.drop([1, 7])
    expected = np.where(np.isin(numbers, (1, 2))[:, None, None], 0.5 * weight, weight)
    np.testing.assert_array_equal(read_cxi(path).weight, np.delete(expected, [0, 6], axis=0))
    with h5py.File(path, "r+") as file:
        assert file[FRAME_WEIGHT].compression == "gzip"
        file[FRAME_WEIGHT][3, 2, 2] = 1.5
    with pytest.raises(MetadataError, match="frame_weight holds values that are not within 0 to 1"):
        read_cxi(path)


def test_frames_without_weights_have_none(tmp_path):
    photons, positions = frames(3)
    write(tmp_path / "clean.cxi", photons, np.ones(photons.shape, dtype=bool), positions)
    assert read_cxi(tmp_path / "clean.cxi").weight is None


def test_what_has_no_weight_beside_what_has_weighs_1(tmp_path):
    photons, positions = frames(6)
    weight, valid, numbers = np.full(photons.shape, 0.25, np.float32), np.ones(photons.shape, dtype=bool), np.arange(6)
    with CleanCxiWriter(tmp_path / "clean.cxi", GEOMETRY) as writer:
        for rows, given in ((slice(0, 2), None), (slice(2, 5), weight[2:5]), (slice(4, 6), None)):
            writer.append(photons[rows], valid[rows], positions[rows], numbers[rows], given)
    assert read_cxi(tmp_path / "clean.cxi").weight[:, 0, 0].tolist() == [1, 1, 0.25, 0.25, 1, 1]
    assert read_cxi(tmp_path / "clean.cxi", weights=False).weight is None
