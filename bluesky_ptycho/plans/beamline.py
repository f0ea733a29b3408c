"""What a scan asks of detector, motors and shutter, read in one place."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.protocols import Locatable
from bluesky.utils import Msg, MsgGenerator
from numpy.typing import NDArray

from ..errors import MetadataError, PreflightError
from ..geometry import check_energy
from ..given import check_can
from ..scan_plan import Axis, DetectorInfo, Illumination


class PtychoDetector(Protocol):
    """What plans ask of a detector, besides that it can be read, triggered and prepared.

    ``prepare`` takes a :class:`~bluesky_ptycho.frames.Acquisition`. The configuration holds
    ``{name}_energy`` in eV and ``{name}_distance`` in m. `provider` names the files; where it is
    a :class:`~bluesky_ptycho.paths.ScanPaths`, plans tell where the frames go and whether they fit.
    Only `name`, `info` and the configuration must be there; what else is missing is not checked.
    """

    name: str
    illumination: Illumination | None
    shutter: Any
    provider: Any
    frame_period: float
    bytes_per_frame: int

    def info(self) -> DetectorInfo:
        """Describe the frames."""


@dataclass(frozen=True)
class Shutter:
    """A shutter and the values that open and close it.

    A device may name its own values in ``open_str`` and ``close_str``, as two-button shutters do.
    """

    device: Any
    open_value: Any = "open"
    closed_value: Any = "closed"

    @classmethod
    def of(cls, device: Any) -> Shutter | None:
        """Wrap `device`; None stays None."""
        if device is None:
            return None
        check_can("shutter", device, ["set", "read"], "a device that can be set, or None")
        return cls(device, getattr(device, "open_str", "open"), getattr(device, "close_str", "closed"))

    def open(self) -> MsgGenerator[None]:
        """Open it and wait."""
        yield from bps.mv(self.device, self.open_value)

    def close(self) -> MsgGenerator[None]:
        """Close it and wait."""
        yield from bps.mv(self.device, self.closed_value)


def axis_of(motor: Any) -> Axis:
    """Return the key of a motor's readback and its unit.

    Raises
    ------
    MetadataError
        If the motor tells no unit, or one that is not a length.
    """
    described = motor.describe()
    hinted = [field for field in getattr(motor, "hints", {}).get("fields", []) if field in described]
    key = hinted[0] if hinted else next(iter(described))
    axis = Axis(key, described[key].get("units") or getattr(motor, "egu", ""))
    _ = axis.metres
    return axis


def axes_of(y: Any, x: Any) -> dict[str, Axis]:
    """Return both axes of a stage.

    Raises
    ------
    MetadataError
        If their units are missing or differ.
    """
    axes = {"y": axis_of(y), "x": axis_of(x)}
    if axes["y"].metres != axes["x"].metres:
        found = " and ".join(f"{axis.key} in {axis.units!r}" for axis in axes.values())
        raise MetadataError(f"the axes of the scan differ in their units: {found}; expected one unit for both")
    return axes


def where(motor: Any) -> MsgGenerator[float]:
    """Plan that returns where a motor was sent, or else where it is.

    The set point is preferred: going back to a noisy readback would make the stage drift from scan to scan.
    """
    if isinstance(motor, Locatable):
        location: Any = yield Msg("locate", motor)
        setpoint = float(location["setpoint"])
        if math.isfinite(setpoint):
            return setpoint
    position = motor.position if hasattr(motor, "position") else (yield from bps.rd(motor))
    return float(position)


def check_limits(motor: Any, values: NDArray[np.float64], units: str) -> None:
    """Refuse positions that a motor cannot reach.

    Raises
    ------
    PreflightError
        If the motor has limits and a position lies beyond them.
    """
    limits: Sequence[float] | None = getattr(motor, "limits", None)
    if limits is None or not limits[0] < limits[1]:  # equal limits mean none in EPICS
        return
    low, high = float(np.min(values)), float(np.max(values))
    if low < limits[0] or high > limits[1]:
        raise PreflightError(
            f"{motor.name} would go from {low:.6g} to {high:.6g} {units}; "
            f"expected within its limits {limits[0]:.6g} to {limits[1]:.6g} {units}"
        )


def energy_and_distance(fccd: Any) -> tuple[float, float]:
    """Return photon energy in eV and sample-detector distance in m from a detector's configuration.

    Raises
    ------
    MetadataError
        If the configuration lacks one of them, or it cannot be one.
    """
    configuration = fccd.read_configuration()
    values = []
    for suffix in ("energy", "distance"):
        key = f"{fccd.name}_{suffix}"
        if key not in configuration:
            raise MetadataError(f"configuration of {fccd.name} has no {key}; expected it for the scan's metadata")
        value = configuration[key]["value"]
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
            raise MetadataError(f"{key} is {reprlib.repr(value)}; expected a positive number")
        values.append(float(value))
    check_energy(f"{fccd.name}_energy", values[0])
    return values[0], values[1]
