"""What the steps of a run have in common, worked out once from plan and settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..scan_plan import ScanPlan
from .darks import DarkModel
from .grid import Grid, make_grid
from .layouts import (
    N_CHANNELS,
    N_SLOTS,
    OVERSCAN_SLOTS,
    Layout,
    assemble,
    check_gain,
    image_columns,
    layout_of,
    shift_channels,
)
from .settings import PreprocessSettings
from .single_photons import SinglePhotons
from .tones import find_tones
from .user_images import background_photons, flat_factors, user_bad_pixels

OVERSCAN_NOISE = 0.05
"""Variance of the running median over 21 rows of the lesser of two overscan samples, over that of one sample."""
LEAST_NOISE = 0.02
"""Read noise in photons below which it makes no difference."""


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
    beamstop, flat : ndarray (rows, columns) float32 or None
        Factors for each pixel of the raw image: one over transmission, one over sensitivity.
    user_bad : ndarray (rows, columns) bool or None
        Pixels of the raw image that the settings call bad.
    background : ndarray (rows, columns) float32 or None
        Photons in the longest exposure that are not the sample's.
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
    flat: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    user_bad: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    background: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def group_factors(self) -> tuple[float, ...]:
        """Longest exposure time over that of each group."""
        longest = max(self.exposures_s)
        return tuple(longest / self.exposures_s[group[0]] for group in self.exposure_groups)

    @property
    def merges_exposures(self) -> bool:
        """Whether exposures of different times make a pattern."""
        return len(self.exposure_groups) > 1

    @property
    def worst_noise(self) -> float:
        """Variance of one shortest exposure over that of all repeats of the longest, for as many photons."""
        return self.group_factors[-1] * len(self.exposure_groups[0])

    @property
    def photon_share(self) -> float:
        """What a photon of one of the longest exposures makes of the image before the pixels' factors."""
        return self.n_summed / len(self.exposure_groups[0])

    @property
    def counts_single_photons(self) -> bool:
        """Whether each pixel has its own threshold."""
        return self.layout.fccd and self.settings.photon_threshold is None and self.settings.clip_negative

    @property
    def n_summed(self) -> int:
        """Repeats of the longest exposure in whose sum single photons are counted: in their mean one is a fraction."""
        return len(self.exposure_groups[0]) if self.counts_single_photons else 1

    @property
    def pixel_factors(self) -> NDArray[np.float32] | None:
        """Factors for each pixel of the raw image that come after the threshold: flat field, beamstop, repeats."""
        given = [factor for factor in (self.flat, self.beamstop) if factor is not None]
        if self.n_summed > 1:
            given.append(np.full(self.grid.image_shape, 1 / self.n_summed, dtype=np.float32))
        return np.prod(given, axis=0, dtype=np.float32) if given else None

    @property
    def background_limit(self) -> float:
        """Magnitude in ADU below which a sample is background."""
        return self.settings.background_photons / self.photons_per_adu

    def in_place(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return frames ``(…, H, W)`` of the layout assembled, late channels in their places."""
        if not self.layout.fccd:
            return frames
        return shift_channels(assemble(frames) if self.layout.wire else frames, self.settings.channel_shifts)

    def image_of(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Cut the image out of assembled frames ``(…, H, W)``."""
        if not self.layout.fccd:
            return frames
        return frames[..., self.layout.image_rows()[:, None], image_columns()]

    def put_image(self, frames: NDArray[Any], images: NDArray[Any]) -> None:
        """Write images to the place that they have in assembled frames ``(…, H, W)``."""
        if self.layout.fccd:
            frames[..., self.layout.image_rows()[:, None], image_columns()] = images
        else:
            frames[...] = images


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
    noise : ndarray (K, 2, 96) float32
        Noise in ADU of a sample without dark, for each half (upper first) and group of 12 columns.
    photons : SinglePhotons
        How single photons are told from noise, in the sum of the longest exposure's repeats.
    grain : float
        What a noise pixel that is taken for a photon counts as.
    tones : tuple of tuple of ndarray
        For each exposure and channel its tones as :func:`tones.find_tones` gives them; empty without darks, and an
        exposure's where its darks do not tell.
    """

    mean: NDArray[np.float32]
    bad: NDArray[np.bool_]
    corrected: bool
    noise: NDArray[np.float32]
    photons: SinglePhotons
    grain: float = 1.0
    tones: tuple[tuple[NDArray[np.float64], ...], ...] = ()


def make_recipe(plan: ScanPlan, settings: PreprocessSettings) -> Recipe:
    """Work out the constants of a run; raises as :func:`make_grid` and :func:`check_gain`."""
    grid = make_grid(plan, settings)
    check_gain(plan)
    detector, layout = plan.detector, layout_of(plan)
    assert detector is not None  # make_grid has refused it
    for channel in settings.channel_shifts[::2]:
        if not 0 <= channel < N_CHANNELS:
            raise SettingsError(f"preprocess.channel_shifts names channel {channel}; expected 0 to {N_CHANNELS - 1}")
    scale, floor = 1.0, 0.0 if settings.clip_negative else -np.inf
    if layout.fccd:
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
        flat=flat_factors(settings, grid.image_shape),
        user_bad=user_bad_pixels(settings, grid.image_shape),
        background=background_photons(settings, grid.image_shape),
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
    """Bring dark models (which fit) into assembled order and find bad pixels, bad channels and tones.

    What the user's mask calls bad is bad here; a background counts as part of the dark.
    """
    n_exposures, settings = len(recipe.exposures_s), recipe.settings
    mean = np.zeros((n_exposures, *recipe.frame_shape), dtype=np.float32)
    tones: list[tuple[NDArray[np.float64], ...]] = []
    for k, dark in enumerate(darks or ()):
        values = recipe.in_place(np.where(dark.bad_pixels(settings.bad_pixel_sigma), np.nan, dark.mean))
        if recipe.layout.fccd and dark.n > 1:
            sigma = recipe.in_place(dark.sigma)
            values = np.where(_bad_channels(sigma, recipe.layout, settings.bad_channel_sigma), np.nan, values)
        mean[k] = values
        if dark.power is None or dark.whole is None:
            tones.append(())
        else:
            tones.append(tuple(find_tones(dark.power, dark.whole, settings.tone_threshold, settings.tone_limit)))
    longest = max(recipe.exposures_s)
    for k, exposure in enumerate(recipe.exposures_s):
        image = np.zeros(recipe.grid.image_shape, dtype=np.float32)
        if recipe.background is not None:
            image += recipe.background * np.float32(exposure / longest / recipe.photons_per_adu)
        if recipe.user_bad is not None:
            image[recipe.user_bad] = np.nan
        recipe.put_image(mean[k], recipe.image_of(mean[k]) + image)
    bad = np.ascontiguousarray(np.isnan(recipe.image_of(mean)))
    noise = np.stack([_noise(None if darks is None else darks[k], recipe) for k in range(n_exposures)])
    # The longest exposure has the dim pixels.
    typical = float(np.median(noise[recipe.exposure_groups[0][0]]))
    in_photons = typical * math.sqrt((1 + OVERSCAN_NOISE) * recipe.n_summed) * recipe.photons_per_adu
    photons = SinglePhotons(max(in_photons, LEAST_NOISE))
    grain = float(photons.worths.max()) / recipe.n_summed if recipe.counts_single_photons else 1.0
    return PreparedDarks(mean, bad, darks is not None, noise, photons, grain, tuple(tones))


def _noise(dark: DarkModel | None, recipe: Recipe) -> NDArray[np.float32]:
    """Return the noise ``(2, 96)`` of samples without dark; channels that the darks don't tell have the usual one."""
    channels = np.full(N_CHANNELS, np.nan, dtype=np.float32)
    if dark is not None and dark.read_noise is not None:
        channels = dark.read_noise
    usual = recipe.settings.read_noise if np.isnan(channels).all() else float(np.nanmedian(channels))
    halves = np.where(np.isnan(channels), np.float32(usual), channels).reshape(2, -1)
    in_place = np.stack([halves[0], halves[1, ::-1]])  # the lower half is read from its other end
    return np.asarray(in_place * math.sqrt(1 + (1 / dark.n if dark is not None else 0)), dtype=np.float32)


def _bad_channels(sigma: NDArray[np.float32], layout: Layout, factor: float) -> NDArray[np.bool_]:
    """Return ``(H, W) bool``, True on all pixels of ADC channels whose median σ is far above the others'."""
    rows = layout.image_rows().reshape(2, -1)
    data = [s for s in range(N_SLOTS) if s not in OVERSCAN_SLOTS]
    tiles = sigma[rows].reshape(2, rows.shape[1], -1, N_SLOTS)[..., data]
    known = np.asarray(np.isfinite(tiles).any(axis=(1, 3)))  # half, channel
    noise = np.nanmedian(np.where(known[:, None, :, None], tiles, 0), axis=(1, 3))
    bad = known & (noise > factor * np.median(noise[known])) if known.any() else known
    return np.repeat(np.repeat(bad, N_SLOTS, axis=1), layout.half_rows, axis=0)
