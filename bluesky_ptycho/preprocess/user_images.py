"""Images of the raw frame that settings bring along: masks, flat field, background."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..scan_plan import ScanPlan
from .files import load_image
from .grid import make_grid
from .mask import Mask
from .settings import PreprocessSettings


def check_images(plan: ScanPlan, settings: PreprocessSettings) -> None:
    """Refuse images that do not fit the frames of a scan, before anything is made of these.

    Raises
    ------
    SettingsError
        If a mask, flat field or background cannot be read or has another shape, or a region has no pixel.
    MetadataError
        If the plan cannot be used, as :func:`~bluesky_ptycho.preprocess.output_geometry` does.
    """
    given = settings.mask, settings.mask_files, settings.mask_regions, settings.flat_file, settings.background_file
    if any(given):
        shape = make_grid(plan, settings).image_shape
        for read in (user_bad_pixels, flat_factors, background_photons):
            read(settings, shape)


def flat_factors(settings: PreprocessSettings, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return one over the sensitivity of each pixel; pixels without any are the user mask's."""
    if settings.flat_file is None:
        return None
    flat = load_image(settings.flat_file, shape, "preprocess.flat_file").astype(np.float32)
    return np.divide(1, flat, out=np.ones_like(flat), where=flat > 0)


def user_bad_pixels(settings: PreprocessSettings, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return the pixels that mask, mask files, rectangles and flat field call bad."""
    bad = np.zeros(shape, dtype=bool)
    for location in settings.mask_files:
        bad |= load_image(location, shape, "preprocess.mask_files") == 0
    if settings.mask is not None:
        bad |= Mask.unpacked(settings.mask).bad_in(shape)
    if settings.flat_file is not None:
        bad |= load_image(settings.flat_file, shape, "preprocess.flat_file") <= 0
    regions = np.reshape(settings.mask_regions, (-1, 4))
    for top, bottom, left, right in regions:
        if not (top < bottom and left < right):
            raise SettingsError(
                f"preprocess.mask_regions has {top:g}, {bottom:g}, {left:g}, {right:g}; "
                "expected edges top < bottom, left < right"
            )
        if bottom <= 0 or right <= 0 or top >= shape[0] or left >= shape[1]:
            raise SettingsError(
                f"preprocess.mask_regions has {top:g}, {bottom:g}, {left:g}, {right:g}, where the image has "
                f"no pixel; expected rows within 0 to {shape[0]}, columns within 0 to {shape[1]}"
            )
        rows, columns = (
            slice(max(0, math.floor(low)), max(0, math.ceil(high))) for low, high in ((top, bottom), (left, right))
        )
        bad[rows, columns] = True
    return bad if bad.any() else None


def background_photons(settings: PreprocessSettings, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return the photons in the longest exposure that are not the sample's."""
    if settings.background_file is None:
        return None
    return load_image(settings.background_file, shape, "preprocess.background_file").astype(np.float32)
