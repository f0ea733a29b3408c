"""What the steps of a run have in common, worked out once from plan and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..scan_plan import ScanPlan
from .darks import DarkModel
from .grid import Grid, make_grid
from .layouts import N_SLOTS, OVERSCAN_SLOTS, Layout, assemble, image_columns, layout_of
from .settings import PreprocessSettings


@dataclass(frozen=True)
class Recipe:
    """Constants of a run.

    Parameters
    ----------
    photons_per_adu : float
        1 / (gain in ADU/eV × photon energy).
    floor : float
        Pixels below it (in photons) become 0; -inf where nothing is clipped.
    exposure_groups : tuple of tuple of int
        Indices of the exposures of equal time, longest time first.
    beamstop : ndarray (rows, columns) float32 or None
        Factor for each pixel of the raw image.
    """

    settings: PreprocessSettings
    layout: Layout
    frame_shape: tuple[int, int]
    exposures_s: tuple[float, ...]
    grid: Grid
    photons_per_adu: float
    floor: float
    exposure_groups: tuple[tuple[int, ...], ...]
    beamstop: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def group_factors(self) -> tuple[float, ...]:
        """Longest exposure time over that of each group."""
        longest = max(self.exposures_s)
        return tuple(longest / self.exposures_s[group[0]] for group in self.exposure_groups)

    def image_of(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Cut the image out of assembled frames ``(…, H, W)``."""
        if not self.layout.fccd:
            return frames
        return frames[..., self.layout.image_rows()[:, None], image_columns()]


@dataclass(frozen=True)
class PreparedDarks:
    """Darks in the form that the steps use; without darks `corrected` is False and `mean` all 0.

    Parameters
    ----------
    mean : ndarray (K, H, W) float32
        In assembled order; NaN marks bad pixels.
    bad : ndarray (K, rows, columns) bool
        Bad pixels of the image.
    corrected : bool
        Whether `mean` was measured.
    """

    mean: NDArray[np.float32]
    bad: NDArray[np.bool_]
    corrected: bool


def make_recipe(plan: ScanPlan, settings: PreprocessSettings) -> Recipe:
    """Work out the constants of a run; raises as :func:`make_grid` and on an unusable gain."""
    grid = make_grid(plan, settings)
    detector, layout = plan.detector, layout_of(plan)
    assert detector is not None  # make_grid has refused it
    scale, floor = 1.0, 0.0 if settings.clip_negative else -np.inf
    if layout.fccd:
        if not (np.isfinite(detector.adu_per_ev) and detector.adu_per_ev > 0):
            raise MetadataError(f"scan plan: detector.adu_per_ev is {detector.adu_per_ev}; expected a positive number")
        scale = 1.0 / (detector.adu_per_ev * plan.energy_ev)
        floor = settings.photon_threshold or floor
    times = sorted(set(plan.exposures_s), reverse=True)
    return Recipe(
        settings=settings,
        layout=layout,
        frame_shape=(detector.shape[0], detector.shape[1]),
        exposures_s=plan.exposures_s,
        grid=grid,
        photons_per_adu=scale,
        floor=floor,
        exposure_groups=tuple(tuple(k for k, t in enumerate(plan.exposures_s) if t == time) for time in times),
        beamstop=_beamstop(grid, detector.pixel_m, settings),
    )


def _beamstop(grid: Grid, pixel_m: tuple[float, float], settings: PreprocessSettings) -> NDArray[np.float32] | None:
    """Return one over the transmission of the beamstop for each pixel of the raw image."""
    if not settings.beamstop_radius_m:
        return None
    y, x = (
        (np.arange(n) + 0.5 - centre) * pitch
        for n, centre, pitch in zip(grid.image_shape, grid.optical_centre, pixel_m, strict=True)
    )
    behind = np.hypot(y[:, None], x) <= settings.beamstop_radius_m
    return np.where(behind, 1.0 / settings.beamstop_transmission, 1.0).astype(np.float32)


def prepare_darks(darks: Sequence[DarkModel] | None, recipe: Recipe) -> PreparedDarks:
    """Bring dark models (which fit) into assembled order and find bad pixels and channels."""
    shape, n_exposures = recipe.frame_shape, len(recipe.exposures_s)
    if darks is None:
        bad = np.zeros((n_exposures, *recipe.grid.image_shape), dtype=bool)
        return PreparedDarks(np.zeros((n_exposures, *shape), dtype=np.float32), bad, corrected=False)
    mean = np.empty((n_exposures, *shape), dtype=np.float32)
    for k, dark in enumerate(darks):
        bad_pixels = dark.bad_pixels(recipe.settings.bad_pixel_sigma)
        values, sigma = np.where(bad_pixels, np.nan, dark.mean), dark.sigma
        if recipe.layout.wire:
            values, sigma = assemble(values), assemble(sigma)
        if recipe.layout.fccd and dark.n > 1:
            values = np.where(_bad_channels(sigma, recipe.layout, recipe.settings.bad_channel_sigma), np.nan, values)
        mean[k] = values
    return PreparedDarks(mean, np.ascontiguousarray(np.isnan(recipe.image_of(mean))), corrected=True)


def _bad_channels(sigma: NDArray[np.float32], layout: Layout, factor: float) -> NDArray[np.bool_]:
    """Return ``(H, W) bool``, True on all pixels of ADC channels whose median σ is far above the others'."""
    rows = layout.image_rows().reshape(2, -1)
    data = [s for s in range(N_SLOTS) if s not in OVERSCAN_SLOTS]
    tiles = sigma[rows].reshape(2, rows.shape[1], -1, N_SLOTS)[..., data]
    noise = np.nanmedian(tiles, axis=(1, 3))  # half, channel
    bad = noise > factor * np.median(noise)
    return np.repeat(np.repeat(bad, N_SLOTS, axis=1), layout.half_rows, axis=0)
