"""Both presets through the fast chains against the NumPy steps; masks, flats, thresholds, settings."""

import dataclasses

import h5py
import numpy as np
import pytest

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline
from bluesky_ptycho.preprocess.layouts import disassemble, shift_channels
from bluesky_ptycho.preprocess.presets import FCCD_STEPS, ORDER
from bluesky_ptycho.preprocess.recipe import make_recipe, prepare_darks
from bluesky_ptycho.preprocess.stack import Context, Stack
from bluesky_ptycho.preprocess.steps import count_photons, dilate

from .camera import ADU_PER_PHOTON, Camera, make_plan, put_image, solver_view, words


@pytest.fixture(scope="module")
def frames(frames):
    """A whole one, and one with lost pixels and overscan."""
    return frames[:2]


def assert_equal_results(plan, settings, frames, darks, atol=5e-3):
    """A sample that lies on the threshold of background may fall on either side, which moves the drift a little."""
    fast, steps = make_pipeline(plan, settings), make_pipeline(plan, settings.replace(fused=False))
    one, other = fast(frames, darks), steps(frames, darks)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_allclose(one.photons, other.photons, rtol=1e-4, atol=atol)
    assert (one.weight is None) == (other.weight is None)
    if one.weight is not None:
        np.testing.assert_allclose(one.weight, other.weight, rtol=1e-3)
    assert one.rejected == other.rejected
    return one


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "nanosurveyor"},
        {"preset": "nanosurveyor", "resampling": "box", "binning": 3.7, "optical_centre": (470.2, 481.9)},
        {"preset": "nanosurveyor", "overscan_skip": 60, "drift_terms": 0, "threshold_reach": 3},
        {"preset": "cosmic", "pattern_px": 256},
        {"preset": "cosmic", "resampling": "fourier"},
        {"preset": "cosmic", "threshold_reach": 2, "optical_centre": (440.0, 500.0)},
        {"preset": "cosmic", "resampling": "gaussian", "clip_negative": False, "photon_threshold": 0.0},
    ],
    ids=str,
)
def test_staged_chain_equals_the_steps(frames, dark, changes):
    clean = assert_equal_results(make_plan(), PreprocessSettings(**changes), frames, (dark,))
    assert 0.9 < clean.mask.mean() < 1


def test_staged_chain_equals_the_steps_with_bad_pixels_hdr_and_wire_order(camera, dark, image):
    exposures = (0.1, 0.01)
    raw = np.stack([camera.frame(image * t / 0.1) for t in exposures])[None]
    raw[0, 0, 300:303, :] |= 0x2000
    mean = dark.mean.copy()
    mean[700, 700:720] = np.nan
    darks = tuple(dataclasses.replace(dark, exposure_s=t, mean=mean) for t in exposures)
    settings = PreprocessSettings(preset="nanosurveyor")
    clean = assert_equal_results(make_plan(exposures_s=exposures), settings, raw, darks)
    # Tones come from spectra in any order of the words; the model here has them in assembled order.
    wire = tuple(dataclasses.replace(d, mean=disassemble(d.mean), sigma=disassemble(d.sigma)) for d in darks)
    plan = make_plan("fccd-wire", exposures_s=exposures)
    again = make_pipeline(plan, settings)(disassemble(raw), wire)
    np.testing.assert_allclose(again.photons, clean.photons, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(again.mask, clean.mask)


@pytest.mark.parametrize("preset", list(FCCD_STEPS))
@pytest.mark.parametrize("fused", [True, False])
def test_masks_flats_and_backgrounds_are_applied(tmp_path, preset, fused):
    """A noiseless frame of 40 photons a pixel, seen through a flat field, a background and two masks."""
    flat = np.ones((960, 960), np.float32)
    flat[:, 480:] = 0.5
    flat[7, 9] = 0  # dead
    np.save(tmp_path / "flat.npy", flat)
    background = np.full((960, 960), 4.0)
    np.save(tmp_path / "background.npy", background)
    mask = np.ones((960, 960), bool)
    mask[100:104, 200:204] = False
    np.save(tmp_path / "mask.npy", mask)
    more = np.ones((960, 960), np.uint8)
    more[600, 700] = 0
    with h5py.File(tmp_path / "more.h5", "w") as file:
        file["mask"] = more
    adu = np.full((1040, 1152), 4000.0)
    put_image(adu, (40 * flat + background) * ADU_PER_PHOTON)
    empty = Camera(sigma=0.0)
    empty.offset = np.full((1040, 1152), 4000.0)
    settings = PreprocessSettings(
        preset=preset, fused=fused, resampling="box", flat_file=str(tmp_path / "flat.npy"),
        background_file=str(tmp_path / "background.npy"), mask_regions=(800, 808, 400.5, 401.5),
        mask_files=(str(tmp_path / "mask.npy"), f"{tmp_path / 'more.h5'}::mask"),
    )  # fmt: skip
    clean = make_pipeline(make_plan(), settings)(words(np.rint(adu))[None, None], (empty.darks(2),))
    good = mask & (more > 0)
    good[800:808, 400:402] = False
    good[7, 9] = False
    expected = solver_view(good.astype(float)) == 16
    np.testing.assert_array_equal(clean.mask[0], expected)
    # Rounding to whole ADU costs up to half of one, or 0.16 photon, twice that where the flat field is 0.5.
    np.testing.assert_allclose(clean.photons[0][expected], 16 * 40, rtol=0.01)
    assert not clean.photons[0][~expected].any()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("channel", [59, 130])
def test_a_late_channel_is_brought_back(camera, dark, image, channel, fused):
    raw = camera.frame(image)
    late = shift_channels(raw[None], (channel, -1))[0]
    assert (late != raw).any()
    # By hand: slot by slot, each sample stands one slot later, the last slot's in the next row.
    columns = (channel - 96) * 12 + np.arange(12) if channel >= 96 else 1151 - (channel * 12 + np.arange(12))
    rows = np.arange(520) if channel >= 96 else 1039 - np.arange(520)
    right = raw[rows[:, None], columns].reshape(-1)
    wrong = late[rows[:, None], columns].reshape(-1)
    np.testing.assert_array_equal(wrong[1:], right[:-1])
    outside = np.ones(raw.shape, bool)
    outside[rows[:, None], columns] = False
    np.testing.assert_array_equal(late[outside], raw[outside])
    late_dark = dataclasses.replace(dark, mean=shift_channels(dark.mean, (channel, -1)))
    settings = PreprocessSettings(fused=fused)
    expected = make_pipeline(make_plan(), settings)(raw[None, None], (dark,))
    clean = make_pipeline(make_plan(), settings.replace(channel_shifts=(channel, 1)))(late[None, None], (late_dark,))
    np.testing.assert_allclose(clean.photons, expected.photons, atol=1e-3)


def test_dilation_reaches_down_and_right():
    mask = np.zeros((5, 5), bool)
    mask[1, 1] = mask[4, 4] = True
    assert np.argwhere(dilate(mask, 2)).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2], [4, 4]]
    np.testing.assert_array_equal(dilate(mask, 0), mask)
    np.testing.assert_array_equal(dilate(mask, 1), mask)


