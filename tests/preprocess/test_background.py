"""Overscan parabola, drift, tones and common mode, against signals that were put in by hand."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.preprocess import DarkAccumulator, PreprocessSettings, Stack, make_pipeline
from bluesky_ptycho.preprocess.background import background_of, subtract_background, tone_of
from bluesky_ptycho.preprocess.layouts import find_layout, join_channels, split_channels
from bluesky_ptycho.preprocess.overscan import parabolas, subtract_common_mode, subtract_overscan_polynomial
from bluesky_ptycho.preprocess.recipe import make_recipe, prepare_darks
from bluesky_ptycho.preprocess.spectra import channel_sequences
from bluesky_ptycho.preprocess.stack import Context
from bluesky_ptycho.preprocess.tones import find_tones, hann_line

from .camera import SHAPE, Camera, make_plan, put_image, words

ROWS = find_layout("fccd-assembled").image_rows()
N = 480 * 12


def make_context(**changes):
    recipe = make_recipe(make_plan(), PreprocessSettings(preset="nanosurveyor", **changes))
    return Context(recipe, prepare_darks(None, recipe))


def stack_of(values):
    none = np.zeros(values.shape, dtype=bool)
    return Stack(values.astype(np.float32), none, none.copy())


def put_sequence(frame, channel, sequence):
    """Add a signal to one ADC channel in readout order, pixel by pixel as the camera's description has it."""
    for t, value in enumerate(sequence):
        row, slot = divmod(t, 12)
        if channel >= 96:
            frame[6 + row, (channel - 96) * 12 + slot] += value
        else:
            frame[1040 - 1 - 6 - row, 1152 - 1 - (channel * 12 + slot)] += value


class ToneCamera(Camera):
    """Channels that pick tones up, each time with another phase."""

    tones = ((3, 700.4, 3.0), (100, 91.25, 3.0), (191, 2222.0, 1.5), (191, 333.7, 3.0))

    def frame(self, image=None, *, poisson=True):
        adu = self.offset + self.rng.normal(0, self.sigma, SHAPE)
        for channel, frequency, amplitude in self.tones:
            phase = self.rng.uniform(0, 2 * np.pi)
            put_sequence(adu, channel, amplitude * np.cos(2 * np.pi * frequency * np.arange(N) / N + phase))
        if image is not None:
            put_image(adu, (self.rng.poisson(image) if poisson else image) * 3.2)
        return words(adu)


@pytest.fixture(scope="module")
def tone_camera():
    return ToneCamera(seed=8)


@pytest.fixture(scope="module")
def tone_dark(tone_camera):
    return tone_camera.darks(12)


def index_of(channel):
    return channel - 96 if channel >= 96 else channel + 96


def test_sequences_run_in_readout_order():
    frame = np.zeros(SHAPE)
    for channel in (0, 95, 96, 150):
        put_sequence(frame, channel, np.arange(N) + channel * 1e4 + 1)
    sequences = channel_sequences(frame, find_layout("fccd-assembled"))
    for channel in (0, 95, 96, 150):
        np.testing.assert_array_equal(sequences[index_of(channel)], np.arange(N) + channel * 1e4 + 1)
    assert np.count_nonzero(sequences.any(axis=1)) == 4
    rows = np.random.default_rng(0).normal(size=(3, 960, 1152))
    np.testing.assert_array_equal(join_channels(split_channels(rows)), rows)


def test_parabola_is_found_in_spite_of_lost_samples():
    rng = np.random.default_rng(2)
    t = np.linspace(-1, 1, 60)
    truth = 5 - 3 * t + 2 * t**2
    overscan = np.repeat(truth[:, None, None], 2, axis=2) * np.array([1.0, -2.0, 1.0])[:, None]
    good = rng.random(overscan.shape) > 0.3
    overscan = np.where(good, overscan, 1e6).astype(np.float32)
    good[:, 2] = False
    good[[4, 9], 2] = True  # two rows do not make a parabola
    fitted = parabolas(overscan, good, 0)
    np.testing.assert_allclose(fitted[:, 0], truth, atol=1e-4)
    np.testing.assert_allclose(fitted[:, 1], -2 * truth, atol=1e-4)
    assert np.isnan(fitted[:, 2]).all()
    overscan[:10, 0] += 100  # junk in the first rows
    np.testing.assert_allclose(parabolas(overscan, good, 10)[:, 0], truth, atol=1e-3)


