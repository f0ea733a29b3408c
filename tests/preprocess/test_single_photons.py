"""Counting single photons in noise, against drawn photons."""

import numpy as np
import pytest

from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline
from bluesky_ptycho.preprocess.recipe import make_recipe, prepare_darks
from bluesky_ptycho.preprocess.single_photons import FIRST_THRESHOLD, HIGHEST, LOWEST, SINGLE, SinglePhotons

from .camera import Camera, make_plan, solver_view

NOISE = 0.31


def measured(light, seed=0, noise=NOISE, shape=(3, 400, 400)):
    rng = np.random.default_rng(seed)
    photons = rng.poisson(light, shape)
    return photons, (photons + rng.normal(0, noise, shape)).astype(np.float32)


def boxes(values):
    return values.reshape(-1, 100, 4, 100, 4).sum(axis=(2, 4))


@pytest.mark.parametrize("light", [0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0])
def test_photons_are_kept_and_noise_adds_few(light):
    photons, values = measured(light)
    counted = SinglePhotons(NOISE).count(values, np.ones(values.shape, bool))
    extra = counted.mean() - photons.mean()
    assert -0.01 * light - 0.001 < extra < (0.01 if light < 0.1 else 0.03)
    if light >= 3:
        assert counted.mean() == pytest.approx(photons.mean(), rel=0.01)


def test_empty_regions_stay_emptier_than_under_the_threshold_that_suits_the_dim_ones():
    """One threshold that keeps the mean of dim pixels lets three times as much noise through elsewhere."""
    photons, values = measured(0.1)
    thresholds = np.linspace(0.6, 0.9, 31)
    fixed = thresholds[np.argmin([abs(np.where(values >= t, values, 0).mean() - photons.mean()) for t in thresholds])]
    _, empty = measured(0.0, seed=1)
    own = SinglePhotons(NOISE).count(empty, np.ones(empty.shape, bool)).mean()
    assert own < np.where(empty >= fixed, empty, 0).mean() / 3


def test_thresholds_follow_the_light_within_their_limits():
    photons = SinglePhotons(NOISE)
    thresholds = photons.thresholds(np.array([0.0, 1e-3, 0.03, 0.2, 1.0, 100.0]))
    assert thresholds[0] == pytest.approx(HIGHEST)
    assert thresholds[2] == pytest.approx(0.5 + NOISE**2 * np.log(1 / 0.03))
    assert thresholds[-1] == pytest.approx(LOWEST)
    assert (np.diff(thresholds) <= 0).all()
    assert photons.worth(np.array([1.0])) == pytest.approx(2.0, rel=1e-4)  # half of the single photons lie below
    bright = np.full((1, 8, 8), 7.25, np.float32)
    np.testing.assert_array_equal(photons.count(bright, np.ones(bright.shape, bool)), bright)
    assert float(SINGLE) < 7.25


def light_of(photons, values):
    """Expected photons per raw pixel at each cell."""
    counted = np.where(values < SINGLE, photons.first_worth, values) * (values >= FIRST_THRESHOLD)
    return photons.light(boxes(counted), np.full((len(values), 100, 100), 16, np.float32))


def test_the_light_of_dim_pixels_is_known_from_far_around():
    """The pixels next to each other alone would be off by 1 in 1.4 photons, and by the noise among them."""
    _, values = measured(0.01)
    light = light_of(SinglePhotons(NOISE), values)
    assert light.mean() == pytest.approx(0.01, rel=0.1)
    assert light.std() < 0.5 * np.sqrt(0.01 / 144)


def test_light_near_by_outweighs_what_is_far_around():
    photons, (_, values) = SinglePhotons(NOISE), measured(0.0)
    values[:, 200:, :] += 20.0
    light = light_of(photons, values)
    assert light[:, 52:].min() > 15
    assert light[:, 40:48].mean() < 0.05  # dark, with an edge of bright light within reach
    values[:] = measured(0.0)[1]
    values[:, 196:208, 196:208] += 1.0  # a faint spot in the dark
    assert light_of(photons, values)[:, 50, 50].min() > 0.2


def test_what_is_not_valid_tells_nothing_of_the_light():
    values = np.zeros((1, 24, 24), np.float32)
    values[0, 12, 12] = 0.95
    values[0, 8:12, 8:12] = 50.0  # a spot that is saturated
    valid = np.ones(values.shape, bool)
    photons = SinglePhotons(NOISE)
    near_light = photons.count(values, valid)[0, 12, 12]
    valid[0, 8:12, 8:12] = False
    alone = photons.count(values, valid)[0, 12, 12]
    # Beside light it is a photon; alone it is more likely noise, or stands for many that are lost.
    assert near_light == pytest.approx(1.1, abs=0.1)
    assert alone == 0 or alone > 1.5


def test_read_noise_comes_from_the_darks_without_drift_and_pattern():
    camera = Camera(seed=6, sigma=1.4, drift=5.0)
    dark = camera.darks(10)
    rounded = np.sqrt(1.4**2 + 1 / 12)
    assert np.median(dark.read_noise) == pytest.approx(rounded, rel=0.02)
    assert np.nanmedian(dark.sigma) > 2 * rounded
    recipe = make_recipe(make_plan(), PreprocessSettings())
    prepared = prepare_darks((dark,), recipe)
    assert prepared.photons.noise == pytest.approx(rounded / 3.2 * np.sqrt(1.1 * 1.05), rel=0.02)
    assert prepare_darks(None, recipe).photons.noise == pytest.approx(0.9 / 3.2 * np.sqrt(1.05))
    assert np.isnan(camera.darks(1).read_noise).all()


@pytest.fixture(scope="module")
def steady():
    """A camera without drift, and its darks."""
    camera = Camera(seed=12)
    return camera, camera.darks(25)


def test_a_dim_image_comes_out_with_its_photons(steady):
    camera, dark = steady
    image = np.full((960, 960), 0.05)
    image[:, 480:] = 0.4
    frames = np.stack([camera.frame(image) for _ in range(3)])[:, None]
    view = solver_view(image) / 16
    own = make_pipeline(make_plan())(frames, (dark,)).photons / 16
    for level in (0.05, 0.4):
        assert own[:, view == level].mean() == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("fused", [True, False])
def test_repeats_of_a_dim_image_keep_its_photons(steady, fused):
    """In the mean of three repeats a photon is a third: it is the sum that single ones are counted in."""
    camera, dark = steady
    image = np.full((960, 960), 0.02)
    image[:, 480:] = 0.3
    frames = np.stack([camera.frame(image) for _ in range(3)])[None]
    view = solver_view(image) / 16
    settings = PreprocessSettings(fused=fused)
    own = make_pipeline(make_plan(exposures_s=(0.1, 0.1, 0.1)), settings)(frames, (dark,) * 3).photons / 16
    for level in (0.02, 0.3):
        assert level - 0.01 < own[:, view == level].mean() < level + 0.045
