from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError, NotFoundError, PtychoError, SettingsError
from bluesky_ptycho.io import read_cxi, write_result_cxi
from tests.small_cxi import DETECTOR_PIXEL_M, DISTANCE_M, PIXEL_M, N, write_small_cxi
from tests.snapshots import make_snapshot

DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"


@pytest.fixture
def cxi(tmp_path: Path):
    return write_small_cxi(tmp_path / "small.cxi", grid=3)


def replace(path: Path, name: str, value) -> None:
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value


def test_everything_is_read_in_our_units_and_orders(cxi):
    data = read_cxi(cxi.path)
    np.testing.assert_array_equal(data.photons, cxi.photons)
    assert data.photons.dtype == np.float32
    # Translation is (x, y, z); positions are (y, x): rows go with y.
    np.testing.assert_allclose(data.positions_m, cxi.corners * PIXEL_M)
    np.testing.assert_allclose(data.probe_guess, cxi.probe[None], rtol=1e-6)
    assert data.mask.all()
    assert data.geometry.energy_ev == pytest.approx(800)
    assert data.geometry.distance_m == DISTANCE_M
    assert data.geometry.pixel_m == (DETECTOR_PIXEL_M, DETECTOR_PIXEL_M)
    assert data.geometry.object_pixel_m == pytest.approx((PIXEL_M, PIXEL_M), rel=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, bool])
def test_mask_of_any_integer_type_is_0_for_good(cxi, dtype):
    mask = np.zeros((N, N), dtype)
    mask[3, 5] = 1
    replace(cxi.path, f"{DETECTOR}/mask", mask)
    data = read_cxi(cxi.path)
    assert not data.mask[3, 5]
    assert data.mask.sum() == N * N - 1
    assert not data.photons[:, 3, 5].any()


def test_high_bits_of_the_mask_count(cxi):
    mask = np.zeros((N, N), np.uint64)
    mask[1, 2] = 1 << 40
    replace(cxi.path, f"{DETECTOR}/mask", mask)
    assert not read_cxi(cxi.path).mask[1, 2]


def test_pixels_that_are_no_numbers_are_masked(cxi):
    photons = cxi.photons.astype(np.float32)
    photons[1, 7, 8] = np.nan
    replace(cxi.path, f"{DETECTOR}/data", photons)
    data = read_cxi(cxi.path)
    assert np.argwhere(~data.mask).tolist() == [[7, 8]]
    assert np.isfinite(data.photons).all()


def test_optional_fields_and_other_places(cxi):
    replace(cxi.path, f"{SOURCE}/probe_guess", None)
    replace(cxi.path, f"{DETECTOR}/mask", None)
    with h5py.File(cxi.path, "r+") as file:
        file.move(TRANSLATION, f"{DETECTOR}/translation")
        del file["entry_1/data_1"]
    data = read_cxi(cxi.path)
    assert data.probe_guess is None
    assert data.mask.all()
    np.testing.assert_allclose(data.positions_m, cxi.corners * PIXEL_M)
    replace(cxi.path, f"{SOURCE}/illumination", np.stack([cxi.probe, cxi.probe]).astype(np.complex64))
    assert read_cxi(cxi.path).probe_guess.shape == (2, N, N)


def external_link(path: Path) -> None:
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["data"] = np.zeros((9, N, N))
    replace(path, f"{DETECTOR}/data", h5py.ExternalLink("other.h5", "/data"))


def external_group(path: Path) -> None:
    replace(path, "entry_1/instrument_1", h5py.ExternalLink("other.h5", "/"))


