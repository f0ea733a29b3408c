"""Each step against a case worked out by hand; property tests of the resampling."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline, output_geometry
from bluesky_ptycho.preprocess.grid import Grid, orient
from bluesky_ptycho.preprocess.overscan import (
    MEDIAN_OF_MINIMUM,
    running_median,
    subtract_overscan,
)
from bluesky_ptycho.preprocess.positions import correct_positions
from bluesky_ptycho.preprocess.recipe import PreparedDarks, make_recipe, prepare_darks
from bluesky_ptycho.preprocess.single_photons import SinglePhotons
from bluesky_ptycho.preprocess.steps import (
    Context,
    Stack,
    beamstop,
    crop,
    dilate3x3,
    dilate_saturation,
    flag_pixels,
    merge_exposures,
    orient_patterns,
    photons,
    resample,
    subtract_dark,
)

from .camera import ADU_PER_PHOTON, SHAPE, Camera, make_plan, put_image

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


def make_context(layout="fccd-assembled", exposures_s=(0.1,), shape=SHAPE, darks=None, **changes):
    recipe = make_recipe(make_plan(layout, exposures_s, shape), PreprocessSettings(**changes))
    return Context(recipe, darks or prepare_darks(None, recipe))


def stack_of(values, damaged=None, saturated=None):
    values = np.asarray(values, dtype=np.float32)
    none = np.zeros(values.shape, dtype=bool)
    return Stack(values, none if damaged is None else damaged, none if saturated is None else saturated)


def test_flags_lost_packets_before_saturation_and_foreign_gain():
    raw = np.array([0xC000 + 4100, 0xDFFF, 0xFFFF, 0xE000 + 5, 0x8000 + 4100], dtype=np.uint16)
    stack = flag_pixels(Stack.of(raw.reshape(1, 1, 1, 5)), make_context())
    assert stack.values.ravel().tolist() == [4100, 8191, 8191, 5, 4100]
    assert stack.damaged.ravel().tolist() == [False, False, True, True, True]
    assert stack.saturated.ravel().tolist() == [False, True, False, False, False]


def test_plain_flags_are_the_level_and_what_is_not_finite():
    stack = flag_pixels(
        Stack.of(np.array([[[[1.0, 9.0, np.nan, np.inf]]]])), make_context("plain", shape=(1, 4), saturation=9.0)
    )
    assert stack.values.ravel().tolist() == [1, 9, 0, 0]
    assert stack.damaged.ravel().tolist() == [False, False, True, True]
    assert stack.saturated.ravel().tolist() == [False, True, False, False]


def test_dark_above_light_goes_below_zero_and_does_not_wrap():
    mean = np.full((1, 1, 2), 4100.0, np.float32)
    mean[0, 0, 1] = np.nan
    darks = PreparedDarks(
        mean, np.isnan(mean), corrected=True, noise=np.zeros((1, 2, 96), np.float32), photons=SinglePhotons(0.3)
    )
    stack = subtract_dark(stack_of([[[[4090, 4090]]]]), make_context("plain", shape=(1, 2), darks=darks))
    assert stack.values[0, 0, 0, 0] == -10
    assert stack.damaged.ravel().tolist() == [False, True]


def test_running_median_by_hand_and_at_the_ends():
    line = np.array([5, 1, 4, 2, 3, 100, 0], dtype=np.float32)[:, None]
    assert running_median(line, 3)[:, 0].tolist() == [4, 4, 2, 3, 3, 3, 3]
    line[2] = np.inf  # left out: the windows around it have two entries
    assert running_median(line, 3)[:, 0].tolist() == [3, 3, 1.5, 2.5, 3, 3, 3]
    assert np.isnan(running_median(np.full((5, 1), np.inf, np.float32), 3)).all()


def test_bias_constants_are_those_of_a_normal_distribution():
    a, b = np.random.default_rng(0).normal(0, 1, (2, 2_000_000))
    assert np.median(np.minimum(a, b)) == pytest.approx(MEDIAN_OF_MINIMUM, abs=0.003)


def test_dark_pixels_average_to_zero():
    """Whole numbers, drift and the lesser of two slots leave no bias worth a hundredth of an ADU."""
    camera = Camera(seed=31, sigma=0.9, drift=2.0)
    dark = camera.darks(25)
    settings = PreprocessSettings(photon_threshold=0.0, clip_negative=False, min_relative_flux=0.0)
    clean = make_pipeline(make_plan(), settings)(np.stack([camera.frame() for _ in range(4)])[:, None], (dark,))
    assert clean.photons.mean() / 16 * ADU_PER_PHOTON == pytest.approx(0, abs=0.01)


def test_overscan_takes_away_a_slope_and_a_step_between_halves_and_channels():
    frame = np.zeros(SHAPE)
    level = 30.0 - 0.05 * np.arange(SHAPE[0])[:, None] + np.repeat(np.arange(96) % 7, 12)
    level[520:] -= 11
    darks = dataclasses.replace(prepare_darks(None, make_context().recipe), corrected=True)
    context = make_context(darks=dataclasses.replace(darks, noise=0 * darks.noise))
    result = subtract_overscan(stack_of((frame + level)[None, None]), context).values[0, 0]
    inner = np.r_[16:476, 564:1024]
    assert np.abs(result[inner]).max() < 1e-3
    ends = np.r_[6:16, 476:486, 554:564, 1024:1034]
    assert np.abs(result[ends]).max() <= 0.5 + 1e-3  # the last whole window serves there


def test_overscan_uses_the_lesser_slot_and_is_clamped_only_with_darks():
    frame = np.zeros((1, 1, *SHAPE))
    frame[..., 0::12] = 500.0  # charge that spilt into the first slot
    frame[..., 11::12] = 80.0
    without, with_darks = (
        make_context(darks=dataclasses.replace(prepare_darks(None, make_context().recipe), corrected=c))
        for c in (False, True)
    )
    bias = -MEDIAN_OF_MINIMUM * 0.9
    assert subtract_overscan(stack_of(frame), without).values[0, 0, 100, 5] == pytest.approx(-80 - bias, abs=0.01)
    assert subtract_overscan(stack_of(frame), with_darks).values[0, 0, 100, 5] == pytest.approx(-50 - bias, abs=0.01)


def test_overscan_survives_lost_values_and_marks_rows_without_any():
    frame = np.full((1, 1, *SHAPE), 10.0)
    damaged = np.zeros(frame.shape, dtype=bool)
    frame[..., 100:110, :24] = 8000.0
    damaged[..., 100:110, :24] = True  # half a window
    damaged[..., 200:240, 24:36] = True  # more than one
    result = subtract_overscan(stack_of(frame, damaged), make_context())
    bias = -MEDIAN_OF_MINIMUM * 0.9
    assert result.values[0, 0, 105, 30] == pytest.approx(-bias)
    assert result.values[0, 0, 95, 5] == pytest.approx(-bias)
    assert result.damaged[0, 0, 220, 30]
    assert not result.damaged[0, 0, 220, 40]
    np.testing.assert_array_equal(frame[..., 100:110, :24], 8000.0)


def test_crop_finds_the_image():
    image = np.arange(960 * 960, dtype=np.float64).reshape(960, 960)
    frame = np.full(SHAPE, -1.0)
    put_image(frame, image + 1)
    np.testing.assert_array_equal(crop(stack_of(frame[None, None]), make_context()).values[0, 0], image)


def test_saturation_grows_by_one_pixel_and_not_around_the_edge():
    mask = np.zeros((1, 6, 7), dtype=bool)
    mask[0, 2, 3] = mask[0, 5, 0] = True
    expected = np.zeros((6, 7), dtype=bool)
    expected[1:4, 2:5] = True
    expected[4:6, 0:2] = True
    np.testing.assert_array_equal(dilate3x3(mask)[0], expected)
    stack = dilate_saturation(stack_of(np.zeros((1, 6, 7)), saturated=mask), make_context())
    np.testing.assert_array_equal(stack.saturated[0], expected)
    assert not stack.damaged.any()


def test_merge_takes_the_longest_valid_exposure_and_scales():
    # exposures 0.01, 0.1, 0.1: pixels: all good | one long lost | both long saturated | all saturated | all lost
    values = np.array([[1, 1, 2, 3, 4], [10, 30, 50, 50, 4], [20, 90, 50, 50, 4]], dtype=np.float32)
    damaged, saturated = np.zeros((2, 3, 5), dtype=bool)
    damaged[2, 1] = damaged[:, 4] = True
    saturated[1:, 2:4] = saturated[0, 3] = True
    stack = stack_of(values[None, :, None], damaged[None, :, None], saturated[None, :, None])
    merged = merge_exposures(stack, make_context("plain", (0.01, 0.1, 0.1), (1, 5)))
    np.testing.assert_allclose(merged.values[0, 0], [15, 30, 20, 30, 0])
    np.testing.assert_allclose(merged.noise[0, 0], [1, 2, 20, 1, 1])  # longest time and repeats, over those there are
    assert merged.saturated[0, 0].tolist() == [False, False, False, True, False]
    assert merged.damaged[0, 0].tolist() == [False, False, False, False, True]
    assert (merged.n_damaged.tolist(), merged.n_saturated.tolist()) == ([1], [1])


def test_a_short_exposure_stands_in_for_light_and_not_for_damage():
    # exposures 0.01, 0.1: long damaged | long saturated | long damaged, short saturated | long bad in the darks
    values = np.array([[5, 5, 5, 5], [50, 50, 50, 50]], dtype=np.float32)
    damaged, saturated = np.zeros((2, 2, 4), dtype=bool)
    damaged[1, [0, 2, 3]] = saturated[1, 1] = saturated[0, 2] = True
    context = make_context("plain", (0.01, 0.1), (1, 4))
    bad = np.zeros((2, 1, 4), dtype=bool)
    bad[1, 0, 3] = True
    context = dataclasses.replace(context, darks=dataclasses.replace(context.darks, bad=bad))
    merged = merge_exposures(stack_of(values[None, :, None], damaged[None, :, None], saturated[None, :, None]), context)
    np.testing.assert_allclose(merged.values[0, 0], [0, 50, 0, 0])
    assert merged.damaged[0, 0].tolist() == [True, False, True, True]
    assert not merged.saturated.any()
    assert merged.n_damaged.tolist() == [2]  # what the darks know is not damage of the frame


def test_photons_scale_threshold_and_clip():
    adu = np.array([[[3.2, 1.93, 1.91, -5.0, 6.4]]])
    cut = make_context(photon_threshold=0.6)  # 1.92 ADU
    np.testing.assert_allclose(photons(stack_of(adu), cut).values[0, 0], [1, 1.93 / 3.2, 0, 0, 2], rtol=1e-6)
    free = make_context(photon_threshold=0.0, clip_negative=False)
    np.testing.assert_allclose(photons(stack_of(adu), free).values[0, 0], adu[0, 0] / 3.2, rtol=1e-6)
    clipped = make_context(photon_threshold=0.0)
    np.testing.assert_allclose(photons(stack_of(adu), clipped).values[0, 0, 2:4], [1.91 / 3.2, 0], rtol=1e-6)


def test_beamstop_is_a_disc_around_the_optical_centre():
    context = make_context(beamstop_radius_m=30e-6 * 10.2, beamstop_transmission=0.25, optical_centre=(302.0, 502.0))
    ones = stack_of(np.ones((1, 960, 960)))
    result = beamstop(ones, context).values[0]
    assert result[301, 501] == result[302, 502] == result[302 + 9, 502] == 4
    assert result[302 + 10, 502] == result[302, 502 + 10] == result[302, 502 - 11] == 1
    assert np.count_nonzero(result == 4) == pytest.approx(np.pi * 10.2**2, rel=0.03)
    assert beamstop(ones, make_context()) is ones


def test_orientation_turns_a_wedge():
    """A raw pixel above and left of the middle ends below and right of it, mirrored in the diagonal."""
    raw = np.zeros((5, 5))
    raw[0, 1] = 1  # above the middle, one to the left
    raw[2, 4] = 2  # to the right
    turned = orient(raw)
    assert turned[3, 4] == 1
    assert turned[0, 2] == 2
    assert turned.sum() == 3
    np.testing.assert_array_equal(turned, raw.T[::-1, ::-1])


def test_resample_by_hand_one_bad_contributor_masks():
    context = make_context("plain", shape=(4, 6), binning=2)
    values = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    damaged = np.zeros((1, 4, 6), dtype=bool)
    damaged[0, 3, 4] = True
    stack = orient_patterns(resample(stack_of(values, damaged), context), context)
    assert stack.values[0].tolist() == [
        [0 + 1 + 6 + 7, 2 + 3 + 8 + 9, 4 + 5 + 10 + 11],
        [12 + 13 + 18 + 19, 14 + 15 + 20 + 21, 0],
    ]
    assert stack.damaged[0].tolist() == [[False, False, False], [False, False, True]]


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    binning=st.integers(1, 5), boxes=st.tuples(st.integers(1, 6), st.integers(1, 6)), seed=st.integers(0, 1000),
    start=st.tuples(st.integers(-6, 12), st.integers(-6, 12)), oriented=st.booleans(),
)  # fmt: skip
def test_resample_conserves_the_photons_of_its_window(binning, boxes, seed, start, oriented):
    image = np.random.default_rng(seed).poisson(3, (20, 24)).astype(np.float32)
    size = (boxes[0] * binning, boxes[1] * binning)
    grid = Grid((20, 24), start, boxes, binning, oriented)
    rows, columns = (slice(max(s, 0), max(s + n, 0)) for s, n in zip(start, size, strict=True))
    summed = grid.to_solver(grid.resample(image))
    assert summed.shape == grid.output_shape
    assert summed.sum() == image[rows, columns].sum()
    inside = [max(0, min(s + n, m) - max(s, 0)) for s, n, m in zip(start, size, (20, 24), strict=True)]
    assert grid.window(np.ones((20, 24), dtype=bool)).sum() == inside[0] * inside[1]


def test_grid_default_is_the_whole_image_with_the_axis_on_the_zero_frequency_pixel():
    plan = make_plan()
    geometry = output_geometry(plan)
    assert geometry.shape == (240, 240)
    assert geometry.pixel_m == pytest.approx((120e-6, 120e-6))
    assert geometry.object_pixel_m[0] == pytest.approx(6.51e-9, rel=1e-3)
    grid = make_context().recipe.grid
    assert (grid.first, grid.size) == ((0, 0), (960, 960))
    # A spot where the grid says that the optical centre is must land on [120, 120].
    y, x = (int(c) for c in grid.optical_centre)
    image = np.zeros((960, 960), dtype=np.float32)
    image[y, x] = image[y - 1, x - 1] = 1
    assert grid.to_solver(grid.resample(image))[120, 120] == 2


@pytest.mark.parametrize("centre", [(480.0, 480.0), (470.0, 491.0), (478.0, 478.0)])
@pytest.mark.parametrize("crop_px", [None, 512, 516])
def test_the_given_optical_centre_lands_on_the_zero_frequency_pixel(centre, crop_px):
    context = make_context(optical_centre=centre, crop_px=crop_px)
    image = np.zeros((960, 960), dtype=np.float32)
    image[int(centre[0]), int(centre[1])] = image[int(centre[0]) - 1, int(centre[1]) - 1] = 1
    pattern = context.recipe.grid.to_solver(context.recipe.grid.resample(image))
    n = len(pattern)
    assert pattern[n // 2, n // 2] == 2
    outside = ~context.recipe.grid.all_valid(np.ones((960, 960), dtype=bool))
    assert outside.any() == (crop_px is None and centre != (478.0, 478.0))


def test_oblong_pixels_and_frames_keep_their_axes():
    plan = make_plan("plain", shape=(64, 96))
    assert plan.detector is not None
    oblong = dataclasses.replace(plan, detector=dataclasses.replace(plan.detector, pixel_m=(1e-5, 2e-5)))
    geometry = output_geometry(oblong, PreprocessSettings(binning=2))
    assert (geometry.shape, geometry.pixel_m) == ((32, 48), pytest.approx((2e-5, 4e-5)))
    fccd = make_plan()
    assert fccd.detector is not None
    fccd = dataclasses.replace(fccd, detector=dataclasses.replace(fccd.detector, pixel_m=(1e-5, 2e-5)))
    assert output_geometry(fccd).pixel_m == pytest.approx((8e-5, 4e-5))


def test_position_matrix_acts_on_x_and_y():
    positions = np.array([[0.0, 1.0], [1.0, 0.0]])  # (y, x): +x, +y
    moved = correct_positions(positions, (0.9, -0.07, 0.03, 1.1))
    np.testing.assert_allclose(moved, [[0.03, 0.9], [1.1, -0.07]])
    assert correct_positions(positions, None) is positions
