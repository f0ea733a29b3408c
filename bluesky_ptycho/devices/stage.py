"""The sample stage: two positioners whose encoders have noise and which take time to settle."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from ophyd import Component, Device, Signal
from ophyd.status import MoveStatus
from ophyd.utils import LimitError

from ..errors import SettingsError
from ..geometry import metres_per_unit
from .physics import AxisName, StagePhysics


class Encoder(Signal):
    """The readback of an axis: each reading is a new sample of the encoder."""

    parent: StageAxis

    def get(self, **kwargs: Any) -> float:
        """Sample the encoder, in the axis' units."""
        self._readback = self.parent.sample()
        return float(self._readback)

    @property
    def timestamp(self) -> float:
        """Time of the sample, which is now."""
        return time.time()

    def describe(self) -> dict[str, Any]:
        """Describe the readback with the axis' units and limits."""
        described = super().describe()
        low, high = self.parent.limits
        described[self.name].update(
            units=self.parent.egu,
            precision=5,
            lower_ctrl_limit=float(low),
            upper_ctrl_limit=float(high),
            source=f"SIM:{self.name}",
            dtype_numpy="<f8",
        )
        return described


@dataclass(frozen=True)
class Motion:
    """How the axes of a stage move.

    Parameters
    ----------
    physics : StagePhysics
        The stage as the sample sees it.
    egu : str
        Unit of all values, a unit of length.
    limits : tuple of float
        Soft limits in `egu`.
    settle_time_s : float
        Time a move takes.
    """

    physics: StagePhysics
    egu: str = "um"
    limits: tuple[float, float] = (-500.0, 500.0)
    settle_time_s: float = 0.01


class StageAxis(Device):
    """A positioner.

    Parameters
    ----------
    axis : {"y", "x"}
        Which axis of the physics it moves.
    name : str
        Name of the device and of its readback.
    motion : Motion, optional
        That of the parent stage unless given.
    """

    readback = Component(Encoder, value=0.0, kind="hinted")

    SUB_READBACK = "readback"
    _default_sub = SUB_READBACK

    def __init__(
        self,
        prefix: str = "",
        *,
        axis: AxisName,
        name: str,
        motion: Motion | None = None,
        parent: Stage | None = None,
        **kwargs: Any,
    ) -> None:
        motion = motion or (parent.motion if parent is not None else None)
        if motion is None:
            raise SettingsError(f"{name} has neither motion nor a parent stage that has")
        self.axis = axis
        self.egu = motion.egu
        self.limits = motion.limits
        self.settle_time_s = motion.settle_time_s
        self._metres = metres_per_unit(motion.egu, name)
        self._physics = motion.physics
        self._setpoint = 0.0
        self._move_lock = threading.Lock()
        self._pending: tuple[threading.Timer, MoveStatus] | None = None
        super().__init__(prefix, name=name, parent=parent, **kwargs)
        self.readback.name = self.name
        self._physics.move(axis, 0.0)

    def sample(self) -> float:
        """Return one reading of the encoder, in the axis' units."""
        return float(self._physics.readback_m(self.axis)) / self._metres

    @property
    def position(self) -> float:
        """One reading of the encoder."""
        return self.sample()

    def locate(self) -> dict[str, float]:
        """Return setpoint and readback."""
        return {"setpoint": self._setpoint, "readback": self.sample()}

    def check_value(self, value: float) -> None:
        """Refuse positions beyond the soft limits (:class:`ophyd.utils.LimitError`) and non-numbers."""
        low, high = self.limits
        if not isinstance(value, (int, float)) and not hasattr(value, "__float__"):
            raise SettingsError(f"{self.name} was set to {value!r}; expected a number in {self.egu}")
        if not low <= float(value) <= high:
            raise LimitError(f"{self.name} was set to {value} {self.egu}; limits are {low} to {high} {self.egu}")

    def set(self, value: float) -> MoveStatus:
        """Move to `value`; the status finishes once the stage has settled.

        Raises
        ------
        LimitError
            If `value` is beyond the soft limits.
        """
        self.check_value(value)
        target = float(value)
        status = MoveStatus(self, target, timeout=None)
        self._finish_pending(success=True)  # a new target replaces the old one
        if self.settle_time_s <= 0:
            self._arrive(target)
            status.set_finished()
            return status
        timer = threading.Timer(self.settle_time_s, self._settled, (target, status))
        timer.daemon = True
        with self._move_lock:
            self._pending = (timer, status)
        self._arrive(target)
        timer.start()
        return status

    def sweep(self, value: float) -> None:
        """Pass through `value` without settling (flight)."""
        self._arrive(value)

    def stop(self, *, success: bool = False) -> None:
        """End a move where the stage is."""
        self._finish_pending(success=success)

    def _arrive(self, target: float) -> None:
        self._setpoint = target
        self._physics.move(self.axis, target * self._metres)

    def _settled(self, target: float, status: MoveStatus) -> None:
        with self._move_lock:
            if self._pending is None or self._pending[1] is not status:
                return
            self._pending = None
        self._run_subs(sub_type=self.SUB_READBACK, value=self.sample())
        status.set_finished()

    def _finish_pending(self, success: bool) -> None:
        with self._move_lock:
            pending, self._pending = self._pending, None
        if pending is None:
            return
        timer, status = pending
        timer.cancel()
        if success:
            status.set_finished()
        else:
            status.set_exception(RuntimeError(f"{self.name} was stopped before it settled"))

    @property
    def hints(self) -> dict[str, Any]:
        """The readback is what plots show."""
        return {"fields": [self.name]}


class Stage(Device):
    """Two axes, ``stage.y`` and ``stage.x``, in µm unless `motion` tells another unit; rows of the object follow y.

    Parameters
    ----------
    motion : Motion
        How both axes move.
    """

    y = Component(StageAxis, axis="y", kind="hinted")
    x = Component(StageAxis, axis="x", kind="hinted")

    def __init__(self, motion: Motion, *, name: str = "stage", **kwargs: Any) -> None:
        self.motion = motion
        super().__init__("", name=name, **kwargs)
