"""What the preprocessing gives against the photons that were there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline

from .preprocess_scene import N_DARKS, Scene, inside, simulate, squares

SIGMA = 0.9
"""Read noise in ADU."""
READ_NOISE = float(np.sqrt(SIGMA**2 + 1 / 12))
"""With the rounding to whole ADU; the noise of the mean dark is the same in all frames."""
ADU_PER_PHOTON = 3.2
LEVELS = (3.0, 10.0, 100.0, 1000.0)
DECADES = tuple(float(v) for v in 10 ** np.linspace(0, 4, 9))
UNBIASED: dict[str, Any] = {"photon_threshold": 0.0, "clip_negative": False, "resampling": "box"}


@dataclass(frozen=True)
class TruthScenes:
    """What the figures are measured on, of a camera with read noise 0.9 ADU and 25 darks.

    Parameters
    ----------
    lit, hdr : Scene
        Squares of known photons, in one exposure and in two; drift of 3 ADU, tones of up to 0.4 ADU.
    drift, tone : Scene
        No light; the drift alone, and tones of up to 2 ADU alone.
    """

    lit: Scene
    hdr: Scene
    drift: Scene
    tone: Scene

    @classmethod
    def of(cls, n: int) -> TruthScenes:
        """Simulate `n` (2 or more) frames for each."""
        dark = np.zeros((960, 960))
        return cls(
            lit=simulate(squares(LEVELS), n, sigma=SIGMA),
            hdr=simulate(squares(DECADES), n, exposures_s=(0.01, 0.1), sigma=SIGMA, seed=7),
            drift=simulate(dark, n, sigma=SIGMA, seed=5, tone=0.0),
            tone=simulate(dark, n, sigma=SIGMA, seed=5, drift=0.0, tone=2.0),
        )


def measure_truth(chain: Mapping[str, Any], scenes: TruthScenes) -> dict[str, Any]:
    """Return the figures of a chain.

    Parameters
    ----------
    chain : mapping
        Its settings, the preset among them; patterns are box sums here whatever the preset does.
    scenes : TruthScenes

    Returns
    -------
    dict
        ``bias_at_0``: photons per raw pixel where there is no light. ``kept``: for each level of photons per raw pixel,
        the share that is there afterwards. ``noise_ratio``: before clip and threshold, the noise of a raw pixel over
        that of Poisson and of the read-out. ``drift_residual_adu``: rms of the rows' means of frames without light.
        ``tone_residual_adu``: rms beyond the read noise of frames with tones of up to 2 ADU. ``hdr``: for each of four
        decades of levels the photons after merging over those there were; ``hdr_deviation``: the largest deviation.
    """
    lit = squares(LEVELS)
    photons = _clean(scenes.lit, {**chain, "resampling": "box"}) / 16
    kept = {f"{v:g}": float(np.nanmean(photons[:, inside(lit, v, 4)]) / v) for v in LEVELS}
    raw = _clean(scenes.lit, {**chain, **UNBIASED, "binning": 1})
    hdr = hdr_ratios(chain, scenes.hdr)
    noise = {f"{v:g}": _noise_ratio(raw[:, inside(lit, v)], v) for v in (0.0, *LEVELS)}
    return {
        "bias_at_0": float(np.nanmean(photons[:, inside(lit, 0.0, 4)])),
        "kept": kept,
        "noise_ratio": noise,
        "drift_residual_adu": drift_residual(chain, scenes.drift),
        "tone_residual_adu": tone_residual(chain, scenes.tone),
        "hdr": hdr,
        "hdr_deviation": max(abs(ratio - 1) for ratio in hdr.values()),
    }


def _clean(scene: Scene, chain: Mapping[str, Any]) -> np.ndarray:
    """Return the photons of all frames; NaN where they are not valid."""
    with make_pipeline(scene.plan, PreprocessSettings(**chain)) as pipeline:
        clean = pipeline(scene.frames, scene.darks)
    return np.where(clean.mask, clean.photons, np.nan)


def _noise_ratio(values: np.ndarray, level: float) -> float:
    """Return the noise from frame to frame, so that what is fixed does not count, over what is to be expected."""
    noise = np.sqrt(np.nanmean(np.nanvar(values, axis=0, ddof=1)))
    return float(noise / np.hypot(READ_NOISE / ADU_PER_PHOTON, np.sqrt(level)))


def drift_residual(chain: Mapping[str, Any], scene: Scene) -> float:
    """Return what is left of a drift of 3 ADU in frames without light."""
    adu = _clean(scene, {**chain, **UNBIASED, "binning": 1}) * ADU_PER_PHOTON
    rows = np.nanmean(adu, axis=1)  # raw rows are columns of the pattern
    return float(np.sqrt(np.mean(rows**2)))


def tone_residual(chain: Mapping[str, Any], scene: Scene) -> float:
    """Return what tones of up to 2 ADU leave beyond the read noise in frames without light."""
    adu = _clean(scene, {**chain, **UNBIASED, "binning": 1}) * ADU_PER_PHOTON
    return float(np.sqrt(max(np.nanvar(adu) - READ_NOISE**2 * (1 + 1 / N_DARKS), 0.0)))


def hdr_ratios(chain: Mapping[str, Any], scene: Scene) -> dict[str, float]:
    """Return photons of two merged exposures over those there were, from 1 to 10⁴ a pixel.

    A level has 10 000 pixels or more in each frame: at one photon the counting error of six frames is 0.4 %.
    """
    lit = squares(DECADES)
    photons = _clean(scene, {**chain, **UNBIASED}) / 16
    return {f"{v:.3g}": float(np.nanmean(photons[:, inside(lit, v, 4)])) / v for v in DECADES}
