"""Results written to CXI files come back."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.io import read_result_cxi, write_result_cxi
from tests.snapshots import learnt, make_snapshot


def test_near_field_result_comes_back(tmp_path):
    geometry = Geometry(12e3, 1.1, (55e-6, 55e-6), (32, 32), "near", 0.004)
    write_result_cxi(tmp_path / "result.cxi", make_snapshot(geometry=geometry))
    found = read_result_cxi(tmp_path / "result.cxi").geometry
    assert dataclasses.replace(found, energy_ev=12e3) == geometry
    assert found.energy_ev == pytest.approx(12e3)


def test_result_comes_back_as_it_was(tmp_path):
    snapshot = make_snapshot()
    path = tmp_path / "result.cxi"
    write_result_cxi(path, snapshot, sample_name="gold – 5 µm", raw_uid="abc", versions={"numpy": "2"})
    found = read_result_cxi(path)
    for name in ("object", "probe", "coverage", "seq_nums", "residuals"):
        np.testing.assert_array_equal(getattr(found, name), getattr(snapshot, name), err_msg=name)
        assert getattr(found, name).dtype == getattr(snapshot, name).dtype
    np.testing.assert_allclose(found.positions_m, snapshot.positions_m, rtol=1e-14)
    assert found.canvas == snapshot.canvas
    assert found.geometry.energy_ev == pytest.approx(snapshot.geometry.energy_ev)
    assert (found.geometry.pixel_m, found.geometry.shape) == (snapshot.geometry.pixel_m, snapshot.geometry.shape)
    assert (found.residual, found.iteration, found.settings) == (0.0095, 12, snapshot.settings)
    assert found.frc.keys() == snapshot.frc.keys()
    np.testing.assert_allclose(found.frc["correlation"], snapshot.frc["correlation"])
    assert [p.name for p in tmp_path.iterdir()] == ["result.cxi"]


def test_what_the_solver_learnt_comes_back(tmp_path):
    bare = make_snapshot()
    known = learnt(bare)
    write_result_cxi(tmp_path / "result.cxi", dataclasses.replace(bare, **known))
    found = read_result_cxi(tmp_path / "result.cxi")
    for name, expected in known.items():
        np.testing.assert_array_equal(getattr(found, name), expected, err_msg=name)
        assert np.asarray(getattr(found, name)).dtype == np.asarray(expected).dtype, name
    with h5py.File(tmp_path / "result.cxi", "r+") as file:
        assert file["entry_1/image_1/process_1/learnt/position_shifts"].attrs["units"] == "m"
        del file["entry_1/image_1/process_1/learnt"], file["entry_1/image_1/slices"]
    old = read_result_cxi(tmp_path / "result.cxi")
    assert {name: getattr(old, name) for name in known} == dict.fromkeys(known) | {"converged": False}


@pytest.mark.parametrize("modes", [1, 12])
def test_object_is_the_largest_complex_data_set(tmp_path, modes):
    snapshot = make_snapshot(modes=modes, n=48)
    path = tmp_path / "result.cxi"
    write_result_cxi(path, snapshot)
    found = {}

    def collect(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "c":
            found[name] = item.size

    with h5py.File(path) as file:
        file.visititems(collect)
        assert max(found, key=found.__getitem__) == "entry_1/image_1/data"
        assert sorted(found.values())[-2] < found["entry_1/image_1/data"]
        assert file["cxi_version"][()] == 160
        image = file["entry_1/image_1"]
        assert image["data"].dtype == np.complex64
        np.testing.assert_allclose(image["canvas_origin"], snapshot.canvas.origin_m)
        np.testing.assert_allclose((image["y_pixel_size"][()], image["x_pixel_size"][()]), snapshot.canvas.pixel_m)
        assert file["entry_1/instrument_1/source_1/energy"][()] == pytest.approx(800 * 1.602176634e-19)
        np.testing.assert_array_equal(file["entry_1/instrument_1/source_1/illumination"], snapshot.probe[0])
        xyz = file["entry_1/sample_1/geometry_1/translation"][()]
        np.testing.assert_array_equal(xyz[:, :2], snapshot.positions_m[:, ::-1])


def test_result_without_frc_and_with_unknown_residual(tmp_path):
    snapshot = make_snapshot(frc=None, residual=float("nan"))
    write_result_cxi(tmp_path / "result.cxi", snapshot)
    found = read_result_cxi(tmp_path / "result.cxi")
    assert found.frc is None
    assert np.isnan(found.residual)


def test_a_failed_write_leaves_the_old_result(tmp_path):
    path = tmp_path / "result.cxi"
    write_result_cxi(path, make_snapshot())
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_result_cxi(path, make_snapshot(settings={"unwritable": object()}))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.cxi"]