def test_the_parabola_is_each_channels_own_and_lit_pixels_do_not_matter():
    frame = np.zeros(SHAPE)
    time = np.linspace(-1, 1, 480)
    for channel, shape in ((5, 3 + time), (97, 10 * time**2)):
        put_sequence(frame, channel, np.repeat(shape, 12))
    empty = frame.copy()
    image = np.zeros((960, 960))
    image[300:700, 200:800] = 500.0
    put_image(frame, image)
    stack = subtract_overscan_polynomial(stack_of(frame[None, None]), make_context())
    np.testing.assert_allclose(stack.values[0, 0][ROWS], (frame - empty)[ROWS], atol=1e-4)
    lost = np.zeros((1, 1, *SHAPE), dtype=bool)
    lost[..., 6:486, 12] = lost[..., 6:486, 23] = True  # all overscan of channel 97
    stack = subtract_overscan_polynomial(dataclasses.replace(stack_of(frame[None, None]), damaged=lost), make_context())
    assert stack.damaged[0, 0, 6:486, 12:24].all()
    assert stack.damaged.sum() == 480 * 12


def drifting(rows):
    return 1.5 * np.cos(np.pi * rows) - 0.7 * np.cos(5 * np.pi * rows)


def test_drift_is_found_under_light_of_which_no_sample_is_background():
    drift = drifting((np.arange(480) + 0.5) / 480).astype(np.float32)
    sequences = np.zeros((2, 480, 96, 12), np.float32)
    sequences[0, :, 5] = drift[:, None]
    sequences[0, 200:280, 5, 1:11] += 64.0
    background = background_of(sequences, 2.5, 8, ())
    np.testing.assert_allclose(background[0, :, 5], np.repeat(drift[:, None], 12, axis=1), atol=1e-3)
    assert not background[1].any() and not background_of(sequences, 2.5, 0, ()).any()


def test_drift_beyond_the_threshold_is_found_in_passes():
    drift = 1.6 * drifting((np.arange(480) + 0.5) / 480).astype(np.float32)
    noise = np.random.default_rng(2).normal(0, 0.9, (2, 480, 96, 12)).astype(np.float32)
    background = background_of(noise + drift[:, None, None], 2.2, 8, ())
    assert np.sqrt(np.mean((background - drift[:, None, None]) ** 2)) < 0.3


def test_dim_light_is_no_background():
    """Half of the pixels with one photon lie below a threshold of 0.7, or have none."""
    rng = np.random.default_rng(3)
    photons = np.zeros((2, 480, 96, 12))
    photons[:, 160:320, 30:60, 1:11] = rng.poisson(1.0, (2, 160, 30, 10))
    sequences = (3.2 * photons + rng.normal(0, 0.9, photons.shape)).astype(np.float32)
    background = background_of(sequences, 0.7 * 3.2, 8, ())
    lit = background[:, 160:320, 30:60].mean() / 3.2
    assert abs(lit) < 0.01


def test_a_tone_between_two_bins_is_taken_out_whole():
    t = np.arange(N)
    signal = (0.8 * np.cos(2 * np.pi * 333.4 * t / N + 1.1)).astype(np.float32)
    np.testing.assert_allclose(tone_of(signal, 2.0, 333.4), signal, atol=2e-3)
    lit = signal.copy()
    lit[1000:1500] += 300.0  # left out, and the rest tells
    np.testing.assert_allclose(tone_of(lit, 2.0, 333.4), signal, atol=0.05)
    assert not tone_of(signal + 300, 2.0, 333.4).any()  # nothing but light: nothing is known


def test_tones_are_found_in_the_darks_with_their_frequencies(tone_dark):
    found = find_tones(tone_dark.power, tone_dark.whole, 6.0, 2)
    by_channel = {}
    for channel, frequency, _ in ToneCamera.tones:
        by_channel.setdefault(channel, []).append(frequency)
    for channel, frequencies in by_channel.items():
        np.testing.assert_allclose(sorted(found[index_of(channel)][:, 0]), sorted(frequencies), atol=0.05)
    amplitudes = {3: [3.0], 100: [3.0], 191: [3.0, 1.5]}
    for channel, expected in amplitudes.items():
        # The phases of twelve darks do not average out: their mean holds some of the tone.
        np.testing.assert_allclose(found[index_of(channel)][:, 1], expected, rtol=0.2)
    others = [f for i, f in enumerate(found) if i not in map(index_of, by_channel)]
    assert sum(len(f) for f in others) == 0
    assert sum(len(f) for f in find_tones(tone_dark.power, np.full(192, 4), 6.0, 2)) == 0  # too few darks to tell
    assert sum(len(f) for f in find_tones(tone_dark.power, tone_dark.whole, 6.0, 0)) == 0


