"""Drift and tones that the overscan leaves: estimated from the samples without light.

This is the background and spike step of Daurer et al. 2017 (J. Synchrotron Rad. 24, 2017): samples whose
magnitude is below a threshold are background, their transform along the readout sequence shows spikes, and
what the spikes are made of is subtracted. Here the low frequencies are a few cosines over the rows, the
spikes are the tones known from the darks at their exact frequencies, and rows without background are filled in
from the estimate itself, so that they do not pull it towards 0.

Dim light has samples below any threshold, and those are no background: they would take up to a twentieth of a
photon off it. Where more than a few image samples of a row and channel are above, only its overscan tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..registry import preprocessing_steps
from .layouts import N_SLOTS, OVERSCAN_SLOTS, join_channels, split_channels
from .stack import Context, Stack
from .steps import dilate3x3

N_PASSES = 3
"""Rounds of the drift: each takes for background what is within the threshold of the round before."""
MOST_LIT = 2
"""Image samples of a row and channel above the threshold that noise explains; with more there is light on it."""
LOUD_SHARE = 0.25
"""Amplitude of a channel's tones, over the background limit, from which they are removed in two rounds."""
MIN_SHARE = 0.05
"""Share of a channel's samples that must be background for its tones to be estimated."""


@preprocessing_steps.register("subtract_background")
def subtract_background(stack: Stack, context: Context) -> Stack:
    """Subtract the drift and the tones of each channel, as far as samples without light show them."""
    recipe = context.recipe
    rows, settings = recipe.layout.image_rows(), recipe.settings
    limit = recipe.background_limit
    # What was spilt next to a saturated pixel is no background.
    saturated = stack.saturated.copy()
    recipe.put_image(saturated, dilate3x3(recipe.image_of(saturated)))
    lost = (stack.damaged | saturated)[..., rows, :]
    sequences = split_channels(np.where(lost, np.nan, stack.values[..., rows, :]))
    background = np.zeros_like(sequences)
    for index in np.ndindex(sequences.shape[:2]):
        tones = context.darks.tones[index[1]] if context.darks.tones else ()
        background[index] = background_of(sequences[index], limit, settings.drift_terms, tones)
    values = stack.values.copy()
    values[..., rows, :] -= join_channels(background)
    return dataclasses.replace(stack, values=values)


def background_of(
    sequences: NDArray[np.float32], limit: float, n_terms: int, tones: Sequence[NDArray[np.float64]]
) -> NDArray[np.float32]:
    """Return the drift and the tones in one frame's samples.

    Parameters
    ----------
    sequences : ndarray (2, rows, channels, 12) float32
        ADU without dark and overscan; NaN where lost.
    limit : float
        Samples of less magnitude are background.
    n_terms : int
        Cosines over the rows; 0 for no drift.
    tones : sequence of ndarray (n, 2)
        Frequencies and amplitudes of each channel, the upper half's before the lower half's; may be empty.
    """
    rest, background = sequences.copy(), np.zeros_like(sequences)
    for _ in range(N_PASSES if n_terms else 0):
        drift = drift_of(background_means(rest, limit), n_terms)[..., None]
        rest -= drift
        background += drift
    n_channels = sequences.shape[2]
    for channel, mine in enumerate(tones):
        half, c = divmod(channel, n_channels)
        for frequency, reach in tone_rounds(mine, limit):
            tone = tone_of(rest[half, :, c].reshape(-1), reach, frequency).reshape(-1, N_SLOTS)
            rest[half, :, c] -= tone
            background[half, :, c] += tone
    return background


def tone_rounds(tones: NDArray[np.float64], limit: float) -> list[tuple[float, float]]:
    """Return the frequencies of a channel's tones in the order to remove them, and the limit of background for each.

    Samples must not be left out for the tone that they carry: the limit is widened by what the darks say
    of the amplitudes. Where that is much, a second round with the tighter limit mends what light has spoilt.
    """
    loud = float(tones[:, 1].sum()) if len(tones) else 0.0
    rounds = (limit + loud, limit) if loud > LOUD_SHARE * limit else (limit + loud,)
    return [(float(frequency), reach) for reach in rounds for frequency in tones[:, 0]]


def background_means(sequences: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """Return the mean ``(…, rows, channels)`` of each row's background samples; 0 where there are none."""
    overscan = np.isin(np.arange(N_SLOTS), OVERSCAN_SLOTS)
    with np.errstate(invalid="ignore"):
        usable = np.abs(sequences) < limit
        lit = ((sequences >= limit) & ~overscan).sum(axis=-1) > MOST_LIT
    usable &= overscan | ~lit[..., None]
    totals = np.where(usable, sequences, np.float32(0)).sum(axis=-1)
    return np.asarray(totals / np.maximum(usable.sum(axis=-1), 1), dtype=np.float32)


def drift_of(means: NDArray[np.float32], n_terms: int) -> NDArray[np.float32]:
    """Return the first `n_terms` cosines over the rows in ``(…, rows, channels)``."""
    n_rows = means.shape[-2]
    cosines = drift_cosines(n_rows, n_terms)
    return np.asarray(cosines @ (np.float32(2 / n_rows) * (cosines.T @ means)), dtype=np.float32)


def drift_cosines(n_rows: int, n_terms: int) -> NDArray[np.float32]:
    """Return the cosines ``(rows, terms)`` that the drift is made of."""
    terms = np.arange(1, n_terms + 1)
    return np.asarray(np.cos(np.pi * terms * (np.arange(n_rows)[:, None] + 0.5) / n_rows), dtype=np.float32)


def tone_of(samples: NDArray[np.float32], limit: float, frequency: float) -> NDArray[np.float32]:
    """Return the tone of `frequency` (periods per sequence) in the samples of less magnitude than `limit`."""
    with np.errstate(invalid="ignore"):
        kept = np.abs(samples) < limit
    if kept.mean() <= MIN_SHARE:
        return np.zeros_like(samples)
    cosine, sine = tone_tables(frequency, len(samples))
    samples = np.where(kept, samples, np.float32(0))
    scale = 2 / kept.sum()
    return (scale * ((samples @ cosine) * cosine + (samples @ sine) * sine)).astype(np.float32)


def tone_tables(frequency: float, n_samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cosine and sine of a tone of `frequency` periods over `n_samples`."""
    phase = 2 * np.pi * frequency * np.arange(n_samples) / n_samples
    return np.cos(phase), np.sin(phase)
