"""Resampling with any factor and kernel: photons, places, and what a kernel must not do."""

import numpy as np
import pytest

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.preprocess import PreprocessSettings, output_geometry
from bluesky_ptycho.preprocess.grid import Grid, make_grid
from bluesky_ptycho.preprocess.resampling import AxisResampling

from .camera import make_plan

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


def test_box_weights_of_a_fractional_factor_by_hand():
    axis = AxisResampling(length=5, n=2, start=0.0, factor=2.5)
    assert axis.weights.tolist() == [[1, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 1]]
    assert axis.support.tolist() == [[True, True, True, False, False], [False, False, True, True, True]]
    beyond = AxisResampling(length=4, n=3, start=-1.0, factor=2.0)
    assert beyond.weights.tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert beyond.inside.tolist() == [False, True, False]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    n=st.integers(2, 12), factor=st.floats(1.0, 5.0), start=st.floats(0.0, 3.0),
    kernel=st.sampled_from(["box", "gaussian", "fourier"]),
)  # fmt: skip
def test_the_photons_of_a_raw_pixel_are_shared_out_whole(n, factor, start, kernel):
    """Whatever kernel and factor: a pixel well inside the window keeps its photons."""
    length = int(np.ceil(start + n * factor)) + 3
    axis = AxisResampling(length, n, start, factor, kernel, 0.5)
    total = axis.weights.sum(axis=0, dtype=np.float64)
    pixel = np.arange(length)
    if kernel == "gaussian":  # it reaches 4 σ = 2 solver pixels beyond
        within = (pixel > start + 2.5 * factor) & (pixel + 1 < start + (n - 2.5) * factor)
    else:
        within = (pixel > start) & (pixel + 1 < start + n * factor)
    np.testing.assert_allclose(total[within], 1, atol=2e-6)
    assert (total < 1 + 2e-6).all()


@pytest.mark.parametrize("kernel", ["box", "gaussian", "fourier"])
def test_a_smooth_spot_stays_where_it_is(kernel):
    """Centre of mass and photons of a wide spot are those of the raw image, in edge coordinates."""
    length, n, factor, start = 300, 80, 3.5, 7.25
    x = np.arange(length) + 0.5
    spot = np.exp(-0.5 * ((x - 140.0) / 12.0) ** 2)
    axis = AxisResampling(length, n, start, factor, kernel)
    resampled = axis.weights @ spot
    centres = start + (np.arange(n) + 0.5) * factor
    assert resampled.sum() == pytest.approx(spot.sum(), rel=1e-4)
    assert (resampled @ centres) / resampled.sum() == pytest.approx(140.0, abs=1e-3)
    widened = np.sqrt((resampled @ (centres - 140.0) ** 2) / resampled.sum())
    assert widened == pytest.approx(12.0, rel=0.03)


def test_fourier_crop_keeps_what_fits_and_drops_the_rest():
    n, factor = 32, 4.0
    length = int(n * factor)
    centres = (np.arange(n) + 0.5) * factor
    axis = AxisResampling(length, n, 0.0, factor, "fourier")
    x = np.arange(length) + 0.5
    for periods in (1, 7, 15):
        wave = np.cos(2 * np.pi * periods * x / length + 0.3)
        expected = factor * np.cos(2 * np.pi * periods * centres / length + 0.3)
        np.testing.assert_allclose(axis.weights @ wave, expected, atol=1e-5)
    for periods in (17, 40, 63):
        np.testing.assert_allclose(axis.weights @ np.cos(2 * np.pi * periods * x / length), 0, atol=1e-5)


def test_bands_hold_the_weights():
    axis = AxisResampling(37, 9, 1.3, 3.7, "gaussian", 0.4)
    first_to, give, first_from, take = axis.bands()
    by_raw, by_solver = np.zeros((37, 9), np.float32), np.zeros((9, 37), np.float32)
    for i in range(37):
        by_raw[i, first_to[i] : first_to[i] + give.shape[1]] = give[i]
    for i in range(9):
        by_solver[i, first_from[i] : first_from[i] + take.shape[1]] = take[i]
    np.testing.assert_array_equal(by_raw.T, axis.weights)
    np.testing.assert_array_equal(by_solver, axis.weights)


@pytest.mark.parametrize("start", [(0.0, 0.0), (-4.0, 8.0)])
def test_weights_of_whole_boxes_equal_the_box_sum(start):
    rng = np.random.default_rng(1)
    image, valid = rng.poisson(5, (24, 28)).astype(np.float32), rng.random((24, 28)) > 0.05
    whole = Grid((24, 28), start, (5, 5), 4, oriented=True)
    assert whole.whole
    rows, columns = whole.axes()
    np.testing.assert_allclose(rows.weights @ image @ columns.weights.T, whole.resample(image), rtol=1e-5)
    hit = rows.support.astype(int) @ ~valid @ columns.support.T.astype(int)
    by_weights = (hit == 0) & rows.inside[:, None] & columns.inside
    np.testing.assert_array_equal(by_weights, whole.all_valid(valid))


def test_a_wanted_object_pixel_sets_the_binning():
    plan = make_plan()
    geometry = output_geometry(plan, PreprocessSettings(object_pixel_m=6.51e-9, pattern_px=256))
    assert geometry.shape == (256, 256)
    assert geometry.object_pixel_m == pytest.approx((6.51e-9, 6.51e-9), rel=1e-6)
    grid = make_grid(plan, PreprocessSettings(pattern_px=256))
    assert grid.binning == 3.75
    assert grid.size == (960, 960)
    assert grid.boxes == (256, 256)


def test_the_zero_frequency_lies_on_the_optical_centre_for_any_factor():
    grid = make_grid(make_plan(), PreprocessSettings(binning=3.3, pattern_px=200, optical_centre=(470.3, 491.6)))
    assert grid.optical_centre == pytest.approx((470.3, 491.6))
    y, x = np.mgrid[:960, :960] + 0.5
    spot = np.exp(-0.5 * ((y - 470.3) ** 2 + (x - 491.6) ** 2) / 15.0**2).astype(np.float32)
    pattern = grid.to_solver(grid.resample(spot))
    rows, columns = np.indices(pattern.shape)
    assert (pattern * rows).sum() / pattern.sum() == pytest.approx(100, abs=1e-3)
    assert (pattern * columns).sum() / pattern.sum() == pytest.approx(100, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"object_pixel_m": 6e-9, "binning": 4.0}, "object_pixel_m and binning"),
        ({"object_pixel_m": 1e-6}, "object_pixel_m is 1e-06"),
        ({"object_pixel_m": 1e-10}, "object_pixel_m is 1e-10"),
        ({"crop_px": 500, "binning": 3.0}, "crop_px is 500"),
        ({"crop_px": 480, "pattern_px": 120}, "crop_px is 480"),
        ({"optical_centre": (480.0, 961.0)}, "optical_centre"),
    ],
)
def test_what_does_not_suit_the_image_is_refused(changes, named):
    with pytest.raises(SettingsError, match=named):
        make_grid(make_plan(), PreprocessSettings(**changes))
