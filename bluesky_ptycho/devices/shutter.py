"""The beam shutter."""

from __future__ import annotations

from typing import Any

from ophyd import Component, Device, Signal
from ophyd.status import Status

from ..errors import SettingsError
from .physics import ShutterPhysics

STATES = ("open", "closed")


class Shutter(Device):
    """A shutter that is "open" or "closed"; ``bps.mv(shutter, "open")``.

    Parameters
    ----------
    physics : ShutterPhysics
        The beam.
    name : str
        Name of the device and of its reading.
    """

    state = Component(Signal, value="closed", kind="normal")

    def __init__(self, physics: ShutterPhysics, *, name: str = "shutter", **kwargs: Any) -> None:
        super().__init__("", name=name, **kwargs)
        self._physics = physics
        self.state.name = self.name
        self._physics.set_shutter(False)

    @property
    def is_open(self) -> bool:
        """Whether the beam passes."""
        return bool(self.state.get() == "open")

    def check_value(self, value: str) -> None:
        """Refuse anything but "open" and "closed" with a :class:`SettingsError`."""
        if value not in STATES:
            raise SettingsError(f"{self.name} was set to {value!r}; expected one of {', '.join(map(repr, STATES))}")

    def set(self, value: str) -> Status:
        """Open or close the shutter.

        Raises
        ------
        SettingsError
            If `value` is neither "open" nor "closed".
        """
        self.check_value(value)
        self._physics.set_shutter(value == "open")
        self.state.put(value)
        status = Status(obj=self)
        status.set_finished()
        return status
