"""Settings of the preprocessing: one frozen object, recorded in every result."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingsError
from ..settings import Settings, setting


@dataclass(frozen=True)
class PreprocessSettings(Settings):
    """How raw frames become photons.

    Coordinates of the raw image (`optical_centre`) are edge coordinates ``(row, column)`` of the
    assembled and cropped image before it is oriented: the first pixel reaches from 0 to 1.

    Raises
    ------
    SettingsError
        On a value out of range, or a position or matrix with the wrong number of entries.
    """

    steps: tuple[str, ...] | None = setting(None, "Names of the steps in order; None for all that the layout needs.")
    binning: int | None = setting(
        None, "Raw pixels per side that are summed to one solver pixel; None for the layout's own.", low=1, high=64
    )
    crop_px: int | None = setting(
        None, "Side of the square of raw pixels to keep, a multiple of the binning; None for the whole image.", low=8
    )
    optical_centre: tuple[float, ...] | None = setting(
        None, "Where the beam axis meets the raw image (row, column); None for the array's centre.", unit="pixel"
    )
    photon_threshold: float = setting(0.8, "Raw pixels with less are set to 0.", low=0.0, high=100.0, unit="photon")
    clip_negative: bool = setting(
        True, "Whether negative photons become 0; without it (and with threshold 0) the noise stays unbiased."
    )
    overscan_rows: int = setting(21, "Rows of the running median over the overscan, odd.", low=1, high=101)
    overscan_low: float = setting(-1000.0, "Lower limit of the overscan background.", unit="ADU")
    overscan_high: float = setting(50.0, "Upper limit of the overscan background.", unit="ADU")
    gain: int = setting(1, "Gain the camera runs at; pixels of another gain count as damaged.", choices=(1, 2, 8))
    bad_pixel_sigma: float = setting(5.0, "Dark noise of a bad pixel over the median of all.", low=1.5)
    bad_channel_sigma: float = setting(3.0, "Dark noise of a bad ADC channel over the median of all.", low=1.2)
    saturation: float | None = setting(
        None, "Counts from which a pixel of a plain frame is saturated; None for never.", low=0.0
    )
    beamstop_radius_m: float = setting(0.0, "Radius of the semitransparent beamstop; 0 for none.", low=0.0, unit="m")
    beamstop_transmission: float = setting(0.01, "Transmission of the beamstop.", low=1e-6, high=1.0)
    position_matrix: tuple[float, ...] | None = setting(
        None, "2×2 matrix (xx, xy, yx, yy) that corrects stage positions (x, y); None for none."
    )
    strict_darks: bool = setting(False, "Whether frames without fitting darks are an error.")
    max_damaged_fraction: float = setting(0.5, "Damaged share of a frame that rejects it.", low=0.0, high=1.0)
    max_saturated_fraction: float = setting(0.02, "Saturated share of a frame that rejects it.", low=0.0, high=1.0)
    min_relative_flux: float = setting(
        0.1, "Frames with less than this share of the median photons count as dark; 0 to keep all.", low=0.0, high=1.0
    )
    fused: bool = setting(True, "Whether the fused kernel is used where there is one; else step by step.")
    threads: int | None = setting(None, "Threads that work on frames; None for all cores.", low=1, high=256)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, length in (("optical_centre", 2), ("position_matrix", 4)):
            value = getattr(self, name)
            if value is not None and len(value) != length:
                raise SettingsError(f"PreprocessSettings.{name} is {value}; expected {length} numbers")
        if self.overscan_rows % 2 == 0:
            raise SettingsError(f"PreprocessSettings.overscan_rows is {self.overscan_rows}; expected an odd number")
        if self.overscan_low >= self.overscan_high:
            raise SettingsError(
                f"PreprocessSettings.overscan_low is {self.overscan_low}; "
                f"expected less than overscan_high, {self.overscan_high}"
            )
