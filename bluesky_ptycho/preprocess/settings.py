"""Settings of the preprocessing: one frozen object, recorded in every result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..errors import SettingsError
from ..keywords import refuses_unknown_settings
from ..registry import preprocessing_steps
from ..settings import Settings, documented, setting
from .mask import Mask

PRESETS: dict[str, dict[str, Any]] = {
    "cosmic": {"photon_threshold": None, "threshold_reach": 0, "resampling": "box", "centre_frames": 0},
    "nanosurveyor": {"photon_threshold": 1.0, "threshold_reach": 2, "resampling": "gaussian", "centre_frames": 8},
}
"""What a preset sets where a setting is left to it; its steps are in :mod:`bluesky_ptycho.preprocess.presets`."""


@documented
@refuses_unknown_settings
@dataclass(frozen=True)
class PreprocessSettings(Settings):
    """How raw frames become photons.

    A setting that is None and named in :data:`PRESETS` takes the preset's value when the object is made,
    so that what is recorded is what was done.

    Coordinates of the raw image (`optical_centre`, `mask_regions`) are edge coordinates ``(row, column)`` of the
    assembled and cropped image before it is oriented: the first pixel reaches from 0 to 1.

    Raises
    ------
    SettingsError
        On a value out of range, or a position or matrix with the wrong number of entries.
    NotFoundError
        On a step that is not known.
    """

    group: ClassVar[str | None] = "preprocess"

    preset: str = setting("cosmic", "Which steps and values to start from.", choices=tuple(PRESETS))
    steps: tuple[str, ...] | None = setting(
        None, "Names of the steps in order; None for all of the preset that the layout needs."
    )
    binning: float | None = setting(
        None,
        "Raw pixels per side that make one solver pixel, fractions too; None for the layout's own, "
        "or what object_pixel_m and pattern_px ask for.",
        low=1.0,
        high=64.0,
    )
    pattern_px: int | None = setting(
        None, "Side of a solver pattern; None for what the image holds.", low=8, high=8192, unit="pixel"
    )
    object_pixel_m: float | None = setting(
        None, "Wanted pixel of the object, which sets the binning; None to leave it.", low=1e-12, unit="m"
    )
    resampling: str | None = setting(
        None,
        "How raw pixels become solver pixels: sum of boxes, Gaussian kernel, or Fourier crop; None: the preset's.",
        choices=("box", "gaussian", "fourier"),
    )
    gaussian_sigma: float = setting(0.5, "Width of the Gaussian kernel, in solver pixels.", low=0.1, high=4.0)
    crop_px: int | None = setting(
        None, "Side of the square of raw pixels to keep, a multiple of the binning; None for the whole image.", low=8
    )
    optical_centre: tuple[float, ...] | None = setting(
        None, "Where the beam axis meets the raw image (row, column); None for the array's centre.", unit="pixel"
    )
    centre_frames: int | None = setting(
        None, "First frames whose centre of mass becomes the optical centre; 0 for none; None: the preset's.", low=0
    )
    photon_threshold: float | None = setting(
        None,
        "FCCD pixels with less in the longest exposure are set to 0 (its repeats averaged); None: the preset's, which "
        "for 'cosmic' is each pixel's own, by the light around it. Plain frames are photons already.",
        low=0.0,
        high=100.0,
        unit="photon",
    )
    read_noise: float = setting(
        0.9, "Read noise of a sample, for pixels' own thresholds, where darks don't tell it.", low=0.01, unit="ADU"
    )
    threshold_reach: int | None = setting(
        None,
        "Pixels next to one above photon_threshold are kept if a square of this side holds both; 0 or 1: none are. "
        "Pixels' own thresholds know their neighbours anyway.",
        low=0, high=8,
    )  # fmt: skip
    clip_negative: bool = setting(
        True,
        "Whether negative photons become 0; without it the noise stays unbiased: no pixel has a threshold of its own, "
        "and a photon_threshold should be 0.",
    )
    overscan_rows: int = setting(21, "Rows of the running median over the overscan, odd.", low=1, high=101)
    overscan_low: float = setting(
        -1000.0, "Lower limit of the running median over the overscan; without darks there is none.", unit="ADU"
    )
    overscan_high: float = setting(50.0, "Upper limit of it; without darks there is none.", unit="ADU")
    overscan_skip: int = setting(
        0, "First rows of a half that the polynomial over the overscan is not fitted to.", low=0, high=400
    )
    background_photons: float = setting(
        0.7, "Samples below it, of either sign, tell the background of drift and tones.", low=0.05, unit="photon"
    )
    drift_terms: int = setting(8, "Cosines over the rows that the remaining drift is made of.", low=0, high=40)
    tone_limit: int = setting(2, "Most tones that are removed from a channel.", low=0, high=16)
    tone_threshold: float = setting(
        6.0, "Power of a tone in the darks over the median of its channel.", low=3.0, high=1000.0
    )
    channel_shifts: tuple[int, ...] = setting(
        (), "Pairs of ADC channel and the number of slots that its samples come late (negative: early)."
    )
    gain: int = setting(1, "Gain the camera runs at; pixels of another gain count as damaged.", choices=(1, 2, 8))
    bad_pixel_sigma: float = setting(5.0, "Dark noise of a bad pixel over the median of all.", low=1.5)
    bad_channel_sigma: float = setting(3.0, "Dark noise of a bad ADC channel over the median of all.", low=1.2)
    saturation: float | None = setting(
        None, "Counts from which a pixel of a plain frame is saturated; None for never.", low=0.0
    )
    beamstop_radius_m: float = setting(0.0, "Radius of the semitransparent beamstop; 0 for none.", low=0.0, unit="m")
    beamstop_transmission: float = setting(0.01, "Transmission of the beamstop.", low=1e-6, high=1.0)
    mask_files: tuple[str, ...] = setting(
        (),
        "Files (.npy, or HDF5 as path::dataset) of the raw image's shape, 0 where a pixel is bad; all of them count.",
    )
    mask_regions: tuple[float, ...] = setting(
        (), "Bad rectangles of the raw image, four edges each: top, bottom, left, right; 0, 10 are ten rows."
    )
    mask: str | None = setting(
        None,
        "A mask of the raw image, whole, as Mask.packed gives it; a Mask is taken too. It counts beside the others.",
    )
    flat_file: str | None = setting(None, "File of the relative sensitivity of each raw pixel, about 1.")
    background_file: str | None = setting(
        None, "File of photons per raw pixel in the longest exposure that do not come from the sample."
    )
    position_matrix: tuple[float, ...] | None = setting(
        None, "2×2 matrix (xx, xy, yx, yy) that corrects stage positions (x, y); None for none."
    )
    strict_darks: bool = setting(False, "Whether frames without fitting darks are an error.")
    max_dark_drift: float = setting(
        3.0, "Change of the channels' levels, in σ of the darks' overscan, from which darks should be taken anew.",
        low=0.5,
    )  # fmt: skip
    max_dark_noise: float = setting(
        1.5, "Readout noise over that of the darks from which darks should be taken anew.", low=1.05
    )
    max_damaged_fraction: float = setting(0.5, "Damaged share of a frame that rejects it.", low=0.0, high=1.0)
    max_saturated_fraction: float = setting(0.02, "Saturated share of a frame that rejects it.", low=0.0, high=1.0)
    min_relative_flux: float = setting(
        0.03, "Frames with less than this share of the scan's usual photons count as dark; 0 to keep all.",
        low=0.0, high=1.0,
    )  # fmt: skip
    fused: bool = setting(True, "Whether the fused kernel is used where there is one; else step by step.")
    threads: int | None = setting(None, "Threads that work on frames; None for all cores.", low=1, high=256)

    def __post_init__(self) -> None:
        own = PRESETS.get(self.preset, {}) if isinstance(self.preset, str) else {}
        for name, value in own.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if isinstance(self.mask, Mask):
            object.__setattr__(self, "mask", self.mask.packed)
        super().__post_init__()
        self._check_steps()
        if self.mask is not None:
            Mask.unpacked(self.mask)
        for name, period in (("channel_shifts", 2), ("mask_regions", 4)):
            if len(getattr(self, name)) % period:
                raise SettingsError(
                    f"preprocess.{name} has {len(getattr(self, name))} numbers; expected {period} per entry"
                )
        for name, length in (("optical_centre", 2), ("position_matrix", 4)):
            value = getattr(self, name)
            if value is not None and len(value) != length:
                raise SettingsError(f"preprocess.{name} is {value}; expected {length} numbers")
        if self.overscan_rows % 2 == 0:
            raise SettingsError(f"preprocess.overscan_rows is {self.overscan_rows}; expected an odd number")
        if self.overscan_low >= self.overscan_high:
            raise SettingsError(
                f"preprocess.overscan_low is {self.overscan_low}; "
                f"expected less than overscan_high, {self.overscan_high}"
            )

    def _check_steps(self) -> None:
        """Refuse steps that no layout has use for; which ones a layout needs is known when there is a plan."""
        if self.steps is None:
            return
        if not self.steps or len(set(self.steps)) != len(self.steps):
            raise SettingsError(f"preprocess.steps is {self.steps}; expected names of steps, each once, or None")
        for name in self.steps:
            preprocessing_steps.require(name)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with `changes`; with another preset, what came from the old one comes from the new one."""
        if changes.get("preset", self.preset) != self.preset:
            own = PRESETS[self.preset]
            changes = dict.fromkeys(name for name, value in own.items() if getattr(self, name) == value) | changes
        return super().replace(**changes)
