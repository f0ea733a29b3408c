"""What others see of a reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames import Snapshot
from ..geometry import Geometry
from .measure import coverage
from .refinements import refined
from .settings import SolverSettings
from .state import ReconState


def make_snapshot(
    state: ReconState, geometry: Geometry, settings: SolverSettings, *, residuals: NDArray[np.float64], **more: Any
) -> Snapshot:
    """Return copies, in host memory, of what `state` holds; `residuals` and `more` are fields of the snapshot."""
    frames, host = state.frames, state.backend.to_host
    return Snapshot(
        object=np.array(host(state.transmission)),
        probe=np.array(host(state.probe)),
        canvas=state.canvas,
        geometry=geometry,
        coverage=coverage(state, frames.slots(lit=True)),
        seq_nums=frames.seq_nums,
        positions_m=frames.used_positions_m(state.canvas),
        residuals=residuals,
        iteration=len(residuals),
        settings=settings.to_dict(),
        slices=np.array(host(state.object)) if settings.slices > 1 else None,
        **refined(state, settings),
        **more,
    )
