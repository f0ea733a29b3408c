"""pty-chi: rPIE, LSQML and DM, probes shifted by fractions of a pixel, torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..workloads import Workload

DISTRIBUTION = "ptychi"
ANNEALED = False
BATCH = 50
"""Frames per update of rPIE and LSQML."""
RPIE_STEPS = (0.3, 0.1)
"""Steps of object and probe; with the defaults, 1 both, rPIE diverges on the workload "small"."""


class _PtyChi:
    """A task of pty-chi on a workload, with its own defaults but for batch and steps."""

    def __init__(self, engine: str, work: Workload) -> None:
        from ptychi import api
        from ptychi.api.task import PtychographyTask

        n = work.I.shape[-1]
        options = {"rPIE": api.RPIEOptions, "LSQML": api.LSQMLOptions, "DM": api.DMOptions}[engine]()
        options.reconstructor_options.default_device = api.Devices.CPU
        options.reconstructor_options.batch_size = len(work.I) if engine == "DM" else BATCH
        if engine == "DM":
            options.reconstructor_options.chunk_length = BATCH
        options.reconstructor_options.random_seed = 0
        if engine == "rPIE":
            options.object_options.step_size, options.probe_options.step_size = RPIE_STEPS
        options.data_options.wavelength_m = work.wl
        options.object_options.pixel_size_m = options.probe_options.pixel_size_m = work.dx
        options.object_options.determine_position_origin_coords_by = "specified"
        options.object_options.position_origin_coords = [0.0, 0.0]
        middle = work.pos + (n - 1) / 2
        self._task = PtychographyTask(
            options,
            diffraction_data=work.I.astype(np.float32),
            object_data=np.ones((1, *work.obj.shape), np.complex64),
            probe_data=work.probe0[None, None] / n,  # its transform has no factor
            probe_position_y_px=middle[:, 0].astype(np.float32),
            probe_position_x_px=middle[:, 1].astype(np.float32),
        )

    def step(self, n: int) -> None:
        """Make `n` passes."""
        self._task.run(n)

    def object(self) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the object and the truth's pixel at its first."""
        return self._task.get_data_to_cpu("object", as_numpy=True)[0], (0, 0)


def _engine(name: str) -> Any:
    return lambda work, total: _PtyChi(name, work)


ENGINES = {name: _engine(name) for name in ("rPIE", "LSQML", "DM")}
