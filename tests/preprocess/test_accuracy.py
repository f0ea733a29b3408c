"""Photons against the truth that a hand-written camera was given."""

import numpy as np
import pytest

from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline

from .camera import Camera, make_plan, solver_view

LEVELS = np.array([0.0, 3.0, 10.0, 100.0, 1000.0])
N_FRAMES = 6


@pytest.fixture(scope="module")
def camera():
    return Camera(seed=11, sigma=0.9, drift=3.0)


@pytest.fixture(scope="module")
def measured(camera):
    """Raw frames whose true photons step up in bands along the columns, and the dark."""
    image = np.repeat(np.repeat(LEVELS, 192)[None], 960, axis=0)
    return np.stack([camera.frame(image) for _ in range(N_FRAMES)])[:, None], camera.darks(25), solver_view(image) / 16


def test_bias_without_light_and_photons_kept(measured):
    frames, dark, truth = measured
    clean = make_pipeline(make_plan())(frames, (dark,))
    assert clean.mask.mean() > 0.999
    per_pixel = {level: clean.photons[:, truth == level][clean.mask[:, truth == level]].mean() / 16 for level in LEVELS}
    assert 0 <= per_pixel[0.0] <= 0.02
    for level in LEVELS[1:]:
        assert per_pixel[level] == pytest.approx(level, rel=0.01)


def test_noise_before_threshold_is_poisson_plus_read_noise(measured):
    frames, dark, truth = measured
    settings = PreprocessSettings(photon_threshold=0.0, clip_negative=False, binning=1)
    clean = make_pipeline(make_plan(), settings)(frames[:2], (dark,))
    truth = np.kron(truth, np.ones((4, 4)))
    # ADU: read noise, rounding to whole numbers, the mean of 25 darks.
    read = np.sqrt((0.9**2 + 1 / 12) * (1 + 1 / 25)) / 3.2
    for level in LEVELS:
        values = clean.photons[:, truth == level]
        assert values.mean() == pytest.approx(level, abs=0.02 + 0.001 * level)
        assert values.std() == pytest.approx(np.hypot(read, np.sqrt(level)), rel=0.1)


def test_drift_is_removed_to_below_the_read_noise(camera, measured):
    dark = measured[1]
    settings = PreprocessSettings(photon_threshold=0.0, clip_negative=False, binning=1)
    clean = make_pipeline(make_plan(), settings)(camera.frame()[None, None], (dark,))
    # Rows of the raw image are columns of the pattern; the mean of 960 pixels leaves the drift.
    assert np.std(clean.photons[0].mean(axis=0)) * 3.2 < 0.25
