"""A faithful raw frame of the FCCD: readout layout, offsets, drift, tones, noise, saturation.

The sensor is read by 192 channels, 96 for each half, each 10 columns wide with an overscan
sample before and after. A half has 6 junk rows at the outer edge, 480 rows of the image, a seam
row, and rows that are sent empty. See the instrument's published data flow (Enders 2018) and
Daurer et al. 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..compiled import kernel
from ..keywords import refuses_unknown_settings
from ..settings import Settings, documented, setting

CHANNELS = 192
PER_HALF = 96
SLOTS = 12
HALF_ROWS = 520
JUNK_ROWS = 6
IMAGE_ROWS = 480
LIVE_ROWS = JUNK_ROWS + IMAGE_ROWS + 1
DATA_SLOTS = slice(1, 11)
RAW_SHAPE = (2 * HALF_ROWS, PER_HALF * SLOTS)
IMAGE_SHAPE = (960, 960)

GAIN_BITS = 0xC000
ERROR_BIT = 0x2000
ADC_MAX = 0x1FFF
PACKET_PIXELS = 2048


@documented
@refuses_unknown_settings
@dataclass(frozen=True)
class FccdNoise(Settings):
    """What the electronics add to the photons; amplitudes in ADU."""

    adu_per_ev: float = setting(0.004, "gain", low=1e-6, unit="ADU/eV")
    offset: float = setting(4096.0, "mean dark level", low=0.0, high=8191.0, unit="ADU")
    offset_spread: float = setting(40.0, "rms of the dark level from channel to channel", low=0.0, unit="ADU")
    sigma: float = setting(0.9, "rms readout noise of a sample", low=0.0, unit="ADU")
    drift: float = setting(
        3.0, "rms of the slow drift along the rows, common to data and overscan", low=0.0, unit="ADU"
    )
    tone: float = setting(0.4, "largest amplitude of a channel's periodic pick-up", low=0.0, unit="ADU")
    junk: float = setting(60.0, "mean level of the junk rows above the dark level", low=0.0, unit="ADU")
    charge_sharing: float = setting(
        0.0, "part of a pixel's charge found in each of its 4 neighbours", low=0.0, high=0.2
    )
    lost_packets: float = setting(0.0, "mean number of packets lost in a frame", low=0.0)


def image_to_camera(pattern: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a pattern whose rows and columns run along +q_y, +q_x to the camera's own orientation.

    The camera's assembled image, transposed and flipped along both axes, is the pattern (looking
    downstream); this is the inverse. It returns a view.
    """
    return pattern[::-1, ::-1].T


