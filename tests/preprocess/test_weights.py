"""Weights of merged exposures: what counting statistics say of pixels that a shorter exposure had to give."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline
from bluesky_ptycho.preprocess.stack import Stack, weight_of
from bluesky_ptycho.preprocess.steps import resample
from bluesky_ptycho.registry import preprocessing_steps

from .camera import make_plan
from .test_steps import make_context

EXPOSURES = (1.0, 0.1)
FULL = 60.0


def test_a_solver_pixel_weighs_its_raw_pixels_noise_by_their_photons():
    context = make_context("plain", EXPOSURES, (2, 4), binning=2)
    values = np.array([[[20, 90, 3, 4], [0, 0, 1, 2]]], dtype=np.float32)
    noise = np.array([[[1, 10, 1, 1], [10, 1, 1, 1]]], dtype=np.float32)
    lost = np.zeros(values.shape, dtype=bool)
    made = resample(Stack(values, lost, lost, noise=noise), context)
    np.testing.assert_allclose(made.weight[0, 0], [110 / (20 + 90 * 10 + 10 * 9), 1])
    assert made.noise is None
    lost = lost.copy()
    lost[0, 0, 1] = True
    assert resample(Stack(values, lost, lost, noise=noise), context).weight[0, 0].tolist() == [1, 1]


def test_no_pixel_weighs_less_than_the_worst_exposure_can_make_it():
    photons, excess = np.array([0, 5, 0, -1, 5], np.float32), np.array([10, 45, 0, 3, -1], np.float32)
    weight = weight_of(photons, excess, np.ones(5, bool), 20.0)
    np.testing.assert_allclose(weight, [1 / 20, 0.1, 1, 1 / 20, 1])


@pytest.mark.parametrize("repeats", [1, 3])
def test_weights_are_the_variance_of_amplitudes(repeats):
    """Without light lost, the variance of an amplitude is a quarter over weight and repeats (in the limit of many)."""
    rng = np.random.default_rng(0)
    times = (1.0,) * repeats + (0.1,)
    true = np.array([[20.0, 30.0, 200.0, 300.0], [25.0, 30.0, 350.0, 200.0]])  # dark box | bright box
    true = np.concatenate([true, [[350.0, 2.0, 10.0, 10.0], [2.0, 2.0, 10.0, 5.0]]])  # one bright pixel | dark box
    raw = np.stack([np.minimum(rng.poisson(true * t, (6000, 4, 4)), FULL) for t in times], axis=1).astype(np.float32)
    settings = PreprocessSettings(saturation=FULL, binning=2)
    with make_pipeline(make_plan("plain", times, (4, 4)), settings) as pipeline:
        clean = pipeline(raw)
    assert clean.mask.mean() > 0.98
    photons = np.where(clean.mask, clean.photons, np.nan)
    variance = 4 * repeats * np.nanvar(np.sqrt(photons), axis=0)
    weight = np.nanmean(np.where(clean.mask, clean.weight, np.nan), axis=0)
    np.testing.assert_allclose(variance * weight, 1, rtol=0.12)
    assert sorted((weight < 0.5).ravel().tolist()) == [False, False, True, True]
    assert weight.min() == pytest.approx(0.1 / repeats, rel=0.05)


def test_a_short_exposure_without_a_photon_says_little_too():
    """What the long one left saturated holds light, however few photons of it the short one has."""
    rng, ratio = np.random.default_rng(0), 100
    true = np.full((500, 8, 8), 80.0)
    long, short = np.minimum(rng.poisson(true), FULL), rng.poisson(true / ratio)
    raw = np.stack([long, short], axis=1).astype(np.float32)
    plan = make_plan("plain", (1.0, 1 / ratio), (8, 8))
    with make_pipeline(plan, PreprocessSettings(saturation=FULL)) as pipeline:
        clean = pipeline(raw)
    filled = clean.mask & (np.rint(clean.photons) % ratio == 0)
    assert (clean.photons[filled] == 0).mean() > 0.3
    np.testing.assert_allclose(clean.weight[filled], 1 / ratio, rtol=1e-4)


@pytest.mark.parametrize("times", [(0.1, 0.001), (0.1, 0.1, 0.001)], ids=str)
def test_all_chains_say_so_of_dim_neighbours(camera, dark, times):
    """Around saturated pixels the short exposure serves, which has hardly a photon there."""
    image = np.full((960, 960), 3.0)
    image[200:216:5, 300:400:7] = 4000.0
    raw = np.stack([camera.frame(image * t / 0.1) for t in times])[None]
    darks = tuple(dataclasses.replace(dark, exposure_s=t) for t in times)
    for changes in ({}, {"photon_threshold": 0.7}, {"preset": "nanosurveyor"}, {"beamstop_radius_m": 1e-2}):
        settings = PreprocessSettings(**changes)
        clean, steps = (
            make_pipeline(make_plan(exposures_s=times), settings.replace(fused=f))(raw, darks) for f in (True, False)
        )
        np.testing.assert_allclose(clean.weight, steps.weight, rtol=2e-3)
        assert clean.weight.min() < 0.05


def test_a_step_that_knows_nothing_of_noise_leaves_all_pixels_alike(monkeypatch):
    monkeypatch.setattr(preprocessing_steps, "_entries", dict(preprocessing_steps._entries))

    @preprocessing_steps.register("anew")
    def anew(stack, context):
        return Stack(stack.values, stack.damaged, stack.saturated, stack.n_damaged, stack.n_saturated)

    names = ("flag_pixels", "merge_exposures", "anew", "resample")
    settings = PreprocessSettings(steps=names, saturation=FULL)
    raw = np.stack([np.full((2, 64, 64), FULL), np.full((2, 64, 64), 20.0)], axis=1).astype(np.float32)
    with make_pipeline(make_plan("plain", EXPOSURES, (64, 64)), settings) as pipeline:
        assert (pipeline(raw).weight == 1).all()


def test_exposures_of_one_time_weigh_nothing():
    frames = np.ones((2, 2, 4, 4), np.float32)
    for times, weighed in (((0.1, 0.1), False), ((0.1, 0.01), True)):
        with make_pipeline(make_plan("plain", times, (4, 4)), PreprocessSettings(saturation=FULL)) as pipeline:
            clean = pipeline(frames)
        assert (clean.weight is not None) == weighed
    assert (clean.weight == 1).all()


def test_weights_turn_with_the_pattern(camera, dark):
    """One pixel of light saturates the long exposure: photons and weight lie at the same place."""
    image = np.zeros((960, 960))
    image[200:204, 300:304] = 3000.0
    raw = np.stack([camera.frame(image * t / 0.1) for t in (0.1, 0.01)])[None]
    darks = tuple(dataclasses.replace(dark, exposure_s=t) for t in (0.1, 0.01))
    for changes in ({}, {"photon_threshold": 0.7}, {"fused": False}, {"preset": "nanosurveyor"}, {"pattern_px": 256}):
        with make_pipeline(make_plan(exposures_s=(0.1, 0.01)), PreprocessSettings(**changes)) as pipeline:
            clean = pipeline(raw, darks)
        where = np.unravel_index(np.argmax(clean.photons[0]), clean.photons.shape[1:])
        assert [clean.weight[0][where], clean.weight.min()] == pytest.approx([0.1, 0.1], rel=0.02)
        assert np.count_nonzero(clean.weight < 0.9) <= 25  # the Gaussian kernel reaches that far
