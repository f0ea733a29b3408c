"""The steps of each preset, and the order in which steps make sense."""

from __future__ import annotations

from . import background, overscan, steps  # noqa: F401  (fill the registry)
from .layouts import Layout

FCCD_STEPS = {
    "cosmic": (
        "descramble",
        "flag_pixels",
        "subtract_dark",
        "subtract_overscan",
        "crop",
        "dilate_saturation",
        "merge_exposures",
        "photons",
        "flat_field",
        "beamstop",
        "resample",
        "orient",
    ),
    "nanosurveyor": (
        "descramble",
        "flag_pixels",
        "subtract_dark",
        "subtract_overscan_polynomial",
        "subtract_background",
        "crop",
        "dilate_saturation",
        "merge_exposures",
        "photons",
        "flat_field",
        "beamstop",
        "resample",
        "orient",
    ),
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
