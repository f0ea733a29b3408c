from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.metric import evaluate
from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.geometry import Canvas
from bluesky_ptycho.recon.metrics import (
    crossing_half_pitch,
    frc,
    half_bit_criterion,
    object_nrmse,
    scanned_box,
)

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

PIXEL_M = (5e-9, 5e-9)
SIZE = 160


def noise(seed: int, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))) / math.sqrt(2)


def frequencies(size: int = SIZE) -> np.ndarray:
    """Cycles per pixel of each Fourier pixel."""
    f = np.fft.fftfreq(size)
    return np.hypot(f[:, None], f[None, :])


def structured(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """An object with features of all sizes above 4 pixels, transmission near 1."""
    smooth = np.fft.ifft2(np.fft.fft2(noise(seed, size)) * np.exp(-((frequencies(size) / 0.12) ** 2)))
    return 1 + 0.3 * smooth / smooth.std()


def disturbed(image: np.ndarray, shift: tuple[float, float], ramp: tuple[float, float], factor: complex) -> np.ndarray:
    """What ptychography leaves open: a shift (Fourier), a phase ramp and a complex factor."""
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None, :]
    moved = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (fy * shift[0] + fx * shift[1])))
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return factor * moved * np.exp(1j * (ramp[0] * y + ramp[1] * x))


BOX = (slice(40, 120), slice(36, 124))


@hypothesis.settings(max_examples=15)
@hypothesis.given(
    shift=st.tuples(*[st.floats(-6, 6)] * 2),
    ramp=st.tuples(*[st.floats(-0.03, 0.03)] * 2),
    phase=st.floats(0, 6.3),
    scale=st.floats(0.2, 5),
)
def test_nrmse_ignores_what_ptychography_leaves_open(shift, ramp, phase, scale):
    known = structured()
    image = disturbed(known, shift, ramp, scale * np.exp(1j * phase))
    assert object_nrmse(image, known, BOX) < 2e-3


@pytest.mark.parametrize("level", [0.02, 0.2])
def test_nrmse_of_white_noise_is_its_relative_norm(level):
    known = structured()
    added = level * noise(3)
    relative = np.linalg.norm(added[BOX]) / np.linalg.norm(known[BOX])
    # The best factor shrinks the noisy image a little: the error is the sine, the relative norm the tangent.
    expected = relative / math.sqrt(1 + relative**2)
    assert object_nrmse(known + added, known, BOX) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("change", [np.conj, np.flipud, np.fliplr, np.transpose], ids=lambda f: f.__name__)
def test_nrmse_sees_a_wrong_orientation(change):
    known = structured()
    assert object_nrmse(change(known), known, BOX) > 0.2


@pytest.mark.parametrize(
    ("shift", "ramp", "level"),
    [((0.0, 0.0), (0.0, 0.0), 0.05), ((0.3, -1.7), (0.01, -0.02), 0.05), ((5.4, 3.0), (-0.02, 0.0), 0.2)],
)
def test_nrmse_equals_the_benchmark(shift, ramp, level):
    known = structured(size=200)
    window, positions = 40, np.array([[40, 44], [100, 120], [60, 118]])
    image = disturbed(known, shift, ramp, 0.7j) + level * noise(4, 200)
    expected = evaluate(image, known, positions, window)["err"]
    box = (slice(60, 120), slice(64, 140))
    assert object_nrmse(image, known, box) == pytest.approx(expected, abs=1e-3)


def test_nrmse_at_the_border_and_of_broken_input():
    known = structured()
    everything = (slice(0, SIZE), slice(0, SIZE))
    assert object_nrmse(2j * known, known, everything) < 1e-6
    broken = known.copy()
    broken[50, 50] = np.nan
    assert math.isnan(object_nrmse(broken, known, BOX))
    assert object_nrmse(np.zeros_like(known), known, BOX) == 1.0
    with pytest.raises(MetadataError, match="shape"):
        object_nrmse(known[:-1], known, BOX)
    with pytest.raises(MetadataError, match="4 x 4"):
        object_nrmse(known, known, (slice(4, 6), slice(0, 50)))


def test_scanned_box_spans_the_probe_centres():
    canvas = Canvas((200, 220), (1e-6, 2e-6), (1e-8, 2e-8), (64, 64))
    positions = np.array([[1e-6 + 50e-8, 2e-6 + 40 * 2e-8], [1e-6 + 150e-8, 2e-6 + 180 * 2e-8]])
    assert scanned_box(canvas, positions) == (slice(50, 150), slice(40, 180))
    assert scanned_box(canvas, positions[:1]) == (slice(50, 51), slice(40, 41))


