"""What the overscan tells of darks that no longer fit."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.preprocess.dark_watch import measure_drift
from bluesky_ptycho.preprocess.layouts import disassemble, find_layout

from .camera import Camera

ASSEMBLED = find_layout("fccd-assembled")
IMAGE = 500 * np.exp(-((np.mgrid[-480:480, -480:480] / 100.0) ** 2).sum(axis=0))


@pytest.fixture(scope="module")
def camera():
    return Camera(seed=8, sigma=0.9, drift=1.0)


@pytest.fixture(scope="module")
def dark(camera):
    return camera.darks(10)


def measured(camera, dark, *, shift=0.0, sigma=0.9, image=IMAGE):
    offset, before = camera.offset.copy(), camera.sigma
    camera.offset, camera.sigma = offset + shift, sigma
    try:
        return measure_drift(camera.frame(image), dark, ASSEMBLED)
    finally:
        camera.offset, camera.sigma = offset, before


def test_frames_like_the_darks_fit_with_and_without_light(camera, dark):
    for image in (None, IMAGE, 40 * IMAGE):
        drift = measured(camera, dark, image=image)
        assert drift.level < 1.5
        assert drift.noise == pytest.approx(1.0, rel=0.1)


def test_a_change_of_level_or_noise_is_measured(camera, dark):
    signs = np.repeat(np.repeat(np.random.default_rng(1).choice([-1.0, 1.0], (2, 96)), 520, axis=0), 12, axis=1)
    spread = np.median(dark.sigma[6:486, ::12])
    assert measured(camera, dark, shift=5 * spread * signs).level == pytest.approx(5.0, abs=1.5)
    noisy = measured(camera, dark, sigma=2.7)
    assert noisy.noise == pytest.approx(3.0, rel=0.1) and noisy.level < 1.5


def test_lost_packets_and_the_wire_order_change_nothing(camera, dark):
    frame = camera.frame(IMAGE)
    whole = measure_drift(frame, dark, ASSEMBLED)
    lost = frame.copy()
    lost[100:140] = 0
    lost[:, 120:180] |= 0x2000
    assert measure_drift(lost, dark, ASSEMBLED).level == pytest.approx(whole.level, abs=0.2)
    wire = dataclasses.replace(dark, mean=disassemble(dark.mean), sigma=disassemble(dark.sigma))
    assert measure_drift(disassemble(frame), wire, find_layout("fccd-wire")) == whole
    assert not np.isfinite(measure_drift(np.zeros_like(frame), dark, ASSEMBLED).level)


def test_darks_that_tell_no_noise_give_the_level_alone(camera, dark):
    drift = measure_drift(camera.frame(), dataclasses.replace(dark, power=None), ASSEMBLED)
    assert np.isnan(drift.noise) and drift.level < 1.5
