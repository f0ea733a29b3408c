"""Files that `convert` writes, opened and reconstructed from by programs of others, where these are installed.

cdtools and ptychodus come from PyPI, PtyPy from its repository. The object of the file is known: what they make of it
must be that object, and not its mirror image or twin, which is what wrong signs of the positions would give.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.signal import fftconvolve

from bluesky_ptycho import convert, open_catalog
from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.io.ptyd_writer import GrowingPtyd
from tests.callbacks.live_scan import documents_in_order, make_run
from tests.callbacks.small_data import PIXEL_M, small_scan

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # theirs
]
PTYCHI_PASSES = 20
CORE = 28
"""Pixels at the rim of the known object that little light has met."""


@pytest.fixture(scope="module")
def scan():
    return small_scan(n_side=9, step=4)


@pytest.fixture(scope="module")
def files(scan, blank_catalog, tmp_path_factory):
    """Directory with the scan as clean.cxi, clean.nxs and clean.ptyd."""
    directory = tmp_path_factory.mktemp("peers")
    with open_catalog(shutil.copytree(blank_catalog, directory / "catalog")) as catalog:
        catalog.frames_dir.mkdir(parents=True, exist_ok=True)
        writer = catalog.raw_writer()
        for name, doc in documents_in_order(make_run(catalog.frames_dir, scan), scan, exit_status="success"):
            writer(name, doc)
        for to in ("cxi", "nxs", "ptyd"):
            convert(-1, catalog, to, directory / f"clean.{to}", progress=False)
    return directory


def likeness(found, truth):
    """Return the highest correlation of an image with the core of the known object, over all shifts."""
    core = truth[CORE:-CORE, CORE:-CORE]
    core = core - core.mean()
    inner = tuple(slice(n // 4, -(n // 4)) for n in found.shape)
    image = found / np.abs(found[inner]).mean()
    one = np.ones(core.shape)
    cross = np.abs(fftconvolve(image, np.conj(core[::-1, ::-1]), "valid"))
    power = fftconvolve(np.abs(image) ** 2, one, "valid") - np.abs(fftconvolve(image, one, "valid")) ** 2 / core.size
    power = np.where(power > 0.01 * power.max(), power, np.inf)
    return float((cross / np.sqrt(power * (np.abs(core) ** 2).sum())).max())


def is_the_object(found, truth):
    """Tell whether an image is like the known object, and more so than its mirror images, twin and conjugate are."""
    others = [found[::-1], found[:, ::-1], found.T, found[::-1, ::-1], found.conj(), found[::-1, ::-1].conj()]
    best = likeness(found, truth)
    rivals = max(likeness(other, truth) for other in others)
    logging.getLogger("peers").info("likeness %.3f, of mirror images, twin and conjugate at most %.3f", best, rivals)
    return best > 0.9 and best > rivals + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clean.cxi", "clean.nxs"])
def test_cdtools_reconstructs_from(name, files, scan):
    cdtools = pytest.importorskip("cdtools")
    torch = pytest.importorskip("torch")
    data = cdtools.datasets.Ptycho2DDataset.from_cxi(files / name)
    assert tuple(data.patterns.shape) == (81, 64, 64) and bool(data.mask.all())
    torch.manual_seed(0)
    model = cdtools.models.FancyPtycho.from_dataset(data, n_modes=1, probe_support_radius=None)
    for _ in model.Adam_optimize(60, data, lr=0.01, batch_size=16):
        pass
    assert is_the_object(np.squeeze(model.save_results()["obj"]), scan[2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clean.cxi", "clean.nxs"])
def test_ptychodus_reads_what_its_solver_reconstructs_from(name, files, scan):
    plugin = pytest.importorskip("ptychodus.plugins.cxi_file")
    api = pytest.importorskip("ptychi.api")
    read = plugin.CXIDiffractionFileReader().read(files / name)
    patterns, bad = read[0].get_patterns(), read.get_bad_pixels()
    assert patterns.shape == (81, 64, 64) and not bad.any()
    product = plugin.CXIProductFileIO()
    with h5py.File(files / name) as file:
        metadata, positions = product._read_metadata(file), product._read_positions(file)
        probe = np.squeeze(product._read_probe(file).get_array())
    assert metadata.photon_energy_eV == pytest.approx(800)
    y, x = positions.get_coordinates_y_m(), positions.get_coordinates_x_m()
    np.testing.assert_allclose(np.stack([y, x], axis=1), scan[0], atol=1e-12)
    assert is_the_object(_by_ptychi(api, patterns, y, x, probe), scan[2])


def _by_ptychi(api, patterns, y_m, x_m, probe):
    """Return the object that pty-chi, ptychodus' solver, makes of what ptychodus has read."""
    from ptychi.api.task import PtychographyTask

    options = api.LSQMLOptions()
    reconstructor = options.reconstructor_options
    reconstructor.default_device, reconstructor.batch_size, reconstructor.random_seed = api.Devices.CPU, 16, 0
    options.data_options.wavelength_m = 1.239841984332e-6 / 800
    options.object_options.pixel_size_m = options.probe_options.pixel_size_m = PIXEL_M
    options.object_options.determine_position_origin_coords_by = "specified"
    options.object_options.position_origin_coords = [0.0, 0.0]
    y, x = (values / PIXEL_M - (values / PIXEL_M).min() + 36 for values in (y_m, x_m))
    side = int(max(y.max(), x.max())) + 37
    task = PtychographyTask(
        options, diffraction_data=patterns.astype(np.float32),
        object_data=np.ones((1, side, side), np.complex64), probe_data=probe[None, None].astype(np.complex64),
        probe_position_y_px=y.astype(np.float32), probe_position_x_px=x.astype(np.float32),
    )  # fmt: skip
    task.run(PTYCHI_PASSES)
    return task.get_data_to_cpu("object", as_numpy=True)[0]


