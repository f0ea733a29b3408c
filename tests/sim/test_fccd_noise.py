"""Raw frames of the FCCD against its published properties."""

import numpy as np
import pytest

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.sim.fccd_noise import (
    IMAGE_SHAPE,
    RAW_SHAPE,
    FccdElectronics,
    FccdNoise,
    assembled_to_wire,
    image_to_camera,
    wire_word,
)

QUIET = FccdNoise(offset_spread=0.0, sigma=0.0, drift=0.0, tone=0.0, junk=0.0)
GAIN = 3.2  # ADU per photon: 0.004 ADU/eV at 800 eV
DATA_ROWS = np.r_[6:486, 554:1034]
DATA_COLUMNS = np.flatnonzero(~np.isin(np.arange(1152) % 12, (0, 11)))


def expose(noise: FccdNoise, photons: np.ndarray, seed: int = 0, **kwargs: bool) -> np.ndarray:
    out = np.empty(RAW_SHAPE, dtype=np.uint16)
    FccdElectronics(noise, 800.0, 5, **kwargs).raw(photons.astype(np.float32), np.random.default_rng(seed), out)
    return out


def adu(raw: np.ndarray) -> np.ndarray:
    return (raw & 0x1FFF).astype(np.float64)


def test_every_photon_lies_where_the_sensor_has_its_pixel() -> None:
    """The raw image, assembled and cropped, then transposed and flipped along both axes, is the pattern."""
    photons = np.random.default_rng(1).integers(0, 1000, IMAGE_SHAPE).astype(float)
    raw = adu(expose(QUIET, photons)) - 4096
    image = raw[np.ix_(DATA_ROWS, DATA_COLUMNS)]
    np.testing.assert_array_equal(image.T[::-1, ::-1], np.floor(GAIN * photons + 0.5))
    raw[np.ix_(DATA_ROWS, DATA_COLUMNS)] = 0
    live = np.r_[0:487, 553:1040]
    assert not raw[live].any()  # overscan, junk and seam rows see no light


def test_orientation_and_its_inverse() -> None:
    pattern = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(image_to_camera(pattern).T[::-1, ::-1], pattern)


def test_rows_beyond_the_sensor_are_empty() -> None:
    raw = expose(FccdNoise(), np.zeros(IMAGE_SHAPE))
    assert not raw[487:553].any()
    assert (raw[:487] >> 14 == 3).all() and (raw[553:] >> 14 == 3).all()


def test_dark_frames_have_the_offsets_and_the_noise_that_were_asked_for() -> None:
    camera = FccdElectronics(FccdNoise(), 800.0, 5)
    rng = np.random.default_rng(2)
    frames = np.empty((12, *RAW_SHAPE), dtype=np.uint16)
    for frame in frames:
        camera.raw(np.zeros(IMAGE_SHAPE, dtype=np.float32), rng, frame)
    top = adu(frames[:, 6:486]).reshape(12, 480, 96, 12)  # frame, row, channel, slot
    assert camera.offsets.std() == pytest.approx(40, rel=0.2)
    assert camera.offsets.mean() == pytest.approx(4096, abs=15)
    assert np.abs(top.mean(axis=(0, 1, 3)) - camera.offsets[96:]).max() < 6  # the drift of 12 frames
    # Noise within a channel and row: differences between slots are free of offset and drift
    within = top - top.mean(axis=3, keepdims=True)
    still = camera._amplitudes[96:] == 0
    expected = np.sqrt(0.9**2 + 1 / 12)  # readout noise and rounding
    assert within[:, :, still].std() * np.sqrt(12 / 11) == pytest.approx(expected, rel=0.01)


def test_drift_is_slow_and_the_same_in_overscan_and_data() -> None:
    noise = FccdNoise(sigma=0.3, tone=0.0)
    tiles = adu(expose(noise, np.zeros(IMAGE_SHAPE), seed=3))[6:486].reshape(480, 96, 12)
    data, overscan = tiles[..., 1:11].mean(axis=(1, 2)), tiles[..., [0, 11]].mean(axis=(1, 2))
    assert data.std() > 1
    assert np.corrcoef(data, overscan)[0, 1] > 0.99
    assert np.abs(np.diff(data)).max() < 0.2 * np.ptp(data)


