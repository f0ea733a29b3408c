"""What the data leave open between probe and object: any factor that one takes and the other gives.

The solver lets it drift. What is shown and stored is brought to one level: the object lets the brightest frames through
as they are, so that the probe holds their photons, which are those of the open beam where the sample has a gap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .store import FrameStore

SHARE = 0.05
"""Of the frames, that count as brightest: one alone may have been a flash."""

MOST_FRAMES = 16

CANDIDATES = 64
"""Frames with the most photons, among which those are looked for under which the object lets most through: where the
beam's brightness changes, they need not be the same."""


def level_of(
    image: NDArray[np.complexfloating[Any, Any]],
    probe: NDArray[np.complexfloating[Any, Any]],
    frames: FrameStore,
    slots: NDArray[np.int64],
) -> float:
    """Return the amplitude of the object under the brightest frames, in the mean over the probe's light.

    Photons in pixels that are not valid, and fractions of a pixel, are left to the model.

    Parameters
    ----------
    image : (rows, cols) complex
        The object's transmission, on the host.
    probe : (m, ny, nx) complex
    frames : FrameStore
    slots : (n,) int64
        Frames that hold light.

    Returns
    -------
    float
        1 where nothing was measured.
    """
    light = np.sum(np.abs(probe) ** 2, axis=0, dtype=np.float64)
    photons = frames.photons[slots] / frames.gain[slots].astype(np.float64) ** 2
    candidates = slots[np.argsort(photons, kind="stable")[-CANDIDATES:]]
    ny, nx = light.shape
    passed = [np.vdot(light, np.abs(image[r : r + ny, c : c + nx]) ** 2) for r, c in frames.corners[candidates]]
    brightest = np.sort(passed)[-min(MOST_FRAMES, max(1, round(SHARE * len(slots)))) :]
    power = float(light.sum())
    level = float(np.sqrt(brightest.mean() / power)) if len(brightest) and power > 0 else 1.0
    return level if np.isfinite(level) and level > 0 else 1.0