def test_hann_line_is_the_transform_of_the_window():
    n, k = 960, 100
    window = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    for offset in (0.0, 0.3, 0.5):
        power = np.abs(np.fft.rfft(window * np.exp(2j * np.pi * (k + offset) * np.arange(n) / n).real)) ** 2
        distance = np.array([-3, -2, -1, 0, 1, 2, 3]) - offset
        near = power[k - 3 : k + 4]
        np.testing.assert_allclose(near / (n / 4) ** 2, hann_line(distance), atol=2e-3)


def test_tones_and_drift_are_removed_to_below_the_read_noise(tone_camera, tone_dark):
    y, x = np.mgrid[:960, :960] - 480
    image = 200 * np.exp(-(y**2 + x**2) / 2 / 30**2)
    settings = {"photon_threshold": 0.0, "threshold_reach": 0, "clip_negative": False, "binning": 1}
    nano = PreprocessSettings(preset="nanosurveyor", resampling="box", **settings)
    frames = np.stack([tone_camera.frame(image) for _ in range(2)])[:, None]
    clean = make_pipeline(make_plan(), nano)(frames, (tone_dark,))
    plain = make_pipeline(make_plan(), nano.replace(tone_limit=0))(frames, (tone_dark,))
    pattern = image.T[::-1, ::-1]
    dark = pattern < 1e-3

    def spread_of(photons, channel):
        """Noise in ADU of one channel's dark pixels; its columns are rows of the pattern, counted from the end."""
        columns = (channel - 96) * 10 + np.arange(10) if channel >= 96 else 959 - (channel * 10 + np.arange(10))
        half = slice(480, 960) if channel >= 96 else slice(0, 480)  # columns of the pattern, flipped too
        rows = photons[:, 959 - columns][..., half]
        return 3.2 * rows[:, dark[959 - columns][:, half]].std()

    for channel in (3, 100, 191):
        assert spread_of(plain.photons, channel) > 1.8  # 3 ADU of tone are 2.1 rms
        assert spread_of(clean.photons, channel) == pytest.approx(0.97, abs=0.06)  # read noise, and that of the dark
    assert spread_of(clean.photons, 50) == pytest.approx(0.97, abs=0.06)


def test_background_leaves_photons_alone():
    sequences = np.zeros((2, 480, 96, 12), np.float32)
    sequences[1, 100:200, 40, 1:11] = 64.0
    sequences[0, :, 7] = np.nan  # lost
    background = background_of(sequences, 2.0, 8, ())
    assert np.abs(background[1, :, 40]).max() < 1e-6
    frame = np.zeros(SHAPE, np.float32)
    frame[200:300, 500:520] = 64.0
    after = subtract_background(stack_of(frame[None, None]), make_context())
    np.testing.assert_allclose(after.values[0, 0], frame, atol=1e-5)


def test_common_mode_is_the_median_of_the_dark_samples_of_a_half():
    frame = np.zeros(SHAPE)
    frame[100] = 1.5  # all channels of the upper half, row 94 of the image
    frame[900, ::12] = -1.0  # one slot of the lower half
    pattern = frame.copy()
    pattern[100, 300:700] += 500  # light
    stack = subtract_common_mode(stack_of(pattern[None, None]), make_context())
    expected = pattern.copy()
    expected[100] -= 1.5
    expected[900, ::12] += 1.0
    np.testing.assert_allclose(stack.values[0, 0], expected, atol=1e-6)


def test_spectra_merge_and_forget_exactly(tone_camera):
    frames = np.stack([tone_camera.frame() for _ in range(5)])
    frames[4, 300, 300] |= 0x2000  # its channel does without the frame
    whole, one, other = (DarkAccumulator("fccd-assembled") for _ in range(3))
    whole.add(frames[:4])
    one.add(frames[:1])
    other.add(frames[1:])
    other.remove(frames[4:])
    one.merge(other)
    # The sums hold 4096 ADU of offset, which stands in the first bins and costs some digits there.
    np.testing.assert_allclose(one.model(0.1).power, whole.model(0.1).power, rtol=1e-3, atol=0.2)
    with_damage = DarkAccumulator("fccd-assembled")
    with_damage.add(frames)
    same = with_damage.model(0.1).power == whole.model(0.1).power
    assert np.flatnonzero(same.all(axis=1)).tolist() == [300 // 12]
