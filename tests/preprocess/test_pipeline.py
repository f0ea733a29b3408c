"""The whole chain: the fused kernel against the steps, damage, HDR, darks, refusals."""

import dataclasses
import hashlib

import numpy as np
import pytest

from bluesky_ptycho.preprocess import DarkAccumulator, PreprocessSettings, make_pipeline, output_geometry
from bluesky_ptycho.preprocess.layouts import disassemble
from bluesky_ptycho.registry import preprocessing_steps

from .camera import ADU_PER_PHOTON, Camera, make_plan, put_image, solver_view, words

RNG = np.random.default_rng(5)


def same(one, other):
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_allclose(one.photons, other.photons, rtol=1e-5, atol=1e-3)
    assert (one.weight is None) == (other.weight is None)
    if one.weight is not None:
        np.testing.assert_allclose(one.weight, other.weight, rtol=1e-4)
    assert one.rejected == other.rejected
    assert one.dark_corrected == other.dark_corrected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"photon_threshold": 0.7},
        {"photon_threshold": 0.0, "clip_negative": False},
        {"crop_px": 512, "binning": 2, "optical_centre": (470.0, 300.0)},
        {"binning": 5, "optical_centre": (500.0, 480.0), "overscan_rows": 9, "photon_threshold": 0.8},
        {"beamstop_radius_m": 1.83e-3},
        {"beamstop_radius_m": 1.83e-3, "photon_threshold": 0.8},
    ],
    ids=str,
)
def test_fast_chains_equal_the_steps(frames, dark, changes):
    fused = make_pipeline(make_plan(), PreprocessSettings(**changes))
    steps = make_pipeline(make_plan(), PreprocessSettings(fused=False, **changes))
    some = frames[1:3]
    same(fused(some, (dark,)), steps(some, (dark,)))


def test_fused_kernel_equals_the_steps_without_darks_and_with_bad_pixels(frames, dark):
    mean = dark.mean.copy()
    mean[600, 100:110] = np.nan
    mean[100, 120] = np.nan  # an overscan slot
    for darks in (None, (dataclasses.replace(dark, mean=mean),)):
        for threshold in (None, 0.8):
            fused, steps = (
                make_pipeline(make_plan(), PreprocessSettings(fused=f, photon_threshold=threshold))
                for f in (True, False)
            )
            same(fused(frames[:1], darks), steps(frames[:1], darks))


def test_fused_kernel_equals_the_steps_for_several_exposures(camera, dark, image):
    exposures = (0.1, 0.01, 0.1)
    raw = np.stack([camera.frame(image * t / 0.1) for t in exposures])[None]
    raw[0, 0, 300:303, :] |= 0x2000
    raw[0, 2, 302:305, :] |= 0x2000
    darks = tuple(dataclasses.replace(dark, exposure_s=t) for t in exposures)
    mean = dark.mean.copy()
    mean[700, 700:720] = np.nan
    darks = (dataclasses.replace(darks[0], mean=mean), *darks[1:])
    for wanted in ((0, 1), (0, 1, 2)):
        plan = make_plan(exposures_s=tuple(exposures[k] for k in wanted))
        settings = PreprocessSettings(photon_threshold=0.8)
        fused, steps = (make_pipeline(plan, settings.replace(fused=f)) for f in (True, False))
        chosen = tuple(darks[k] for k in wanted)
        clean = fused(raw[:, list(wanted)], chosen)
        same(clean, steps(raw[:, list(wanted)], chosen))
        # The short exposure does not stand in for what is lost: image rows 294 to 296 of the first, in two rows of
        # boxes, and 20 bad pixels in five. With the third, as long as the first, only row 296 is lost in both.
        assert np.count_nonzero(~clean.mask) == (2 * 240 + 5 if len(wanted) == 2 else 240)
        assert 0 < np.count_nonzero(clean.weight < 1) < 0.5 * clean.weight.size


def test_wire_frames_give_what_assembled_frames_give(frames, dark):
    wire_dark = dataclasses.replace(dark, mean=disassemble(dark.mean), sigma=disassemble(dark.sigma))
    assembled = make_pipeline(make_plan())(frames, (dark,))
    for fused in (True, False):
        wire = make_pipeline(make_plan("fccd-wire"), PreprocessSettings(fused=fused))
        same(wire(disassemble(frames[:2]), (wire_dark,)), dataclasses.replace(
            assembled, photons=assembled.photons[:2], mask=assembled.mask[:2]))  # fmt: skip


