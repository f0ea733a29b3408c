"""PtyLab: ePIE and mPIE, one frame after another, whole-pixel positions, NumPy's FFT."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..workloads import Workload

DISTRIBUTION = "ptylab"
ANNEALED = False
DISTANCE_M = 0.1
STEPS = {"ePIE": (1.0, 0.25), "mPIE": (0.25, 0.1)}
"""Steps of object and probe: of pairs from 0.1 to 1 the best on the workload "small", better than the defaults."""


class _PtyLab:
    """An engine of PtyLab on a workload, with its own defaults but for the steps."""

    def __init__(self, name: str, work: Workload) -> None:
        import PtyLab

        n = work.I.shape[-1]
        data = PtyLab.ExperimentalData("test:nodata")
        data.ptychogram = work.I.astype(np.float32)
        data.encoder = (work.pos - work.pos.mean(axis=0)) * work.dx
        data.wavelength, data.zo = work.wl, DISTANCE_M
        data.dxd = work.wl * DISTANCE_M / (n * work.dx)
        data._setData()
        params = PtyLab.Params()
        params.gpuSwitch = False
        params.fftshiftSwitch = True  # frames are shifted once, not every wave
        self._result = PtyLab.Reconstruction(data, params)
        self._result.initializeObjectProbe()
        self._result.object = np.ones_like(self._result.object, dtype=np.complex64)
        self._result.probe = work.probe0.reshape(self._result.probe.shape).astype(np.complex64)
        self._origin = work.pos[0] - self._result.positions[0]
        self._engine = getattr(PtyLab.Engines, name)(self._result, data, params, PtyLab.DummyMonitor())
        self._engine.betaObject, self._engine.betaProbe = STEPS[name]

    def step(self, n: int) -> None:
        """Make `n` passes."""
        self._engine.numIterations = n
        self._engine.reconstruct()

    def object(self) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the object and the truth's pixel at its first."""
        return np.squeeze(self._result.object), (int(self._origin[0]), int(self._origin[1]))


def _engine(name: str) -> Any:
    return lambda work, total: _PtyLab(name, work)


ENGINES = {name: _engine(name) for name in STEPS}
