"""cdtools: Adam with the learning rate lowered in steps, by automatic differentiation in torch.

``Adam`` shifts the probe by fractions of a pixel (FancyPtycho; positions, weights and background are known and stay as
they are), ``Adam, whole pixels`` does not (SimplePtycho). The steps are shares of the passes to be made, so that every
number of passes is a run of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..workloads import Workload

DISTRIBUTION = "cdtools-py"
DISTANCE_M = 0.1
ANNEALED = True
ANNEALING = ((0.5, 0.02, 10), (0.25, 0.005, 20), (0.25, 0.001, 50))
"""Share of the passes, learning rate, frames per update: of three such plans the best on the workload "small"."""


class _CDTools:
    """A model of cdtools on a workload."""

    def __init__(self, model: str, work: Workload, total: int) -> None:
        import torch
        from cdtools import models
        from cdtools.datasets import Ptycho2DDataset
        from cdtools.reconstructors import AdamReconstructor

        torch.manual_seed(0)
        n = work.I.shape[-1]
        pitch = work.wl * DISTANCE_M / (n * work.dx)
        axes = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        geometry = {"distance": DISTANCE_M, "basis": axes * pitch, "corner": np.zeros(3)}
        dataset = Ptycho2DDataset(
            torch.as_tensor(work.pos * work.dx @ axes.T, dtype=torch.float32),
            torch.as_tensor(work.I.astype(np.float32)),
            wavelength=torch.tensor(work.wl, dtype=torch.float32),
            detector_geometry={name: torch.as_tensor(value, dtype=torch.float32) for name, value in geometry.items()},
        )
        fancy = model == "FancyPtycho"
        self._padding = 16 if fancy else 0
        options: dict[str, Any] = {"obj_padding": self._padding} if fancy else {}
        self._model = getattr(models, model).from_dataset(dataset, **options)
        for known in ("weights", "translation_offsets", "background") if fancy else ():
            getattr(self._model, known).requires_grad = False
        probe = torch.as_tensor(work.probe0)
        self._model.probe_norm.copy_(probe.abs().max())
        self._model.probe.data = (probe / probe.abs().max()).reshape(self._model.probe.shape)
        self._model.obj.data = torch.ones_like(self._model.obj.data)
        self._adam = AdamReconstructor(self._model, dataset)
        self._corner = work.pos.min(axis=0)
        self._plan = _plan(total)

    def step(self, n: int) -> None:
        """Make the next `n` passes of the plan; those beyond it at the last learning rate."""
        for _ in range(n):
            rate, batch = self._plan.pop(0) if len(self._plan) > 1 else self._plan[0]
            for _ in self._adam.optimize(1, lr=rate, batch_size=batch, thread=False):
                pass

    def object(self) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the object and the truth's pixel at its first."""
        image = np.squeeze(self._model.obj.detach().numpy())
        return image, (int(self._corner[0]) - self._padding, int(self._corner[1]) - self._padding)


def _plan(total: int) -> list[tuple[float, int]]:
    """Return learning rate and batch of each of `total` passes."""
    found: list[tuple[float, int]] = []
    done = 0.0
    for share, rate, batch in ANNEALING:
        done += share
        found += [(rate, batch)] * (round(done * total) - len(found))
    return found


def _engine(model: str) -> Any:
    return lambda work, total: _CDTools(model, work, total)


ENGINES = {"Adam": _engine("FancyPtycho"), "Adam, whole pixels": _engine("SimplePtycho")}
