"""The optical centre from the frames themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..scan_plan import ScanPlan
from .darks import DarkModel
from .grid import Grid, make_grid
from .pipeline import make_pipeline
from .settings import PreprocessSettings


def centred(
    plan: ScanPlan, settings: PreprocessSettings, frames: NDArray[Any], darks: Sequence[DarkModel] | None = None
) -> PreprocessSettings:
    """Return settings whose optical centre is the centre of mass of frames.

    A sample deflects the beam of single points, so several should be given; the setting
    ``centre_frames`` says how many.

    Parameters
    ----------
    plan : ScanPlan
    settings : PreprocessSettings
    frames : ndarray (n, K, H, W)
        Raw frames.
    darks : sequence of DarkModel, optional

    Raises
    ------
    MetadataError
        If no frame can be used or there is no light in them.
    """
    whole = settings.replace(optical_centre=None, centre_frames=0, crop_px=None, pattern_px=None, object_pixel_m=None)
    with make_pipeline(plan, whole.replace(binning=None, resampling="box")) as pipeline:
        clean = pipeline(frames, darks)
        grid = make_grid(plan, pipeline.settings)
    good = [i for i in range(len(frames)) if i not in clean.rejected]
    total = np.where(clean.mask[good], clean.photons[good], 0).sum(axis=0, dtype=np.float64)
    if not total.sum() > 0:
        raise MetadataError(f"centre of mass: there is no light in {len(frames)} frames")
    return settings.replace(optical_centre=centre_of_mass(total, grid), centre_frames=0)


def centre_of_mass(pattern: NDArray[np.float64], grid: Grid) -> tuple[float, float]:
    """Return the centre of mass of a solver pattern in edge coordinates (row, column) of the raw image."""
    image = grid.from_solver(pattern)
    y, x = (
        float(image.sum(axis=1 - axis) @ (np.arange(n) + 0.5)) / float(image.sum()) * grid.binning + grid.start[axis]
        for axis, n in enumerate(image.shape)
    )
    return y, x