def external_storage(path: Path) -> None:
    replace(path, f"{DETECTOR}/data", None)
    with h5py.File(path, "r+") as file:
        file.create_dataset(f"{DETECTOR}/data", (9, N, N), "u2", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual_data(path: Path) -> None:
    replace(path, f"{DETECTOR}/data", None)
    layout = h5py.VirtualLayout((9, N, N), "u2")
    layout[:] = h5py.VirtualSource("other.h5", "data", (9, N, N))
    with h5py.File(path, "r+") as file:
        file.create_virtual_dataset(f"{DETECTOR}/data", layout)


def link_loop(path: Path) -> None:
    replace(path, f"{DETECTOR}/data", h5py.SoftLink("/entry_1/loop"))
    replace(path, "entry_1/loop", h5py.SoftLink(f"/{DETECTOR}/data"))


def objects(path: Path) -> None:
    replace(path, f"{DETECTOR}/data", None)
    with h5py.File(path, "r+") as file:
        file.create_dataset(f"{DETECTOR}/data", (2,), h5py.vlen_dtype(np.float32))


def petabytes(path: Path) -> None:
    replace(path, f"{DETECTOR}/data", None)
    with h5py.File(path, "r+") as file:
        file.create_dataset(f"{DETECTOR}/data", (10**9, 1024, 1024), "u2", chunks=(1, 1024, 1024))


def set_attributes(**values) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs.update(values)

    return put


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])


def putting(name: str, value) -> Callable[[Path], None]:
    return lambda path: replace(path, name, value)


