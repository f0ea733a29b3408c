"""The simulated camera's raw frames through the whole preprocessing, against the photons it was given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_ptycho.preprocess import DarkAccumulator, DarkModel, PreprocessSettings, make_pipeline
from bluesky_ptycho.scan_plan import DetectorInfo, ScanPlan
from bluesky_ptycho.sim.fccd_noise import FccdElectronics, FccdNoise, assembled_to_wire

ENERGY_EV = 800.0
N_DARKS = 25


def expected_photons() -> NDArray[np.float64]:
    """A lopsided pattern of 1e6 photons in solver orientation: a ring, and bands that fade to nothing."""
    q_y, q_x = np.mgrid[:960, :960] - 481.5
    q = np.hypot(q_y, q_x)
    ring = np.where((q > 20) & (q < 52), 1.0 + 0.5 * q_x / 52, 0.0)
    wedge = np.where((q_y > 100) & (q_x > 100) & (q_x < 300), 5e-4 * (q_x - 100), 0.0)
    pattern = ring / ring.sum() * 8e5 + wedge / wedge.sum() * 2e5
    pattern[600:700, 50:250] = 4.0
    return pattern


@dataclass(frozen=True)
class Measurement:
    plan: ScanPlan
    frames: NDArray[np.uint16]
    photons: NDArray[np.float32]
    dark: DarkModel


def measure(layout: str, noise: FccdNoise, n: int, seed: int = 3) -> Measurement:
    electronics = FccdElectronics(noise, ENERGY_EV, seed, wire_order=layout == "fccd-wire")
    rng = np.random.default_rng(seed)
    expected = expected_photons()
    photons = rng.poisson(expected, (n, 960, 960)).astype(np.float32)
    frames = np.empty((n, 1, *electronics.shape), dtype=np.uint16)
    for counts, frame in zip(photons, frames, strict=True):
        electronics.raw(counts, rng, frame[0])
    accumulator = DarkAccumulator(layout)
    dark = np.empty((1, *electronics.shape), dtype=np.uint16)
    for _ in range(N_DARKS):
        electronics.raw(np.zeros((960, 960), dtype=np.float32), rng, dark[0])
        accumulator.add(dark)
    detector = DetectorInfo("fccd", "image", "index", electronics.shape, (30e-6, 30e-6), layout, noise.adu_per_ev)
    plan = ScanPlan(n, (0, 1e-6, 0, 1e-6), ENERGY_EV, 0.121, detector=detector, exposures_s=(0.1,))
    return Measurement(plan, frames, photons, accumulator.model(0.1))


def box_sum(photons: NDArray[np.float32]) -> NDArray[np.float32]:
    return photons.reshape(len(photons), 240, 4, 240, 4).sum(axis=(2, 4))


@pytest.fixture(scope="module")
def assembled() -> Measurement:
    return measure("fccd-assembled", FccdNoise(), n=6)


def test_photons_arrive_where_and_as_many_as_they_were(assembled):
    clean = make_pipeline(assembled.plan)(assembled.frames, (assembled.dark,))
    assert clean.dark_corrected
    assert not clean.rejected
    assert clean.mask.mean() > 0.9999
    counts, expected = box_sum(assembled.photons), box_sum(expected_photons()[None].astype(np.float32))[0] / 16
    unlit, bright = expected == 0, expected >= 3
    assert abs(clean.photons[:, unlit].mean() / 16) <= 0.02
    assert clean.photons[:, bright].sum() == pytest.approx(counts[:, bright].sum(), rel=0.01)
    # Pattern by pattern: a shift by one pixel, a flip or a swap would undo this.
    assert np.corrcoef(clean.photons[0].ravel(), counts[0].ravel())[0, 1] > 0.9999


def test_noise_is_what_the_electronics_add(assembled):
    """Before clip and threshold; a quarter of the channels has a tone of up to 0.4 ADU."""
    settings = PreprocessSettings(photon_threshold=0.0, clip_negative=False, binning=1)
    clean = make_pipeline(assembled.plan, settings)(assembled.frames[:3], (assembled.dark,))
    error = clean.photons - assembled.photons[:3]
    read = np.sqrt((0.9**2 + 1 / 12) * (1 + 1 / N_DARKS)) / 3.2
    assert np.std(error[clean.mask]) == pytest.approx(read, rel=0.1)
    assert np.mean(error[clean.mask]) == pytest.approx(0, abs=0.01)


def lost_boxes(frame: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return which solver pixels of an assembled frame hold a pixel of a lost packet."""
    halves = np.concatenate([frame[6:486], frame[554:1034]])
    lost = halves.reshape(960, 96, 12)[..., 1:11].reshape(960, 960) & 0x2000
    return (lost.T[::-1, ::-1].reshape(240, 4, 240, 4) > 0).any(axis=(1, 3))


@pytest.mark.parametrize("layout", ["fccd-assembled", "fccd-wire"])
def test_lost_packets_are_masked_one_and_all_and_nothing_else_is(layout):
    lossy = measure(layout, FccdNoise(lost_packets=3.0), n=2)
    clean = make_pipeline(lossy.plan)(lossy.frames, (lossy.dark,))
    assert not clean.rejected
    for frame, mask in zip(lossy.frames[:, 0], clean.mask, strict=True):
        assembled = frame
        if layout == "fccd-wire":
            assembled = np.empty_like(frame)
            assembled.reshape(-1)[assembled_to_wire()] = frame.reshape(-1)
        np.testing.assert_array_equal(~mask, lost_boxes(assembled))
        assert not mask.all()
    good = clean.mask & (box_sum(lossy.photons) > 48)
    assert clean.photons[good].sum() == pytest.approx(box_sum(lossy.photons)[good].sum(), rel=0.01)
