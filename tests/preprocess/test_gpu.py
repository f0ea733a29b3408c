"""The GPU's kernels against the NumPy steps: the very source compiled for the host, and on a card if there is one."""

import dataclasses
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import numpy as np
import pytest

from bluesky_ptycho.backend import get_backend
from bluesky_ptycho.preprocess import PreprocessSettings, gpu, make_pipeline
from bluesky_ptycho.preprocess.chains import StepChain
from bluesky_ptycho.preprocess.gpu import GpuChain
from bluesky_ptycho.preprocess.layouts import disassemble
from bluesky_ptycho.preprocess.presets import steps_of
from bluesky_ptycho.preprocess.recipe import make_recipe, prepare_darks

from ..cuda_on_host import COMPILER, HostCuda
from .camera import ADU_PER_PHOTON, Camera, make_plan, put_image

NVCC = shutil.which("nvcc")


@pytest.fixture(scope="module")
def host_cuda(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no g++ to compile the kernels for the host with")
    return HostCuda(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module", params=["host", pytest.param("card", marks=pytest.mark.gpu)])
def backend(request):
    return get_backend("cupy") if request.param == "card" else request.getfixturevalue("host_cuda")


@pytest.fixture(scope="module")
def image(image):
    """A wedge across the seam, too; saturated at corners and where channels meet."""
    pattern = image.copy()
    pattern[400:560, 100:600] += np.linspace(0, 20, 500)
    pattern[0, 0] = pattern[959, 959] = pattern[0, 700] = pattern[300, 0] = pattern[812, 959] = 4000.0
    pattern[100, 9] = pattern[100, 130] = pattern[700, 499:501] = 4000.0  # last and first columns of a channel
    return pattern


ONE = {"photon_threshold": 0.8}
OWN: dict[str, float] = {}
"""The default: each pixel has its own threshold."""
OWN_KERNELS = ("count_cells", "sum_wide", "count_singles")
both = pytest.mark.parametrize(
    "threshold",
    [pytest.param(ONE, id="one-threshold", marks=pytest.mark.slow), pytest.param(OWN, id="own-thresholds")],
)


def clean(backend, plan, settings, frames, darks):
    """Clean frames by the steps and by the kernels; what both give."""
    recipe = make_recipe(plan, settings)
    prepared = prepare_darks(darks, recipe)
    with ThreadPoolExecutor(2) as threads:
        expected = StepChain(recipe, steps_of("cosmic", recipe.layout), threads)(frames, prepared)
    return GpuChain(recipe, backend)(frames, prepared), expected


def same(cleaned, expected, settings):
    for name in ("mask", "n_damaged", "n_saturated"):
        np.testing.assert_array_equal(getattr(cleaned, name), getattr(expected, name), err_msg=name)
        assert getattr(cleaned, name).dtype == getattr(expected, name).dtype
    # Sums of up to 25 pixels in another order; everything before them is the same to the last bit, except for
    # thresholds of pixels' own: logarithms differ in it, so that a pixel on its threshold may fall on either side.
    near = np.isclose(cleaned.photons, expected.photons, rtol=2e-6, atol=1e-4)
    assert np.count_nonzero(~near) <= (settings.photon_threshold is None)
    assert cleaned.photons.dtype == cleaned.weight.dtype == np.float32
    assert cleaned.weight.shape == expected.weight.shape
    assert np.count_nonzero(~np.isclose(cleaned.weight, expected.weight, rtol=1e-4)) <= np.count_nonzero(~near)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nvcc_compiles_without_a_warning(arch, tmp_path):
    if NVCC is None:
        pytest.skip("no nvcc to compile the kernels with")
    source = resources.files("bluesky_ptycho.preprocess") / "cuda" / "clean.cu"
    strict = ("-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra", "--fmad=false", "-cubin")
    with resources.as_file(source) as path:
        command = [NVCC, f"-arch={arch}", *strict, "-o", tmp_path / "clean.cubin", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    cubin = (tmp_path / "clean.cubin").read_bytes()
    assert all(f".text.{name}\0".encode() in cubin for name in gpu.KERNELS)


@pytest.mark.parametrize(
    "changes",
    [
        ONE,
        OWN,
        {"photon_threshold": 0.0, "clip_negative": False, "beamstop_radius_m": 1.83e-3},
        {"threshold_reach": 2, "beamstop_radius_m": 1.83e-3, "read_noise": 3.0},  # reach is for one threshold
        ONE | {"crop_px": 512, "binning": 2, "optical_centre": (470.0, 300.0), "overscan_rows": 9},
        # Beyond the image on two sides, then on all.
        ONE | {"binning": 5, "optical_centre": (520.0, 470.0), "overscan_rows": 1},
        OWN | {"binning": 5, "optical_centre": (520.0, 470.0)},
        ONE | {"pattern_px": 256, "binning": 4, "overscan_low": -1.0, "overscan_high": 0.5},
        OWN | {"crop_px": 96, "binning": 1, "optical_centre": (480.0, 600.0), "overscan_rows": 101},
    ],
    ids=str,
)
def test_one_exposure(backend, image, camera, dark, changes):
    frames, settings = camera.frame(image)[None, None], PreprocessSettings(**changes)
    cleaned, expected = clean(backend, make_plan(), settings, frames, (dark,))
    same(cleaned, expected, settings)
    assert expected.n_saturated[0] > 0
    assert expected.mask.any()


@pytest.mark.parametrize("centre", [(480.0, 480.0), (130.0, 830.0)], ids=["within", "beyond-the-image"])
def test_only_what_is_lost_in_the_window_is_counted(backend, camera, dark, centre):
    """Lost rows and columns of the image, one on each side of each edge of the window."""
    frames, settings = camera.frame()[None, None], PreprocessSettings(crop_px=320, optical_centre=centre)
    lost = np.zeros((960, 960))
    for axis, first in enumerate(make_recipe(make_plan(), settings).grid.first):
        for line in (first - 1, first, first + 319, first + 320):
            if 0 <= line < 960:
                lost.swapaxes(0, axis)[line] = 0x2000
    words = np.zeros(frames.shape[-2:])
    put_image(words, lost)
    frames |= words.astype(np.uint16)
    cleaned, expected = clean(backend, make_plan(), settings, frames, (dark,))
    same(cleaned, expected, settings)
    assert expected.n_damaged[0] == (4 * 319 if centre == (480.0, 480.0) else 292 + 288 - 1)


@pytest.mark.parametrize("changes", [{"photon_threshold": 0.0, "clip_negative": False}, OWN], ids=["dark-too", "own"])
def test_lost_packets_foreign_gains_and_lost_overscan(backend, image, camera, dark, changes):
    frames = np.stack([camera.frame(image) for _ in range(2)])[:, None]
    frames[0, 0, 40:43, 100:900] |= 0x2000
    frames[0, 0, 600, :] |= 0x2000
    frames[0, 0, 560, 600:700] = 0xFFFF  # lost, though all bits of the ADC are set
    frames[1, 0, 700, 333] &= 0x1FFF
    frames[1, 0, 300:340, 240] |= 0x2000  # both slots of 40 rows: whole windows are lost
    frames[1, 0, 300:340, 251] |= 0x2000
    frames[1, 0, 6:486, 36] |= 0x2000  # one slot of a half
    frames[1, 0, 554:1034, 60:72:11] |= 0x2000  # both slots of a half
    frames[1, 0, 100:340, 12] = 0xDFFF  # saturated in one slot
    settings = PreprocessSettings(**changes)
    cleaned, expected = clean(backend, make_plan(), settings, frames, (dark,))
    same(cleaned, expected, settings)
    assert expected.n_damaged[0] > 2 * 800
    assert expected.n_damaged[1] >= 4800 + 20 * 10


@pytest.mark.parametrize("exposures", [(0.1, 0.01), (0.01, 0.1, 0.1), (0.1, 0.01, 0.001)], ids=str)
@both
def test_several_exposures_with_repeats(backend, image, camera, dark, exposures, threshold):
    frames = np.stack([camera.frame(image * t / max(exposures)) for t in exposures])[None]
    frames[0, 0, 300:303, :] |= 0x2000
    frames[0, 1, 302:305, :] |= 0x2000
    frames[0, :, 800, 400:420] |= 0x2000
    mean = dark.mean.copy()
    mean[700, 700:720] = np.nan
    darks = [dataclasses.replace(dark, exposure_s=t) for t in exposures]
    darks[0] = dataclasses.replace(darks[0], mean=mean)
    mean = mean.copy()
    mean[900:903, 100:110] = np.nan  # bad in all but the first, where its packets are lost
    frames[0, 0, 901, 90:120] |= 0x2000
    darks[1:] = [dataclasses.replace(d, mean=mean) for d in darks[1:]]
    settings = PreprocessSettings(crop_px=840, **threshold)
    cleaned, expected = clean(backend, make_plan(exposures_s=exposures), settings, frames, darks)
    same(cleaned, expected, settings)
    assert expected.n_damaged[0] > 0
    assert expected.mask.mean() > 0.99
    assert (expected.weight < 1).any()


@both
def test_bad_pixels_and_light_below_the_darks(backend, image, camera, dark, threshold):
    mean = dark.mean + np.float32(3)
    mean[600, 100:110] = np.nan
    mean[100, 120] = np.nan  # an overscan slot
    mean[6:486, 480:492] = np.nan  # a channel
    frames = camera.frame(image)[None, None]
    darks = (dataclasses.replace(dark, mean=mean),)
    settings = PreprocessSettings(**threshold)
    cleaned, expected = clean(backend, make_plan(), settings, frames, darks)
    same(cleaned, expected, settings)
    assert expected.n_damaged[0] == 0  # known from the darks
    assert not expected.mask.all()


def test_without_darks_and_new_darks_in_the_midst(backend, image, camera, dark):
    """Thresholds follow the noise of the darks, too."""
    settings = PreprocessSettings(crop_px=320, read_noise=1.5)
    recipe = make_recipe(make_plan(), settings)
    frames = camera.frame(image)[None, None]
    chain = GpuChain(recipe, backend)
    with ThreadPoolExecutor(1) as threads:
        steps = StepChain(recipe, steps_of("cosmic", recipe.layout), threads)
        for darks in (None, (dark,), None):
            prepared = prepare_darks(darks, recipe)
            same(chain(frames, prepared), steps(frames, prepared), settings)


def test_wire_order_late_channels_flat_and_mask(backend, image, camera, dark, tmp_path):
    flat = np.random.default_rng(3).uniform(0.8, 1.2, (960, 960))
    flat[30, 40:50] = 0
    np.save(tmp_path / "flat.npy", flat)
    settings = PreprocessSettings(
        channel_shifts=(59, 1, 140, -2), flat_file=str(tmp_path / "flat.npy"), beamstop_radius_m=1e-3,
        mask_regions=(100.0, 110.0, 200.0, 230.0),
    )  # fmt: skip
    wire = dataclasses.replace(dark, mean=disassemble(dark.mean), sigma=disassemble(dark.sigma))
    frames = disassemble(camera.frame(image))[None, None].astype(">u2")
    same(*clean(backend, make_plan("fccd-wire"), settings, frames, (wire,)), settings)


def test_full_readout(backend):
    """970 rows per half; the kernels know of them by their maps only."""
    rng = np.random.default_rng(8)
    frames = (0xC000 + np.rint(rng.normal(4096, 3, (1, 1, 1940, 1152)))).astype(np.uint16)
    frames[0, 0, 600:606, 600:606] = 0xDFFF
    plan, settings = make_plan("fccd-full", shape=(1940, 1152)), PreprocessSettings()
    cleaned, expected = clean(backend, plan, settings, frames, None)
    same(cleaned, expected, settings)
    assert cleaned.photons.shape == (1, 240, 480)
    assert expected.n_saturated[0] > 30


def test_batches_change_nothing_and_inputs_stay(backend, image, camera, dark, monkeypatch):
    recipe = make_recipe(make_plan(), PreprocessSettings(crop_px=320))
    prepared = prepare_darks((dark,), recipe)
    frames = np.stack([camera.frame(image) for _ in range(3)])[:, None]
    frames[2, 0, 500:520, 500:600] |= 0x2000
    before = frames.copy(), prepared.mean.copy()
    chain = GpuChain(recipe, backend)
    whole = chain(frames, prepared)
    monkeypatch.setattr(gpu, "BATCH_BYTES", 2 * frames[0].nbytes)
    parts = chain(frames, prepared)
    for field in dataclasses.fields(whole):
        np.testing.assert_array_equal(getattr(parts, field.name), getattr(whole, field.name))
    assert len(np.unique(whole.photons.sum(axis=(1, 2)))) == 3
    np.testing.assert_array_equal(frames, before[0])
    np.testing.assert_array_equal(prepared.mean, before[1])


@both
def test_a_noiseless_pixel_comes_out_where_it_belongs(backend, threshold):
    """Independent of the steps: out[i, j] is the box of raw[-1 - j, -1 - i]."""
    offset = np.full((1040, 1152), 4000.0)
    bright = np.zeros((960, 960))
    bright[4 * 50 + 1, 4 * 200 + 2] = 100 * ADU_PER_PHOTON
    adu = offset.copy()
    put_image(adu, bright)
    still = Camera(sigma=0.0)
    still.offset = offset
    recipe = make_recipe(make_plan(), PreprocessSettings(**threshold))
    frames = (0xC000 + adu).astype(np.uint16)[None, None]
    photons = GpuChain(recipe, backend)(frames, prepare_darks((still.darks(2),), recipe)).photons[0]
    assert np.argwhere(photons).tolist() == [[239 - 200, 239 - 50]]
    assert photons.max() == pytest.approx(100, rel=1e-5)


@both
def test_the_pipeline_takes_the_gpu_where_it_serves(host_cuda, image, camera, dark, caplog, threshold):
    caplog.set_level("INFO", logger="bluesky_ptycho")
    frames, settings = camera.frame(image)[None, None], PreprocessSettings(**threshold)
    kernels = [name for name in gpu.KERNELS if threshold == OWN or name not in OWN_KERNELS]
    host_cuda.launches.clear()
    with make_pipeline(make_plan(), settings, host_cuda) as pipeline:
        pipeline.warm_up()
        assert host_cuda.launches == kernels
        cleaned = pipeline(frames, (dark,))
        assert host_cuda.launches == 2 * kernels
    with make_pipeline(make_plan(), settings) as on_cpu:
        expected = on_cpu(frames, (dark,))
    np.testing.assert_array_equal(cleaned.mask, expected.mask)
    near = np.isclose(cleaned.photons, expected.photons, rtol=1e-5, atol=1e-4)
    assert np.count_nonzero(~near) <= (threshold == OWN)  # as in same()
    assert "on the CPU" not in caplog.text


@pytest.mark.parametrize("changes", [{"binning": 3.75}, ONE | {"threshold_reach": 2}, {"fused": False}], ids=str)
def test_the_pipeline_says_where_the_gpu_does_not_serve(host_cuda, image, camera, dark, caplog, changes):
    caplog.set_level("INFO", logger="bluesky_ptycho")
    frames = camera.frame(image)[None, None]
    host_cuda.launches.clear()
    with make_pipeline(make_plan(), PreprocessSettings(**changes), host_cuda) as pipeline:
        pipeline(frames, (dark,))
        pipeline(frames, (dark,))
    assert caplog.text.count("frames are cleaned on the CPU") == 1
    assert host_cuda.launches == []


def test_a_backend_without_cuda_refuses_kernels():
    with pytest.raises(NotImplementedError, match="'numpy' has no CUDA device"):
        get_backend("numpy").compile_cuda("", ())
