"""Light and its absence: low flux, noise floors, strong absorption, scans that start or stay dark."""

import numpy as np
import pytest

from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline
from bluesky_ptycho.preprocess.frame_checks import dim_frames, measure_light

from .camera import make_plan

SHAPE = (240, 240)
RADIUS = np.hypot(*np.mgrid[-120:120, -120:120])
DISC = (RADIUS < 24) / (RADIUS < 24).sum()


def patterns(flux, floor, n=40, seed=0):
    return np.random.default_rng(seed).poisson(DISC * flux + floor, (n, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("floor", [0.0, 0.04, 2.0])
def test_noise_is_never_light_and_dim_patterns_are(floor):
    """0.04 photons a solver pixel are what the threshold lets through of 0.9 ADU; without a threshold it is 2."""
    mask = np.ones((40, *SHAPE), dtype=bool)
    assert not measure_light(patterns(0, floor), mask).found.any()
    light = measure_light(patterns(1e4, floor), mask)
    assert light.found.all()
    np.testing.assert_allclose(light.flux, 1e4, rtol=0.2)


def test_light_that_fills_the_frame_is_as_good_as_a_spot():
    """Its flux must not vanish with the background: no frame of a broad, even pattern is dim."""
    y, x = np.mgrid[-120:120, -120:120]
    broad = np.exp(-0.5 * (y**2 + x**2) / 60**2)
    rng = np.random.default_rng(2)
    photons = rng.poisson(np.broadcast_to(2e4 * broad / broad.sum(), (40, *SHAPE))).astype(np.float32)
    light = measure_light(photons, np.ones(photons.shape, bool))
    assert light.found.all()
    assert not dim_frames(light.flux, 0.5)[0].any()


def test_lost_pixels_count_neither_for_nor_against():
    photons = patterns(1e5, 0.5)
    mask = np.ones(photons.shape, dtype=bool)
    mask[:20, :, :100] = mask[20:, 77] = False
    mask[3] = False
    photons[~mask] = 0
    light = measure_light(photons, mask)
    assert not light.found[3] and light.flux[3] == 0
    good = np.arange(40) != 3
    assert light.found[good].all()
    np.testing.assert_allclose(light.flux[good], 1e5, rtol=0.25)
    alone = measure_light(photons[30:31], mask[30:31])
    assert alone.flux[0] == light.flux[30]


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (33, 20), (5, 240)])
def test_frames_of_any_size_can_be_without_light(shape):
    assert not measure_light(np.zeros((3, *shape), np.float32), np.ones((3, *shape), bool)).found.any()


def test_dimness_depends_on_the_set_and_on_nothing_else():
    rng = np.random.default_rng(1)
    flux = np.concatenate([np.full(10, 3.0), rng.uniform(2e5, 1e6, 300), np.full(150, 2e4)])
    dim, usual = dim_frames(flux, 0.03)
    order = rng.permutation(len(flux))
    np.testing.assert_array_equal(dim_frames(flux[order], 0.03)[0], dim[order])
    assert np.flatnonzero(dim).tolist() == [*range(10), *range(310, 460)]
    assert 5e5 < usual < 1e6
    assert not dim_frames(np.zeros(0), 0.03)[0].size


def test_a_sample_that_absorbs_96_percent_loses_no_frame():
    rng = np.random.default_rng(2)
    transmission = np.exp(-rng.uniform(0, 3.2, 20_000))
    flux = rng.poisson(1e6 * transmission).astype(float)
    assert not dim_frames(flux, PreprocessSettings().min_relative_flux)[0].any()


def test_a_scan_that_starts_dark_lets_no_dark_frame_pass_and_chunks_change_nothing():
    counts = np.random.default_rng(3).poisson(2000 * DISC[60:180, 60:180] * 400, (12, 1, 120, 120)).astype(np.uint16)
    counts[:7] = 0
    counts[3, 0, 5, 5] = 1
    plan = make_plan("plain", shape=(120, 120))
    with make_pipeline(plan) as pipeline:
        whole = pipeline(counts).rejected
        single = {i: pipeline(counts[i : i + 1]).rejected.get(0) for i in range(12)}
    assert sorted(whole) == list(range(7))
    assert {i: reason for i, reason in single.items() if reason} == whole
    with make_pipeline(plan, PreprocessSettings(min_relative_flux=0.0)) as pipeline:
        assert not pipeline(counts).rejected
