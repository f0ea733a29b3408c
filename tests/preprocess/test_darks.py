"""Dark statistics against NumPy's own, whatever the order; bad pixels and channels."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.preprocess import DarkAccumulator, DarkModel, PreprocessSettings
from bluesky_ptycho.preprocess.darks import misfit
from bluesky_ptycho.preprocess.recipe import make_recipe, prepare_darks

from .camera import Camera, make_plan

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

FRAMES = (0xC000 + np.random.default_rng(1).normal(4096, 2, (12, 5, 7))).astype(np.uint16)


def test_mean_and_sigma_are_those_of_the_adc_value():
    accumulator = DarkAccumulator("fccd-assembled")
    accumulator.add(FRAMES)
    model = accumulator.model(0.1)
    adc = FRAMES.astype(np.float64) - 0xC000
    np.testing.assert_allclose(model.mean, adc.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(model.sigma, adc.std(axis=0, ddof=1), rtol=1e-5)
    assert (model.n, model.exposure_s) == (12, 0.1)


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    order=st.permutations(range(12)), cuts=st.lists(st.integers(0, 12), max_size=4), split=st.integers(0, 12)
)
def test_order_chunks_and_merging_change_nothing(order, cuts, split):
    whole, one, other = (DarkAccumulator("fccd-assembled") for _ in range(3))
    whole.add(FRAMES)
    shuffled = FRAMES[list(order)]
    for chunk in np.split(shuffled[:split], sorted(c for c in cuts if c < split)):
        one.add(chunk)
    other.add(shuffled[split:])
    one.merge(other)
    a, b = whole.model(1.0), one.model(1.0)
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.sigma, b.sigma)
    assert a.n == b.n == one.n


def test_frames_taken_off_leave_no_trace():
    frames = FRAMES.copy()
    frames[3, 2, 2] |= 0x2000
    kept, all_of_them = DarkAccumulator("fccd-assembled"), DarkAccumulator("fccd-assembled")
    kept.add(frames[5:])
    all_of_them.add(frames)
    all_of_them.remove(frames[:5])
    a, b = kept.model(1.0), all_of_them.model(1.0)
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.sigma, b.sigma)
    assert a.n == b.n == 7


def test_lost_packets_are_left_out_pixel_by_pixel():
    frames = FRAMES.copy()
    frames[3, 2, 2] |= 0x2000
    frames[:, 4, 4] |= 0x2000
    accumulator = DarkAccumulator("fccd-assembled")
    accumulator.add(frames)
    model = accumulator.model(0.1)
    rest = np.delete(FRAMES[:, 2, 2], 3).astype(float) - 0xC000
    assert model.mean[2, 2] == pytest.approx(rest.mean())
    assert np.isnan(model.mean[4, 4])
    assert model.bad_pixels(5.0)[4, 4]


def test_a_first_frame_that_is_empty_does_not_decide_the_gain():
    accumulator = DarkAccumulator("fccd-assembled")
    accumulator.add(np.concatenate([np.zeros_like(FRAMES[:1]), FRAMES]))
    whole = DarkAccumulator("fccd-assembled")
    whole.add(FRAMES)
    assert accumulator.model(0.1).gain == 1
    np.testing.assert_array_equal(accumulator.model(0.1).mean, whole.model(0.1).mean)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("split", [False, True])
def test_the_gain_of_most_darks_counts_whichever_came_first(first, split):
    few, most = FRAMES[:2] & 0x1FFF, FRAMES[2:]
    parts = [few, most] if first == 0 else [most, few]
    gathered = DarkAccumulator("fccd-assembled")
    for part in parts:
        if split:
            other = DarkAccumulator("fccd-assembled")
            other.add(part)
            gathered.merge(other)
        else:
            gathered.add(part)
    expected = DarkAccumulator("fccd-assembled")
    expected.add(most)
    model = gathered.model(0.1)
    assert (model.gain, model.n, gathered.n) == (1, len(most), len(FRAMES))
    np.testing.assert_array_equal(model.mean, expected.model(0.1).mean)
    gathered.remove(most)
    assert gathered.model(0.1).gain == 8


def test_plain_frames_use_all_bits_and_skip_nan():
    accumulator = DarkAccumulator("plain")
    accumulator.add(np.array([[[50000.0, np.nan]], [[50002.0, 4.0]]]))
    np.testing.assert_allclose(accumulator.model(1.0).mean, [[50001.0, 4.0]])


def test_dead_and_noisy_pixels_are_bad_and_live_ones_are_not():
    rng = np.random.default_rng(2)
    frames = (0xC000 + np.rint(rng.normal(4096, 0.9, (25, 200, 200)))).astype(np.uint16)
    frames[:, 10, 20] = frames[0, 10, 20]
    frames[:, 30, 40] = (0xC000 + np.rint(rng.normal(4096, 30, 25))).astype(np.uint16)
    accumulator = DarkAccumulator("fccd-assembled")
    accumulator.add(frames)
    bad = accumulator.model(0.1).bad_pixels(5.0)
    assert list(zip(*np.nonzero(bad), strict=True)) == [(10, 20), (30, 40)]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 10])
def test_few_darks_make_no_bad_pixels_by_chance(n):
    frames = (0xC000 + np.rint(np.random.default_rng(n).normal(4096, 0.9, (n, 300, 300)))).astype(np.uint16)
    accumulator = DarkAccumulator("fccd-assembled")
    accumulator.add(frames)
    assert not accumulator.model(0.1).bad_pixels(5.0).any()


def test_a_noisy_channel_is_bad_as_a_whole_and_only_it():
    model = Camera(3).darks(n=4)
    sigma = model.sigma.copy()
    sigma[520:, 12 * 50 : 12 * 51] *= 4
    recipe = make_recipe(make_plan(), PreprocessSettings(bad_pixel_sigma=100.0))
    bad = prepare_darks([dataclasses.replace(model, sigma=sigma)], recipe).bad[0]
    expected = np.zeros((960, 960), dtype=bool)
    expected[480:, 500:510] = True
    np.testing.assert_array_equal(bad, expected)


def test_a_channel_that_never_came_hides_no_noisy_one():
    model = Camera(3).darks(n=4)
    mean, sigma = model.mean.copy(), model.sigma.copy()
    mean[:520, :12] = sigma[:520, :12] = np.nan
    sigma[520:, 12 * 50 : 12 * 51] *= 4
    recipe = make_recipe(make_plan(), PreprocessSettings(bad_pixel_sigma=100.0))
    bad = prepare_darks([dataclasses.replace(model, mean=mean, sigma=sigma)], recipe).bad[0]
    expected = np.zeros((960, 960), dtype=bool)
    expected[480:, 500:510] = expected[:480, :10] = True
    np.testing.assert_array_equal(bad, expected)


def test_tones_stay_with_their_exposure_where_other_darks_tell_none():
    model = Camera(3).darks(n=5)
    power = np.ones_like(model.power)
    power[[7, 8], 300] = 1e4
    whole = model.whole.copy()
    whole[8] = 4  # too few to tell
    plan = make_plan(exposures_s=(0.1, 0.01))
    darks = [
        dataclasses.replace(model, power=None),
        dataclasses.replace(model, power=power, whole=whole, exposure_s=0.01),
    ]
    first, second = prepare_darks(darks, make_recipe(plan, PreprocessSettings(preset="nanosurveyor"))).tones
    assert not len(first) and [len(lines) for lines in second].index(1) == 7


def test_accumulator_refuses_what_does_not_fit():
    accumulator = DarkAccumulator("plain")
    with pytest.raises(MetadataError, match="there is no frame"):
        accumulator.model(0.1)
    with pytest.raises(MetadataError, match=r"expected \(n, rows, columns\)"):
        accumulator.add(np.zeros((3, 3)))
    accumulator.add(np.zeros((1, 3, 3)))
    with pytest.raises(MetadataError, match=r"shape \(4, 3\); expected \(3, 3\)"):
        accumulator.add(np.zeros((1, 4, 3)))
    other = DarkAccumulator("plain")
    other.add(np.zeros((1, 2, 3)))
    with pytest.raises(MetadataError, match=r"shape \(2, 3\); expected \(3, 3\)"):
        accumulator.merge(other)


def test_misfit_names_what_differs():
    dark = DarkModel(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), 5, 0.1)
    assert misfit([dark], (2, 3), (0.10005,), 1) is None
    assert "no darks" in str(misfit(None, (2, 3), (0.1,), 1))
    assert "of 1 exposures; expected 2" in str(misfit([dark], (2, 3), (0.1, 1.0), 1))
    assert "exposure 0.1 s; expected (2, 3) and 0.2 s" in str(misfit([dark], (2, 3), (0.2,), 1))
    assert "shape (2, 3)" in str(misfit([dark], (3, 3), (0.1,), 1))
    other = dataclasses.replace(dark, gain=8)
    assert misfit([other], (2, 3), (0.1,), 8) is None
    assert "gain 8; expected 1" in str(misfit([other], (2, 3), (0.1,), 1))
