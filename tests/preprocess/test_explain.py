"""What an explanation shows is what the pipeline does."""

import dataclasses
import math

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline

from .camera import ADU_PER_PHOTON, make_plan


@pytest.fixture(scope="module")
def image():
    """100 photons in a square of 100 × 100 raw pixels, and two pixels that saturate."""
    pattern = np.zeros((960, 960))
    pattern[400:500, 300:400] = 100.0
    pattern[700, 700:702] = 4000.0
    return pattern


@pytest.mark.parametrize("preset", ["cosmic", "nanosurveyor"])
def test_the_last_step_is_what_the_pipeline_gives(preset, camera, dark, image):
    frame = camera.frame(image)
    frame[200, 300:320] |= 0x2000
    pipeline = make_pipeline(make_plan(), PreprocessSettings(preset=preset))
    told, clean = pipeline.explain(frame, (dark,)), pipeline(frame[None, None], (dark,))
    assert tuple(step.name for step in told.steps) == pipeline.steps
    last = told["orient"]
    np.testing.assert_allclose(last.values, clean.photons[0], rtol=1e-4, atol=2e-3)
    np.testing.assert_array_equal(last.valid, clean.mask[0])
    assert last.oriented
    assert not told["resample"].oriented
    assert last.photons_out == pytest.approx(clean.photons[0].sum(), rel=1e-4)
    assert [told.dark_corrected, told.rejected, told.preset] == [True, None, preset]


def test_photons_and_masks_are_told_step_by_step(camera, dark, image):
    frame = camera.frame(image)
    frame[200, 300:312] |= 0x2000  # one row of one channel, 10 of them in the image
    before = frame.copy()
    told = make_pipeline(make_plan()).explain(frame[None], (dark,))
    np.testing.assert_array_equal(frame, before)
    units = {step.name: step.unit for step in told.steps}
    assert [units[name] for name in ("descramble", "flag_pixels", "merge_exposures", "photons", "orient")] == [
        "raw", "ADU", "ADU", "photon", "photon"]  # fmt: skip
    assert math.isnan(told["descramble"].photons_out)
    assert not told["descramble"].changed
    assert told["flag_pixels"].n_damaged == told["flag_pixels"].damaged.sum() == 10, "empty rows are no damage"
    assert [told[name].n_saturated for name in ("flag_pixels", "dilate_saturation")] == [2, 12]
    # The square of light, 1e6 photons, and what noise leaves above the threshold; saturated pixels count for nothing.
    assert told["photons"].photons_out == pytest.approx(1e6, rel=0.01)
    offset = told["flag_pixels"].photons_out - told["subtract_dark"].photons_out
    assert offset == pytest.approx(camera.offset.mean() * 960 * 960 / ADU_PER_PHOTON, rel=0.01)
    for one, following in zip(told.steps[1:], told.steps[2:], strict=False):
        assert following.photons_in == one.photons_out
    assert told["subtract_dark"].values.shape == (1, 1040, 1152)
    assert told["crop"].values.shape == (1, 960, 960)
    assert told["merge_exposures"].values.shape == (960, 960)


def test_printed_it_is_a_table(camera, dark, image):
    plan = make_plan(exposures_s=(0.01, 0.1))
    frames = np.stack([camera.frame(image * share) for share in (0.1, 1)])
    darks = tuple(dataclasses.replace(dark, exposure_s=t) for t in (0.01, 0.1))
    told = make_pipeline(plan).explain(frames, darks)
    lines = repr(told).splitlines()
    assert lines[0] == "preset cosmic, exposures 0.01, 0.1 s: dark corrected, accepted"
    assert lines[1].split()[:4] == ["step", "shape", "unit", "photons"]
    assert [line.split()[0] for line in lines[2:]] == list(make_pipeline(plan).steps)
    assert "2 × 1040 × 1152" in lines[2]
    assert "nan" not in repr(told)
    # Merged, the saturated pixels are the short exposure's: they count now.
    assert told["merge_exposures"].n_saturated == 0
    assert told["merge_exposures"].photons_out == pytest.approx(1e6 + 2 * 4000, rel=0.015)


def test_plain_frames_damage_and_rejection():
    counts = np.full((16, 24), 3, dtype=np.uint16)
    counts[6:10, 10:14] = 18
    counts[2, 3] = 50
    pipeline = make_pipeline(make_plan("plain", shape=(16, 24)), PreprocessSettings(saturation=20.0))
    told = pipeline.explain(counts)
    assert {step.unit for step in told.steps} == {"photon"}
    assert all(step.oriented for step in told.steps)
    assert told["flag_pixels"].n_saturated == 1
    assert told.steps[-1].photons_out == 3 * (16 * 24 - 17) + 16 * 18
    assert told.rejected is None
    assert not told.dark_corrected
    bright = pipeline.explain(np.full((16, 24), 30, dtype=np.uint16))
    assert bright.rejected.startswith("saturated: 100.0 %")
    assert "saturated: 100.0 %" in repr(bright)
    assert "–" in repr(bright)
    with pytest.raises(KeyError, match="step 'orient' was not run; run: flag_pixels, "):
        told["orient"]
    with pytest.raises(MetadataError, match=r"shape \(1, 1, 16, 16\); the scan plan says \(n, 1, 16, 24\)"):
        pipeline.explain(counts[:, :16])