BROKEN = {
    "no frames": (putting("entry_1/instrument_1/detector_1/data", None), "data"),
    "no energy": (putting(f"{SOURCE}/energy", None), "has no entry_1/instrument_1/source_1/energy"),
    "no distance": (putting(f"{DETECTOR}/distance", None), "distance"),
    "no pixel size": (putting(f"{DETECTOR}/x_pixel_size", None), "x_pixel_size"),
    "no translation": (putting(TRANSLATION, None), "translation"),
    "energy in eV": (putting(f"{SOURCE}/energy", 800.0), "expected joule"),
    "negative distance": (putting(f"{DETECTOR}/distance", -1.0), "expected a positive number"),
    "distance is text": (putting(f"{DETECTOR}/distance", np.bytes_(b"far")), "expected one number"),
    "two distances": (putting(f"{DETECTOR}/distance", [1.0, 2.0]), "expected one number"),
    "flat frames": (putting(f"{DETECTOR}/data", np.zeros((9, N * N))), r"expected \(n, n, n\)"),
    "no frame": (putting(f"{DETECTOR}/data", np.zeros((0, N, N))), r"shape \(0, 64, 64\)"),
    "complex frames": (putting(f"{DETECTOR}/data", np.zeros((9, N, N), complex)), "has type complex128"),
    "few positions": (putting(TRANSLATION, np.zeros((8, 3))), r"shape \(8, 3\); expected \(9, 3\)"),
    "flat positions": (putting(TRANSLATION, np.zeros((9, 2))), r"expected \(9, 3\)"),
    "positions not finite": (putting(TRANSLATION, np.full((9, 3), np.nan)), "not finite"),
    "small mask": (putting(f"{DETECTOR}/mask", np.zeros((N, 1), int)), r"expected \(64, 64\)"),
    "nothing valid": (putting(f"{DETECTOR}/mask", np.ones((N, N), int)), "every pixel"),
    "probe of another size": (putting(f"{SOURCE}/probe_guess", np.ones((9, 9), complex)), r"expected \(64, 64\)"),
    "dark probe": (putting(f"{SOURCE}/probe_guess", np.zeros((N, N), complex)), "expected a probe"),
    "external link": (external_link, "another file"),
    "external group": (external_group, "another file"),
    "external storage": (external_storage, "other files"),
    "virtual data": (virtual_data, "other files"),
    "link loop": (link_loop, "nowhere"),
    "objects": (objects, "expected numbers"),
    "petabytes": (petabytes, "this machine has"),
    "middle field": (set_attributes(propagation="middle"), "propagation is 'middle'; expected 'far' or 'near'"),
    "focus behind the sample": (
        set_attributes(propagation="near", focus_to_sample_m=-0.01),
        "focus_to_sample_m is -0.01; expected a positive number",
    ),
    "focus is text": (set_attributes(propagation="near", focus_to_sample_m="far"), "expected one number"),
    "truncated": (truncated, "cannot be read|not an HDF5"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_said_in_one_line(cxi, case):
    spoil, message = BROKEN[case]
    spoil(cxi.path)
    with pytest.raises(MetadataError, match=message) as error:
        read_cxi(cxi.path)
    assert "\n" not in str(error.value)
    assert cxi.path.name in str(error.value)


def test_damaged_files_end_in_an_error_of_ours_or_are_read(cxi):
    good = cxi.path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(good)
        for _ in range(4):
            damaged[rng.integers(20_000)] = rng.integers(256)
        cxi.path.write_bytes(damaged)
        try:
            read_cxi(cxi.path)
        except PtychoError:
            refused += 1
    assert refused > 20


def test_near_field_is_read_from_attributes_and_arguments_go_before_them(cxi):
    assert read_cxi(cxi.path).geometry.propagation == "far"
    set_attributes(propagation=b"near", focus_to_sample_m=0.02)(cxi.path)
    geometry = read_cxi(cxi.path).geometry
    assert (geometry.propagation, geometry.focus_to_sample_m) == ("near", 0.02)
    assert geometry.object_pixel_m == pytest.approx((DETECTOR_PIXEL_M * 0.02 / (DISTANCE_M + 0.02),) * 2)
    assert read_cxi(cxi.path, focus_to_sample_m=0.05).geometry.focus_to_sample_m == 0.05
    assert read_cxi(cxi.path, focus_to_sample_m=np.inf).geometry.object_pixel_m == (DETECTOR_PIXEL_M,) * 2
    far = read_cxi(cxi.path, propagation="far").geometry
    assert (far.propagation, far.focus_to_sample_m) == ("far", None)
    with pytest.raises(SettingsError, match=r"^focus_to_sample_m is 0.05; expected only with propagation 'near'"):
        read_cxi(cxi.path, propagation="far", focus_to_sample_m=0.05)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        read_cxi(tmp_path / "none.cxi")
    with pytest.raises(NotFoundError, match="not a file"):
        read_cxi(tmp_path)
    text = tmp_path / "text.cxi"
    text.write_text("these are no patterns")
    with pytest.raises(MetadataError, match="not an HDF5 file"):
        read_cxi(text)


def test_a_result_is_no_measurement(tmp_path):
    write_result_cxi(tmp_path / "result.cxi", make_snapshot())
    with pytest.raises(PtychoError, match="holds a reconstruction, not the patterns"):
        read_cxi(tmp_path / "result.cxi")


def test_measured_files_are_read(real_file):
    data = read_cxi(real_file("siemens_aps.cxi"))
    assert data.photons.shape == (516, 128, 128)
    assert data.geometry.object_pixel_m == pytest.approx((28.178e-9, 28.178e-9), rel=1e-4)
    assert data.geometry.energy_ev == pytest.approx(8800)
    assert data.probe_guess.shape == (1, 128, 128)
    data = read_cxi(real_file("cnm235_first20.cxi"))
    assert data.geometry.object_pixel_m == pytest.approx((8e-9, 8e-9))
    assert 0 < (~data.mask).sum() < 100
    data = read_cxi(real_file("petra3_p25_nearfield.cxi"))
    assert (data.photons.shape, data.probe_guess) == ((200, 100, 100), None)
    assert data.geometry.magnification == pytest.approx(307.85, rel=1e-4)


NAMES = [
    (None, "small"),
    (np.bytes_("gold balls"), "gold balls"),
    (np.bytes_("Gold λ\nsecond line".encode()), "Gold λ"),
    (np.bytes_(b"\xff\xfe"), "��"),
    (np.float64(3.0), "small"),
    (np.array([b"a", b"b"]), "small"),
    (h5py.ExternalLink("elsewhere.h5", "/name"), "small"),
]


@pytest.mark.parametrize(("stored", "title"), NAMES)
def test_the_sample_is_called_as_in_the_file(cxi, stored, title):
    replace(cxi.path, "entry_1/sample_1/name", stored)
    assert read_cxi(cxi.path).title == title
