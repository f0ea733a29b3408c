"""Darks brighter than the frames: unsigned integers that are subtracted would wrap."""

import hashlib

import numpy as np
import pytest

from bluesky_ptycho.preprocess import DarkAccumulator, PreprocessSettings, make_pipeline
from tests.preprocess.camera import ADU_PER_PHOTON, Camera

from .scene import fccd_plan

BRIGHTEST = 300.0
WRAPPED = 65496 / ADU_PER_PHOTON
"""Photons that -40 ADU would be."""


@pytest.fixture(scope="module")
def scene():
    """Frames of a bright spot, and darks that are 40 ADU above them everywhere else."""
    camera = Camera(seed=5)
    image = BRIGHTEST * np.exp(-((np.mgrid[-480:480, -480:480] / 60.0) ** 2).sum(axis=0))
    frames = np.stack([camera.frame(image) for _ in range(4)])
    camera.offset += 40.0
    darks = np.stack([camera.frame() for _ in range(10)])
    assert (frames[0] < darks[0]).mean() > 0.8
    return frames[:, None], darks


@pytest.mark.fault("7", "dark above light in uint16", bound="nothing wraps; the input arrays' hashes are unchanged")
@pytest.mark.parametrize("preset", ["cosmic", "nanosurveyor"])
@pytest.mark.parametrize("fused", [True, False])
def test_nothing_wraps_and_nothing_given_is_changed(scene, figure, preset, fused):
    settings = PreprocessSettings(preset=preset, fused=fused, overscan_low=-1.0, overscan_high=0.0, photon_threshold=0)
    before = [hashlib.sha256(array.tobytes()).hexdigest() for array in scene]
    frames, darks = scene
    accumulator = DarkAccumulator("fccd-assembled")
    accumulator.add(darks)
    clean = make_pipeline(fccd_plan(4), settings, "numpy")(frames, (accumulator.model(0.1),))
    after = [hashlib.sha256(array.tobytes()).hexdigest() for array in scene]
    brightest = float(clean.photons.max()) / 16  # binned 4 x 4
    figure(f"{preset}: brightest {brightest:.4g} photons a raw pixel, a wrapped one would hold {WRAPPED:.4g}")
    assert after == before
    assert clean.photons.min() >= 0
    assert brightest < 1.2 * BRIGHTEST