def test_a_noiseless_frame_comes_out_exactly_where_it_belongs():
    """Different photons in every box: any swap, flip, shift or sign shows."""
    image = np.zeros((960, 960))
    image[::4, ::4] = RNG.integers(5, 60, (240, 240)) * 5  # multiples of 16 ADU
    adu = np.full((1040, 1152), 4000.0)
    put_image(adu, image * ADU_PER_PHOTON)
    camera = Camera(sigma=0.0)
    camera.offset = np.full((1040, 1152), 4000.0)
    clean = make_pipeline(make_plan())(words(adu)[None, None], (camera.darks(2),))
    np.testing.assert_allclose(clean.photons[0], solver_view(image), rtol=1e-5)
    assert clean.mask.all()
    assert clean.dark_corrected


@pytest.mark.parametrize("preset", ["cosmic", "nanosurveyor"])
@pytest.mark.parametrize("wire", [False, True])
def test_the_full_readout_comes_out_where_it_belongs(preset, wire):
    """970 rows a half: 6 junk rows at the outer edge, 960 of the image, 4 at the seam."""
    adu, boxes = np.full((1940, 1152), 4000.0), RNG.integers(5, 60, (480, 240)) * 5
    wide = np.zeros((1920, 960))
    wide[::4, ::4] = boxes * ADU_PER_PHOTON
    for group in range(96):
        columns = slice(12 * group + 1, 12 * group + 11)
        adu[6:966, columns] += wide[:960, 10 * group : 10 * group + 10]
        adu[974:1934, columns] += wide[960:, 10 * group : 10 * group + 10]
    adu[:6] = adu[966:974] = adu[1934:] = 7000.0
    empty = np.full_like(adu, 4000.0)
    empty[:6] = empty[966:974] = empty[1934:] = 7000.0
    layout = "fccd-full-wire" if wire else "fccd-full"
    raw, dark = (disassemble(words(a)) if wire else words(a) for a in (adu, empty))
    darks = DarkAccumulator(layout)
    darks.add(np.stack([dark, dark]))
    settings = PreprocessSettings(preset=preset, resampling="box")
    clean = make_pipeline(make_plan(layout, shape=(1940, 1152)), settings)(raw[None, None], (darks.model(0.1),))
    np.testing.assert_allclose(clean.photons[0], boxes.T[::-1, ::-1], rtol=1e-4)
    assert clean.mask.all()


def test_big_endian_words_are_read_as_numbers(frames, dark):
    pipeline = make_pipeline(make_plan())
    same(pipeline(frames[:1].astype(">u2"), (dark,)), pipeline(frames[:1], (dark,)))


def test_chunks_and_order_change_nothing(frames, dark):
    whole = make_pipeline(make_plan())(frames, (dark,))
    pipeline = make_pipeline(make_plan(), PreprocessSettings(threads=1))
    order = [2, 0, 1]
    for i in order:
        one = pipeline(frames[i : i + 1], (dark,))
        np.testing.assert_array_equal(one.photons[0], whole.photons[i])
        np.testing.assert_array_equal(one.mask[0], whole.mask[i])
    shuffled = pipeline(frames[order], (dark,))
    np.testing.assert_array_equal(shuffled.photons, whole.photons[order])


@pytest.mark.parametrize("fused", [True, False])
def test_darks_above_light_do_not_wrap_and_inputs_stay(frames, dark, fused):
    brighter = dataclasses.replace(dark, mean=dark.mean + np.float32(20))
    before = [hashlib.sha256(a.tobytes()).hexdigest() for a in (frames, brighter.mean, brighter.sigma)]
    settings = PreprocessSettings(fused=fused, overscan_low=-1.0, overscan_high=0.0, min_relative_flux=0.0)
    clean = make_pipeline(make_plan(), settings)(frames[:1], (brighter,))
    assert [hashlib.sha256(a.tobytes()).hexdigest() for a in (frames, brighter.mean, brighter.sigma)] == before
    far_from_light = clean.photons[0][solver_view(np.ones((960, 960))) > 0][:100]
    assert clean.photons.min() == 0
    assert clean.photons.max() < 16 * 1300  # a wrapped pixel would hold 65516 ADU
    assert far_from_light.max() == 0