def test_tones_are_lines_in_the_spectrum_of_a_channels_readout_sequence() -> None:
    noise = FccdNoise(sigma=0.05, drift=0.0, tone=2.0)
    camera = FccdElectronics(noise, 800.0, 5)
    out = np.empty(RAW_SHAPE, dtype=np.uint16)
    camera.raw(np.zeros(IMAGE_SHAPE, dtype=np.float32), np.random.default_rng(0), out)
    channel = 96 + int(np.argmax(camera._amplitudes[96:]))
    sequence = adu(out[6:486, (channel - 96) * 12 :][:, :12]).ravel()  # row by row, slot by slot
    power = np.abs(np.fft.rfft(sequence - sequence.mean())) ** 2
    peak = int(np.argmax(power))
    assert 2 * np.pi * peak / sequence.size == pytest.approx(camera._steps[channel], abs=2e-3)
    assert power[peak] > 50 * np.median(power)
    amplitude = camera._amplitudes[channel]
    assert sequence.std() == pytest.approx(amplitude / np.sqrt(2), rel=0.2)


def test_the_frame_saturates_at_0xdfff() -> None:
    raw = expose(FccdNoise(), np.full(IMAGE_SHAPE, 5000.0))
    assert raw.max() == 0xDFFF
    assert (raw[np.ix_(DATA_ROWS, DATA_COLUMNS)] == 0xDFFF).all()
    assert (raw[:487, ::12] < 0xDFFF).all()


def test_shared_charge_is_not_lost() -> None:
    photons = np.zeros(IMAGE_SHAPE)
    photons[300, 420] = 1000
    raw = adu(expose(QUIET.replace(charge_sharing=0.05), photons)) - 4096
    image = raw[np.ix_(DATA_ROWS, DATA_COLUMNS)].T[::-1, ::-1]
    assert image[300, 420] == 0.8 * 3200
    assert image[299, 420] == image[301, 420] == image[300, 419] == image[300, 421] == 0.05 * 3200
    assert image.sum() == 3200


def test_lost_packets_are_runs_of_2048_words_on_the_wire_with_bit_13_set() -> None:
    lost = expose(FccdNoise(lost_packets=3.0), np.zeros(IMAGE_SHAPE), seed=4)
    words = (lost.ravel()[assembled_to_wire()] & 0x2000) > 0
    packets = words.reshape(-1, 2048)
    assert packets.any()
    assert (packets.all(axis=1) == packets.any(axis=1)).all()


def test_wire_order_is_row_slot_channel() -> None:
    """Channel k is word 16 ((191 - k) mod 12) + 15 - 4 [k / 48] - ([(191 - k) / 12] mod 4)."""
    assert sorted(wire_word(np.arange(192))) == list(range(192))
    assert wire_word(np.array([191, 0, 100])).tolist() == [
        15 - 4 * 3 - 0,
        16 * (191 % 12) + 15 - 0 - (191 // 12) % 4,
        16 * (91 % 12) + 15 - 4 * 2 - (91 // 12) % 4,
    ]
    photons = np.random.default_rng(1).integers(0, 900, IMAGE_SHAPE)
    assembled, wire = expose(QUIET, photons), expose(QUIET, photons, wire_order=True)
    words = wire.reshape(520, 12, 192)
    # Channel 96 is the leftmost of the top half; channel 0, rotated by 180 degrees, the rightmost below.
    np.testing.assert_array_equal(words[:, :, wire_word(np.array([96]))[0]], assembled[:520, :12])
    np.testing.assert_array_equal(words[:, :, wire_word(np.array([0]))[0]], assembled[:519:-1, :-13:-1])


def test_impossible_noise_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"charge_sharing is 0\.5"):
        FccdNoise(charge_sharing=0.5)