def test_frc_is_that_of_signal_and_noise():
    """Equal white noise on white signal of power ratio s gives FRC s / (s + 1) in all rings."""
    signal, ratio = noise(0), 2.0
    a, b = (math.sqrt(ratio) * signal + noise(seed) for seed in (1, 2))
    correlation = frc(a, b, PIXEL_M)["correlation"]
    assert correlation[10:].mean() == pytest.approx(ratio / (ratio + 1), abs=0.02)


@pytest.mark.parametrize("cut", [0.1, 0.2, 0.3])
def test_frc_finds_where_the_signal_ends(cut):
    """Signal up to a frequency, noise everywhere: the resolution is half the shortest period."""
    signal = np.fft.ifft2(np.fft.fft2(noise(0)) * (frequencies() < cut))
    a, b = (signal + 0.1 * noise(seed) for seed in (1, 2))
    result = frc(a, b, PIXEL_M)
    for name in ("half_bit_m", "one_seventh_m"):
        ring = SIZE * PIXEL_M[0] / (2 * result[name])
        # The window spreads the edge of so strong a signal over two rings.
        assert 0 < ring - cut * SIZE < 2.2


def test_frc_extremes():
    image = noise(0)
    same = frc(image, 0.3j * image, PIXEL_M)
    assert same["correlation"].min() > 0.999999
    assert same["half_bit_m"] == pytest.approx(PIXEL_M[0])
    assert math.isnan(frc(image, noise(9), PIXEL_M)["half_bit_m"])
    with pytest.raises(MetadataError, match="16 pixels"):
        frc(image[:10], image[:10], PIXEL_M)


def test_frc_ignores_relative_ramp_and_phase():
    image = structured()
    a, b = (image + 0.05 * noise(seed) for seed in (1, 2))
    turned = disturbed(b, (0.0, 0.0), (0.04, -0.02), 3j)
    assert frc(a, turned, PIXEL_M)["half_bit_m"] == pytest.approx(frc(a, b, PIXEL_M)["half_bit_m"], rel=0.05)


@pytest.mark.parametrize("shift", [(0.2, -0.15), (-0.4, 0.3)])
def test_frc_ignores_a_relative_shift_below_a_pixel(shift):
    """Two probes leave open where each image lies; uncorrected the last rings would lose up to a half."""
    signal = noise(0)
    a, b = (signal + 0.7 * noise(seed) for seed in (1, 2))
    apart, together = (
        frc(a, other, PIXEL_M)["correlation"][3:-1] for other in (disturbed(b, shift, (0.0, 0.0), 1.0), b)
    )
    assert apart == pytest.approx(together, abs=0.02)


def test_frc_of_images_of_different_places_is_not_improved():
    signal = noise(0)
    moved = disturbed(signal, (1.5, 0.0), (0.0, 0.0), 1.0)
    correlation = frc(signal, moved, PIXEL_M)["correlation"]
    assert correlation[SIZE // 3 :].mean() < 0.5


def test_frc_of_oblong_images_uses_physical_frequencies():
    """The same object region sampled twice as finely along x, and wider than high."""
    signal = np.fft.ifft2(np.fft.fft2(noise(0)) * (frequencies() < 0.2))[:100]
    a, b = (signal + 0.1 * noise(seed)[:100] for seed in (1, 2))
    result = frc(a, b, PIXEL_M)
    assert result["half_bit_m"] == pytest.approx(PIXEL_M[0] / 0.4, rel=0.1)
    fine = [np.repeat(image, 2, axis=1) for image in (a, b)]
    result = frc(fine[0], fine[1], (PIXEL_M[0], PIXEL_M[1] / 2))
    assert result["frequency_per_m"][-1] == pytest.approx(0.5 / PIXEL_M[0], rel=0.02)
    assert result["half_bit_m"] == pytest.approx(PIXEL_M[0] / 0.4, rel=0.1)


def test_half_bit_criterion_at_its_ends():
    # One pixel cannot be below a correlation of 1; many need a signal-to-noise ratio of 0.2071 only.
    assert half_bit_criterion(1) == pytest.approx(1.0, abs=1e-3)
    assert half_bit_criterion(1e12) == pytest.approx(0.2071 / 1.2071, rel=1e-4)


def test_crossing_needs_more_than_one_ring():
    frequency = np.arange(60) * 1e6
    curve = np.where(frequency < 40e6, 0.9, 0.05)
    criterion = np.full(60, 0.3)
    spoiled = curve.copy()
    spoiled[[0, 1, 20]] = -0.2
    sharp = crossing_half_pitch(frequency, curve, criterion)
    assert sharp == pytest.approx(0.5 / 39.7e6, rel=0.02)
    assert crossing_half_pitch(frequency, spoiled, criterion) == pytest.approx(sharp)