def wire_word(channel: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return which of the 192 words of a slot carries a channel."""
    mirrored = (CHANNELS - 1) - channel
    return 16 * (mirrored % 12) + 15 - 4 * (channel // 48) - (mirrored // 12) % 4


def assembled_to_wire() -> NDArray[np.intp]:
    """Return, for each word of a frame in wire order, the flat index of its pixel in the assembled frame."""
    row, slot, channel = np.meshgrid(np.arange(HALF_ROWS), np.arange(SLOTS), np.arange(CHANNELS), indexing="ij")
    column = (channel % PER_HALF) * SLOTS + slot
    top = channel >= PER_HALF
    flat = np.where(
        top,
        row * RAW_SHAPE[1] + column,
        (RAW_SHAPE[0] - 1 - row) * RAW_SHAPE[1] + RAW_SHAPE[1] - 1 - column,  # rotated by 180 degrees
    )
    order = np.empty((HALF_ROWS, SLOTS, CHANNELS), dtype=np.intp)
    order[:, :, wire_word(np.arange(CHANNELS))] = flat
    return order.ravel()


class FccdElectronics:
    """One camera: its channels' offsets and tones are drawn once, its noise for every frame.

    Parameters
    ----------
    noise : FccdNoise
        Amplitudes.
    energy_ev : float
        Energy of a photon.
    seed : int
        Draws the camera.
    wire_order : bool
        Frames come as they are sent instead of assembled.
    """

    shape = RAW_SHAPE
    image_shape = IMAGE_SHAPE

    def __init__(self, noise: FccdNoise, energy_ev: float, seed: int, *, wire_order: bool = False) -> None:
        rng = np.random.default_rng([seed, 0xFCCD])
        self.noise = noise
        self.adu_per_photon = noise.adu_per_ev * energy_ev
        self.offsets = (noise.offset + noise.offset_spread * rng.standard_normal(CHANNELS)).astype(np.float32)
        # A quarter of the channels pick up something; periods of 3 to 400 samples.
        self._amplitudes = noise.tone * rng.random(CHANNELS) * (rng.random(CHANNELS) < 0.25)
        self._steps = 2 * np.pi / np.exp(rng.uniform(np.log(3), np.log(400), CHANNELS))
        self._drift_gain = rng.uniform(0.7, 1.3, CHANNELS)
        self._wire = assembled_to_wire() if wire_order or noise.lost_packets else None
        self._wire_order = wire_order

    def raw(self, photons: NDArray[np.float32], rng: np.random.Generator, out: NDArray[np.uint16]) -> None:
        """Write the raw frame that records `photons`.

        Parameters
        ----------
        photons : ndarray (960, 960) float32
            Photons per pixel; rows and columns run along +q_y and +q_x.
        rng : Generator
            Draws this frame's noise.
        out : ndarray (1040, 1152) uint16
            Receives the frame.
        """
        image = np.ascontiguousarray(image_to_camera(photons))
        if self.noise.charge_sharing:
            image = _share_charge(image, self.noise.charge_sharing)
        normal = rng.standard_normal(RAW_SHAPE, dtype=np.float32)
        phases = rng.uniform(0, 2 * np.pi, CHANNELS)
        target = np.empty_like(out) if self._wire_order else out
        _assemble(
            image,
            np.float32(self.adu_per_photon),
            self._baseline(rng),
            self._amplitudes * np.cos(phases),
            self._amplitudes * np.sin(phases),
            np.cos(self._steps),
            np.sin(self._steps),
            np.float32(self.noise.sigma),
            normal,
            target,
        )
        if self.noise.lost_packets:
            self._lose_packets(target, rng)
        if self._wire_order:
            assert self._wire is not None
            np.take(target.reshape(-1), self._wire, out=out.reshape(-1), mode="clip")

    def _baseline(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the level ``(2, HALF_ROWS, PER_HALF)`` of each half, row and channel; half 0 is the top."""
        row = np.arange(HALF_ROWS) / HALF_ROWS
        frequencies = np.array([0.5, 1.0, 2.0, 3.0])  # per frame; slower ones are stronger
        phases = rng.uniform(0, 2 * np.pi, (4, 1))
        waves = np.cos(2 * np.pi * frequencies[:, None] * row + phases) / frequencies[:, None]
        waves *= self.noise.drift / np.sqrt((0.5 / frequencies**2).sum())
        slow = rng.standard_normal((2, 4)) @ waves
        level = np.empty((2, HALF_ROWS, PER_HALF), dtype=np.float32)
        for half, channels in enumerate((slice(PER_HALF, CHANNELS), slice(0, PER_HALF))):
            level[half] = self.offsets[channels] + slow[half][:, None] * self._drift_gain[channels]
        level[:, :JUNK_ROWS] += self.noise.junk * rng.exponential(1.0, (2, JUNK_ROWS, 1))
        return level

    def _lose_packets(self, frame: NDArray[np.uint16], rng: np.random.Generator) -> None:
        assert self._wire is not None
        pixels = frame.reshape(-1)
        for _ in range(rng.poisson(self.noise.lost_packets)):
            first = PACKET_PIXELS * int(rng.integers(pixels.size // PACKET_PIXELS))
            pixels[self._wire[first : first + PACKET_PIXELS]] |= ERROR_BIT


def _share_charge(image: NDArray[np.float32], part: float) -> NDArray[np.float32]:
    shared = image * np.float32(1 - 4 * part)
    spread = image * np.float32(part)
    shared[1:] += spread[:-1]
    shared[:-1] += spread[1:]
    shared[:, 1:] += spread[:, :-1]
    shared[:, :-1] += spread[:, 1:]
    return shared


@kernel()
def _assemble(image, gain, level, tone_cos, tone_sin, step_cos, step_sin, sigma, normal, out):  # type: ignore[no-untyped-def]
    """Put both halves together in the order in which they are read.

    `tone_cos` and `tone_sin` hold each channel's tone as a rotating vector, which is turned by
    one step for each sample; they are changed.
    """
    last_row, last_column = out.shape[0] - 1, out.shape[1] - 1
    for half in range(2):
        first_channel = PER_HALF if half == 0 else 0
        for row in range(HALF_ROWS):
            image_row = row - JUNK_ROWS
            for index in range(PER_HALF):
                channel = first_channel + index
                c, s = tone_cos[channel], tone_sin[channel]
                for slot in range(SLOTS):
                    column = index * SLOTS + slot
                    i = row if half == 0 else last_row - row
                    j = column if half == 0 else last_column - column
                    if row >= LIVE_ROWS:
                        out[i, j] = 0
                        continue
                    value = level[half, row, index] + c + sigma * normal[i, j]
                    if 1 <= slot <= 10 and 0 <= image_row < IMAGE_ROWS:
                        # Image columns count the data slots of the assembled frame from its left.
                        k = index * 10 + slot - 1
                        if half == 0:
                            value += gain * image[image_row, k]
                        else:
                            value += gain * image[959 - image_row, 959 - k]
                    c, s = c * step_cos[channel] - s * step_sin[channel], s * step_cos[channel] + c * step_sin[channel]
                    value = min(max(math.floor(value + 0.5), 0.0), 8191.0)
                    out[i, j] = np.uint16(GAIN_BITS | np.uint16(value))
                tone_cos[channel], tone_sin[channel] = c, s