def test_masks_hold_all_damage_and_nothing_else(camera, dark):
    rng = np.random.default_rng(9)
    image = rng.uniform(0, 20, (960, 960))
    hot = rng.integers(0, 960, (2, 30))
    image[hot[0], hot[1]] = 3000.0
    adu = camera.offset.copy()
    put_image(adu, image * ADU_PER_PHOTON)
    raw = words(adu)
    lost = np.zeros((960, 960))
    lost[700, 40:900] = lost[10, 100:140] = 1
    bits = np.zeros((1040, 1152))
    put_image(bits, lost)
    raw[bits > 0] |= 0x2000
    expected = lost > 0
    for y, x in zip(*hot, strict=True):
        if not lost[y, x]:
            expected[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    clean = make_pipeline(make_plan())(raw[None, None], (dark,))
    np.testing.assert_array_equal(~clean.mask[0], solver_view(expected.astype(float)) > 0)
    assert (clean.photons[0][~clean.mask[0]] == 0).all()


def test_hdr_is_linear_over_four_decades(camera, dark):
    """Long exposure for the dim pixels, short one for those that saturate it."""
    levels = 10 ** np.linspace(0, 4, 9)  # photons per raw pixel in the long exposure
    image = np.ones((960, 960))
    for i, level in enumerate(levels):
        image[100:164, 100 * i : 100 * i + 64] = level
    exposures = (0.01, 0.1)
    darks = tuple(dataclasses.replace(dark, exposure_s=t) for t in exposures)
    pipeline = make_pipeline(
        make_plan(exposures_s=exposures), PreprocessSettings(photon_threshold=0.0, clip_negative=False)
    )
    raw = np.stack([[camera.frame(image * t / 0.1) for t in exposures] for _ in range(4)])
    clean = pipeline(raw, darks)
    photons = np.where(clean.mask, clean.photons, np.nan)
    for i, level in enumerate(levels):
        box = np.zeros((960, 960))
        box[104:160, 100 * i + 4 : 100 * i + 60] = 1
        inside = solver_view(box) == 16
        # 4 × 3136 raw pixels: the counting error at one photon is 0.9 %
        assert np.nanmean(photons[:, inside]) / 16 == pytest.approx(level, rel=0.01 + 2 / np.sqrt(12544 * level / 10))
    assert np.isfinite(photons).mean() > 0.999


def test_plain_patterns_pass_with_their_counts():
    counts = RNG.poisson(3, (5, 1, 32, 48)).astype(np.uint16)
    pipeline = make_pipeline(make_plan("plain", shape=(32, 48)))
    clean = pipeline(counts)
    np.testing.assert_array_equal(clean.photons, counts[:, 0])
    assert clean.mask.all()
    assert not pipeline.needs_darks
    assert pipeline.geometry == output_geometry(make_plan("plain", shape=(32, 48)))
    binned = make_pipeline(make_plan("plain", shape=(32, 48)), PreprocessSettings(binning=2, saturation=12.0))(counts)
    assert binned.photons.shape == (5, 16, 24)
    np.testing.assert_array_equal(binned.mask, (counts[:, 0] < 12).reshape(5, 16, 2, 24, 2).all(axis=(2, 4)))


def test_a_registered_step_takes_part_by_name(monkeypatch):
    entries = dict(preprocessing_steps._entries)
    monkeypatch.setattr(preprocessing_steps, "_entries", entries)

    @preprocessing_steps.register("double")
    def double(stack, context):
        return dataclasses.replace(stack, values=stack.values * 2)

    names = ("flag_pixels", "merge_exposures", "double", "resample")
    pipeline = make_pipeline(make_plan("plain", shape=(8, 8)), PreprocessSettings(steps=names))
    assert pipeline.steps == names
    assert (pipeline(np.ones((1, 1, 8, 8), np.uint16)).photons == 2).all()


def test_warm_up_leaves_nothing_to_compile(frames, dark):
    from bluesky_ptycho.preprocess import kernels

    pipeline = make_pipeline(make_plan(), PreprocessSettings(beamstop_radius_m=1e-3))
    pipeline.warm_up()
    before = len(kernels.clean_frame.signatures)
    pipeline(frames[:1], (dark,))
    assert len(kernels.clean_frame.signatures) == before


def test_kernels_compile_where_numba_finds_no_place_for_its_cache(monkeypatch):
    """An installation that cannot be written to costs the compilation of each session, nothing more."""
    import numba

    from bluesky_ptycho import compiled
    from bluesky_ptycho.preprocess import kernels

    real = numba.njit

    def nowhere_to_write(**options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(compiled.numba, "njit", nowhere_to_write)
    merge = kernels._jit(kernels.merge_pixel.py_func)
    values, states = np.array([[5.0], [3.0]], dtype=np.float32), np.zeros((2, 1), dtype=np.uint8)
    groups, factors = np.array([[1, -1], [0, -1], [-1, -1]]), np.array([1.0, 10.0], dtype=np.float32)
    assert merge(values, states, 0, groups, factors) == (3.0, 0, 1.0)
