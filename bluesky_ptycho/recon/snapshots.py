"""What others see of a reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames import Snapshot
from ..geometry import Geometry
from .level import level_of
from .measure import coverage
from .refinements import refined
from .settings import SolverSettings
from .state import ReconState


def make_snapshot(
    state: ReconState, geometry: Geometry, settings: SolverSettings, *, residuals: NDArray[np.float64], **more: Any
) -> Snapshot:
    """Return copies, in host memory, of what `state` holds; `residuals` and `more` are fields of the snapshot.

    Probe and object are brought to the :mod:`level <bluesky_ptycho.recon.level>` of the brightest frames, unless the
    settings bound the object's amplitude.
    """
    frames, host = state.frames, state.backend.to_host
    image, probe, slots = host(state.transmission), host(state.probe), frames.slots(lit=True)
    level = np.float32(1.0 if settings.object_max_amplitude is not None else level_of(image, probe, frames, slots))
    return Snapshot(
        object=np.array(image / level),
        probe=np.array(probe * level),
        canvas=state.canvas,
        geometry=geometry,
        coverage=coverage(state, slots) * level**2,
        seq_nums=frames.seq_nums,
        positions_m=frames.used_positions_m(state.canvas),
        residuals=residuals,
        iteration=len(residuals),
        settings=settings.to_dict(),
        slices=np.array(host(state.object) / level ** np.float32(1 / settings.slices)) if settings.slices > 1 else None,
        **refined(state, settings),
        **more,
    )
