"""Frames, darks and settings that the pipeline refuses or marks."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError, NotFoundError, SettingsError
from bluesky_ptycho.preprocess import Mask, PreprocessSettings, make_pipeline

from .camera import make_plan


def test_bad_frames_are_rejected_with_a_reason(camera, dark, image):
    good = [camera.frame(image) for _ in range(6)]
    lost = good[0] | np.uint16(0x2000)
    bright = camera.frame(np.where(np.hypot(*np.mgrid[-480:480, -480:480]) < 90, 3000.0, 1.0))
    closed = camera.frame()
    raw = np.stack([*good, lost, bright, closed])[:, None]
    rejected = make_pipeline(make_plan())(raw, (dark,)).rejected
    assert sorted(rejected) == [6, 7, 8]
    assert rejected[6].startswith("corrupt: 100.0 %")
    assert rejected[7].startswith("saturated: 2.")
    assert rejected[8].startswith("dark: nothing stands out of the noise")


def test_missing_and_unfit_darks_go_on_marked_or_are_refused(frames, dark, caplog):
    pipeline = make_pipeline(make_plan())
    clean = pipeline(frames[:1], None)
    assert not clean.dark_corrected
    assert pipeline.dark_problem == "there are no darks"
    # The overscan takes the channel's offset away: the light is there, only noisier.
    corrected = pipeline(frames[:1], (dark,))
    assert pipeline.dark_problem is None
    bright = corrected.photons[0] > 1000
    assert clean.photons[0][bright].sum() == pytest.approx(corrected.photons[0][bright].sum(), rel=0.01)
    other = dataclasses.replace(dark, exposure_s=0.5)
    assert not pipeline(frames[:1], (other,)).dark_corrected
    assert "exposure 0.5 s; expected (1040, 1152) and 0.1 s" in caplog.text
    strict = make_pipeline(make_plan(), PreprocessSettings(strict_darks=True))
    with pytest.raises(MetadataError, match="strict_darks: there are no darks"):
        strict(frames[:1], None)
    with pytest.raises(MetadataError, match="strict_darks: darks have shape"):
        strict(frames[:1], (other,))
    assert strict(frames[:1], (dark,)).dark_corrected


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": ("crop", "foo")}, "preprocessing step 'foo' is not known; known: .*crop"),
        ({"steps": ()}, r"steps is \(\); expected names of steps"),
        ({"steps": ("crop", "crop")}, "each once"),
        ({"preset": ["a"]}, r"preprocess.preset is \['a'\]; expected one of cosmic, nanosurveyor"),
    ],
)
def test_settings_refuse_steps_and_presets_that_there_are_not(values, says):
    with pytest.raises((SettingsError, NotFoundError), match=says):
        PreprocessSettings(**values)


def test_wrong_frames_are_refused_in_one_clear_line(frames):
    pipeline = make_pipeline(make_plan())
    with pytest.raises(MetadataError, match=r"shape \(3, 1040, 1152\); the scan plan says \(n, 1, 1040, 1152\)"):
        pipeline(frames[:, 0])
    with pytest.raises(MetadataError, match="type int32; expected unsigned"):
        pipeline(frames.astype(np.int32))
    with pytest.raises(MetadataError, match="type uint8; expected uint16"):
        pipeline(frames.astype(np.uint8))
    with pytest.raises(MetadataError, match="detector is None"):
        make_pipeline(dataclasses.replace(make_plan(), detector=None))


@pytest.mark.parametrize("gain", [0.0, -0.004, np.nan, np.inf, None, "0.004"])
def test_a_gain_that_is_none_is_refused(gain):
    plan = make_plan()
    unusable = dataclasses.replace(plan, detector=dataclasses.replace(plan.detector, adu_per_ev=gain))
    with pytest.raises(MetadataError, match=rf"detector\.adu_per_ev is {gain!r}; expected a positive number"):
        make_pipeline(unusable)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optical_centre": (1.0,)}, "optical_centre is .*expected 2 numbers"),
        ({"position_matrix": (1.0, 0.0)}, "expected 4 numbers"),
        ({"overscan_rows": 20}, "overscan_rows is 20; expected an odd number"),
        ({"overscan_low": 60.0}, "expected less than overscan_high"),
        ({"crop_px": 510}, "crop_px is 510, binning is 4"),
        ({"crop_px": 964}, "crop_px is 964"),
        ({"optical_centre": (1000.0, 3.0)}, "expected within"),
        ({"steps": ("flag_pixels",)}, "expected each step once and among them descramble"),
        (
            {"steps": ("flag_pixels", "descramble", "crop", "merge_exposures", "resample", "orient")},
            "expected the order",
        ),
    ],
    ids=str,
)
def test_settings_are_refused_in_one_clear_line(changes, message):
    with pytest.raises(SettingsError, match=message):
        make_pipeline(make_plan(), PreprocessSettings(**changes))


def test_unknown_backend_and_step_are_refused():
    with pytest.raises(SettingsError, match="backend is 'cuda'"):
        make_pipeline(make_plan(), backend="cuda")
    with pytest.raises(NotFoundError, match="preprocessing step 'despike' is not known"):
        make_pipeline(make_plan(), PreprocessSettings(steps=("despike",)))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_a_file_that_is_no_image_is_told_by_what_was_expected(tmp_path, content):
    (tmp_path / "mask.txt").write_bytes(content)
    with pytest.raises(
        SettingsError, match=r"mask\.txt'; it cannot be read: .*expected FILE.npy, or FILE::D"
    ) as caught:
        Mask.from_file(str(tmp_path / "mask.txt"))
    assert "pickle" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_mask_of_another_shape_is_told_by_its_file(tmp_path):
    np.save(tmp_path / "small.npy", np.ones((10, 10)))
    small, right = Mask.from_file(str(tmp_path / "small.npy")), Mask(np.ones((64, 64)))
    says = r"mask .*small\.npy has shape \(10, 10\); expected \(64, 64\)$"
    for combined in (lambda: right & small, lambda: right | small, lambda: small.bad_in((64, 64))):
        with pytest.raises(SettingsError, match=says):
            combined()
