"""What simulated devices need of the world: the only thing that ties them to a simulation.

Devices never import a simulation. They are handed an object with these methods, so that
stage, shutter and camera share one sample, one beam and one clock.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

AxisName = Literal["y", "x"]


class StagePhysics(Protocol):
    """The sample stage as the sample sees it; lengths in m."""

    def move(self, axis: AxisName, setpoint_m: float) -> None:
        """Bring an axis to a setpoint; where it truly comes to rest is the simulation's secret."""

    def readback_m(self, axis: AxisName) -> float:
        """Return one reading of the axis' encoder."""


class ShutterPhysics(Protocol):
    """The beam shutter."""

    def set_shutter(self, is_open: bool) -> None:
        """Let the beam pass or block it."""


class CameraPhysics(Protocol):
    """What the camera records."""

    def expose(self, exposure_s: float, out: NDArray[np.uint16]) -> None:
        """Write the raw frame ``(H, W)`` that is taken now, wherever the stage is, into `out`."""

    def rehearse(
        self,
        positions_m: NDArray[np.float64] | None,
        n_events: int,
        exposures_s: tuple[float, ...],
        cancelled: Callable[[], bool],
    ) -> None:
        """Compute the frames of coming events ahead, so that `expose` only has to play them.

        `positions_m` ``(n_events, 2)`` are setpoints ``(y, x)``; None means shutter closed.
        Returns early once `cancelled` says so.
        """

    def rehearsal_space(self) -> Path:
        """Return the directory that rehearsed frames go to."""

    def forget(self) -> None:
        """Drop all rehearsed frames and the space they take."""
