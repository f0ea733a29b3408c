"""A solver that outlives its device: when memory runs out there, it goes on in the host's, with all its frames."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from ..backend import Backend
from ..geometry import Geometry
from ..scan_plan import ScanPlan
from .settings import SolverSettings
from .solver import IncrementalSolver
from .state import move_to


class FallbackSolver:
    """An :class:`IncrementalSolver`, with all that one has, which is replaced by one on the CPU on a MemoryError.

    The device's own engine has halved its batches by then (`device_engine`). What was being done is done again.

    Parameters
    ----------
    plan, geometry, settings, backend, **options
        As :class:`IncrementalSolver` takes them.
    note : callable
        Takes a message for the user.
    """

    def __init__(
        self,
        plan: ScanPlan,
        geometry: Geometry,
        settings: SolverSettings,
        backend: str | Backend,
        note: Callable[[str], None],
        **options: Any,
    ) -> None:
        self._make = partial(IncrementalSolver, plan, geometry, settings, **options)
        self._note = note
        self._calls_to_repeat: list[str] = []
        try:
            self._solver = self._make(backend=backend)
        except MemoryError:
            self._note("the device has too little memory for this scan: it is reconstructed on the CPU")
            self._solver = self._make(backend="numpy")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._solver, name)
        return self._guarded(name) if callable(value) else value

    def _guarded(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in ("complete", "warm_up"):
                self._calls_to_repeat.append(name)
            try:
                return getattr(self._solver, name)(*args, **kwargs)
            except MemoryError:
                if self._solver.backend.name == "numpy":
                    raise
            self._move()
            return getattr(self._solver, name)(*args, **kwargs)

        return call

    def _move(self) -> None:
        """Take frames and state to the CPU; the state is begun anew where it cannot be had any more."""
        old, new = self._solver, self._make(backend="numpy")
        frames = copy.copy(old._state.frames)
        to_host = frames.backend.to_host
        frames.backend, frames.counts = new.backend, to_host(frames.counts)
        frames.stored_weights = None if frames.stored_weights is None else to_host(frames.stored_weights)
        new._state.frames = frames
        new.change(old.settings)
        message = "the device ran out of memory: the reconstruction goes on, on the CPU"
        try:
            if old.iteration:
                new.restore(old.state())
            elif old.canvas != new.canvas:
                move_to(new._state, old.canvas)
        except Exception as error:
            message = f"the device ran out of memory ({error}): all frames are reconstructed anew on the CPU"
            if old.canvas != new.canvas:
                move_to(new._state, old.canvas)
        self._solver = new
        self._note(message)
        old.close()
        for name in dict.fromkeys(self._calls_to_repeat):
            getattr(new, name)()
