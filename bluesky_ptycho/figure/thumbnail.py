"""A small picture of an object."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.image import imsave
from numpy.typing import NDArray

from ..frames import Snapshot
from ..geometry import DISPLAY_ORIGIN
from . import display

LONGEST_PX = 160


def phase_thumbnail(snapshot: Snapshot) -> bytes:
    """Return a PNG of the object's phase over the scanned field, at most :data:`LONGEST_PX` wide and high."""
    box = display.scanned_box(snapshot)
    image = display.without_phase_ramp(snapshot.object, box)[box]
    factor = max(1, math.ceil(max(image.shape) / LONGEST_PX))
    if factor > 1:
        parts = [display.averaged(part, np.isfinite(part), factor) for part in (image.real, image.imag)]
        image = np.nan_to_num(parts[0] + 1j * parts[1])
    beginning, _ = display.phase_arc(image)
    phase: NDArray[np.floating[Any]] = display.phase_from(image, beginning)
    low, high = display.limits(phase)
    if max(phase.shape) < LONGEST_PX // 2:  # few pixels are shown as squares
        phase = np.kron(phase, np.ones((LONGEST_PX // max(phase.shape),) * 2))
    content = io.BytesIO()
    imsave(content, phase, cmap=colormaps["gray"], vmin=low, vmax=high, origin=DISPLAY_ORIGIN, format="png")
    return content.getvalue()