@pytest.mark.slow
def test_ptypy_reconstructs_from_ptyd(files, scan, tmp_path):
    pytest.importorskip("ptypy")
    from ptypy import utils as u
    from ptypy.core import Ptycho

    p = u.Param(verbose_level="ERROR", run="peer", data_type="single")
    off = u.Param(active=False)
    p.io = u.Param(home=str(tmp_path), rfile=None, autosave=off, autoplot=off, interaction=off)
    data = u.Param(name="PtydScan", source="file", dfile=str(files / "clean.ptyd"))
    light = u.Param(model=scan[3].astype(np.complex64), aperture=None, photons=None)
    p.scans = u.Param(one=u.Param(name="Full", propagation="farfield", data=data, illumination=light))
    p.engines = u.Param(
        first=u.Param(name="DM", numiter=60, probe_support=1.0, probe_update_start=2),
        last=u.Param(name="ML", numiter=40),
    )
    done = Ptycho(p, level=5)
    assert len(done.pods) == 81
    (storage,) = done.obj.storages.values()
    np.testing.assert_allclose(storage.psize, PIXEL_M, rtol=1e-5)
    assert is_the_object(np.squeeze(storage.data), scan[2])


@pytest.mark.slow
def test_ptypy_follows_a_file_that_grows(scan, tmp_path):
    data = pytest.importorskip("ptypy.core.data")
    from ptypy import utils as u

    positions, patterns = scan[0], scan[1].astype(np.float32)
    numbers, mask = np.arange(81) + 1, np.ones(patterns.shape, dtype=bool)
    growing = GrowingPtyd(tmp_path / "g.ptyd", Geometry(800.0, 0.121, (120e-6, 120e-6), (64, 64)), 81)
    parts = [slice(0, 30), slice(30, 60), slice(60, 81)]

    def grow():
        part = parts.pop(0)
        growing.append(patterns[part], mask[part], positions[part], numbers[part])

    grow()
    reader = data.PtydScan(u.Param(source="file", dfile=str(tmp_path / "g.ptyd"), label="g"))
    reader.initialize()
    taken, waits = [], 0
    while (given := reader.auto(8)) is not data.EOS:
        if given is data.WAIT:
            waits += 1
            grow() if parts else growing.finish(())
        else:
            taken += [(frame["position"], frame["data"].sum()) for frame in given["iterable"]]
    assert waits == 2, "it waits for what is not there yet, and knows when it has all"
    np.testing.assert_array_equal([position for position, _ in taken], positions)
    np.testing.assert_array_equal([total for _, total in taken], patterns.sum(axis=(1, 2)))


def test_every_file_is_what_its_readers_ask_for(files):
    """Structure that PtyPy's PtydScan and NeXus' definition want, for machines where they are not installed."""
    with h5py.File(files / "clean.ptyd") as file:
        meta = {name: value.attrs["type"] for name, value in file["meta"].items()}
        assert {"energy", "distance", "psize", "shape", "center", "num_frames", "label"} <= set(meta)
        assert file["meta/energy"][()] == pytest.approx(0.8), "PtyPy counts in keV"
        chunks = sorted(file["chunks"], key=int)
        assert chunks[0] == "0"
        names = {frozenset(file["chunks"][c]) for c in chunks}
        assert names == {frozenset({"data", "weights", "positions", "indices"})}
        indices = np.concatenate([file[f"chunks/{c}/indices"][()] for c in chunks])
        np.testing.assert_array_equal(indices, np.arange(81))
    with h5py.File(files / "clean.nxs") as file:
        assert file["entry_1/definition"][()] == b"NXcxi_ptycho"
        for place in ("energy", "extent", "incident_beam_energy"):
            assert "units" in file[f"entry_1/instrument_1/beam_1/{place}"].attrs
        for axis in "xy":
            assert file[f"entry_1/instrument_1/detector_1/beam_center_{axis}"].attrs["units"] == "m"
    assert Path(files / "clean.cxi").stat().st_size > 81 * 64 * 64 * 4
