"""The steps of each preset, and the order in which steps make sense."""

from __future__ import annotations

from . import background, overscan, steps  # noqa: F401  (fill the registry)
from .layouts import Layout

_RAW_TO_ADU = ("descramble", "flag_pixels", "subtract_dark")
_ADU_TO_PATTERN = (
    "crop",
    "dilate_saturation",
    "merge_exposures",
    "photons",
    "flat_field",
    "beamstop",
    "resample",
    "orient",
)
FCCD_STEPS = {
    "cosmic": (*_RAW_TO_ADU, "subtract_overscan", *_ADU_TO_PATTERN),
    "nanosurveyor": (*_RAW_TO_ADU, "subtract_overscan_polynomial", "subtract_background", *_ADU_TO_PATTERN),
}
PLAIN_STEPS = ("flag_pixels", "subtract_dark", "merge_exposures", "photons", "flat_field", "beamstop", "resample")

ORDER = (
    "descramble",
    "flag_pixels",
    "subtract_dark",
    "subtract_overscan",
    "subtract_overscan_polynomial",
    "subtract_background",
    "subtract_common_mode",
    "crop",
    "dilate_saturation",
    "merge_exposures",
    "photons",
    "count_photons",
    "flat_field",
    "beamstop",
    "resample",
    "orient",
)
"""Steps of the package that are given must keep this order; others may stand anywhere between them."""

SHAPING = ("descramble", "flag_pixels", "crop", "merge_exposures", "resample", "orient")
"""Steps that nothing works without, as far as the layout needs them."""


def steps_of(preset: str, layout: Layout) -> tuple[str, ...]:
    """Return the steps of a preset for frames of a layout."""
    return FCCD_STEPS[preset] if layout.fccd else PLAIN_STEPS