def test_counting_gives_whole_photons(camera, dark):
    rng = np.random.default_rng(4)
    counts = rng.poisson(0.02, (960, 960))
    adu = camera.offset.copy()
    put_image(adu, counts * ADU_PER_PHOTON)
    steps = list(FCCD_STEPS["cosmic"])
    steps.insert(steps.index("photons") + 1, "count_photons")
    settings = PreprocessSettings(steps=tuple(steps), binning=1, photon_threshold=0.6)
    clean = make_pipeline(make_plan(), settings)(words(adu)[None, None], (dark,))
    truth = solver_view(counts, 1)
    photons = clean.photons[0]
    assert np.array_equal(photons, np.rint(photons))
    assert (photons == truth)[clean.mask[0]].mean() > 0.9995


def test_counting_counts_in_the_sum_of_repeats():
    recipe = make_recipe(make_plan(exposures_s=(0.1, 0.01, 0.1)), PreprocessSettings(photon_threshold=0.6))
    context = Context(recipe, prepare_darks(None, recipe))
    values = np.array([[[0.0, 0.25, 0.35, 0.52, 1.9]]], np.float32)  # 0, 0.5, 0.7, 1.04 and 3.8 photons in two frames
    none = np.zeros(values.shape, bool)
    counted = count_photons(Stack(values, none, none), context)
    np.testing.assert_array_equal(counted.values, [[[0.0, 0.0, 0.5, 0.5, 2.0]]])


def test_counting_and_pixels_own_thresholds_exclude_each_other():
    steps = list(FCCD_STEPS["cosmic"])
    steps.insert(steps.index("photons") + 1, "count_photons")
    with pytest.raises(SettingsError, match="expected a number of photons beside the step count_photons"):
        make_pipeline(make_plan(), PreprocessSettings(steps=tuple(steps)))


def test_a_preset_fills_what_is_left_to_it():
    nano = PreprocessSettings(preset="nanosurveyor")
    assert (nano.photon_threshold, nano.threshold_reach, nano.resampling) == (1.0, 2, "gaussian")
    assert nano.to_dict()["photon_threshold"] == 1.0
    own = PreprocessSettings(preset="nanosurveyor", photon_threshold=0.7)
    assert own.replace(preset="cosmic").photon_threshold == 0.7
    assert nano.replace(preset="cosmic") == PreprocessSettings()
    assert PreprocessSettings.from_mapping(nano.to_dict()) == nano


def test_presets_keep_the_order_of_all_steps():
    for steps in FCCD_STEPS.values():
        assert [s for s in ORDER if s in steps] == list(steps)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"preset": "sharp"}, "preset is 'sharp'"),
        ({"mask_regions": (1.0, 2.0, 3.0)}, "mask_regions has 3 numbers"),
        ({"mask_regions": (5.0, 2.0, 3.0, 9.0)}, "edges top < bottom, left < right"),
        ({"mask_regions": (5.0, 9.0, 960.0, 970.0)}, "5, 9, 960, 970, where the image has no pixel; expected rows"),
        ({"mask_regions": (-9.0, 0.0, 3.0, 9.0)}, "no pixel; expected rows within 0 to 960, columns within 0 to 960"),
        ({"channel_shifts": (59,)}, "channel_shifts has 1 numbers"),
        ({"channel_shifts": (192, 1)}, "names channel 192"),
        ({"mask_files": ("/nowhere/mask.npy",)}, "mask_files is '/nowhere/mask.npy'; there is no such file"),
    ],
)
def test_wrong_settings_are_named(changes, named):
    with pytest.raises(SettingsError, match=named):
        make_pipeline(make_plan(), PreprocessSettings(**changes))


def test_files_of_another_shape_or_with_objects_are_refused(tmp_path):
    np.save(tmp_path / "small.npy", np.ones((4, 4)))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "holes.npy", np.full((960, 960), np.nan))
    for name, why in (("small", "expected numbers in"), ("objects", "cannot be read"), ("holes", "finite")):
        with pytest.raises(SettingsError, match=why):
            make_pipeline(make_plan(), PreprocessSettings(flat_file=str(tmp_path / f"{name}.npy")))
