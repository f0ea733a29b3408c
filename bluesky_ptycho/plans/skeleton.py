"""The frame of every ptychography scan: check, stage, darks, points, and a safe end."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray

from .. import terminal
from ..errors import PreflightError, SettingsError
from ..frames import Acquisition
from ..paths import ScanPaths
from ..preprocess import output_geometry
from ..preprocess.layouts import check_gain
from ..scan_plan import MAX_DARK_AGE_S, START_KEY, Axis, ScanPlan
from .arguments import check_count, check_devices, check_metadata, check_number, numbers
from .beamline import Shutter, axes_of, check_limits, energy_and_distance, where
from .darks import dark_acquisition, dark_records, take_darks
from .preflight import Resources, check, check_strictness

logger = logging.getLogger(__name__)

LONGEST_EXPOSURE_S = 86400.0
"""Nobody exposes a frame for a day: a longer time is in another unit, and the scan would not come back."""


@dataclass(frozen=True)
class Request:
    """What the user asked for, common to all scans.

    Parameters
    ----------
    fccd, y, x : device
        Detector, slow and fast axis.
    exposure : float or sequence of float
        Exposure times in s of the frames of one point.
    darks : int
        Dark points to take unless young enough ones exist.
    max_dark_age : float
        In s.
    sample_name : str
    shutter : device or None
        The detector's own unless given.
    preflight : {"normal", "strict", "force"}
    md : mapping or None
        Metadata of the user.
    plan_name : str
    arguments : mapping
        What else the plan was given, as JSON can hold it.
    trajectory : str
    """

    fccd: Any
    y: Any
    x: Any
    exposure: float | Sequence[float]
    darks: int = 10
    max_dark_age: float = MAX_DARK_AGE_S
    sample_name: str = "sample"
    shutter: Any = None
    preflight: str = "normal"
    md: Mapping[str, Any] | None = None
    plan_name: str = "ptycho_scan"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    trajectory: str = "list"


@dataclass(frozen=True)
class Scan:
    """A request worked out at the beamline: everything that is fixed before the first frame.

    `positions` ``(n, 2)`` and `start` are ``(y, x)`` in the motors' own units; `plan` has them in m.
    """

    request: Request
    axes: Mapping[str, Axis]
    start: tuple[float, float]
    positions: NDArray[np.float64]
    plan: ScanPlan
    shutter: Shutter | None

    def acquisition(self, stream: str | None) -> Acquisition:
        """Return what to prepare the detector with for the points of the scan."""
        plan = self.plan
        return Acquisition(stream, plan.n_points, plan.exposures_s, self.positions, self.request.sample_name)


def measure(
    request: Request, points: NDArray[np.float64], relative: bool, take_points: Callable[[Scan], MsgGenerator[None]]
) -> MsgGenerator[str]:
    """Run a scan; `take_points` measures the points within the open run.

    Whatever happens (an exception, abort, stop), the shutter is closed, the stage goes back and
    the devices are unstaged; each even if the one before failed. Only after a halt no plan can do
    anything any more: the RunEngine itself unstages the devices then.

    Parameters
    ----------
    request : Request
    points : ndarray (n, 2) float64
        Positions ``(y, x)`` in the motors' units.
    relative : bool
        Whether they count from where the stage is.
    take_points : callable
        ``take_points(scan)`` is a plan.

    Returns
    -------
    str
        Uid of the run.
    """
    check_strictness(request.preflight)
    scan = yield from work_out(request, points, relative)
    check_gain(scan.plan)
    report = check(scan.plan, output_geometry(scan.plan), resources_of(request.fccd, scan.plan))
    announce(f"{request.plan_name} {request.sample_name!r}: {report}")
    report.enforce(request.preflight)

    def back() -> MsgGenerator[None]:
        yield from bps.mv(request.y, scan.start[0], request.x, scan.start[1])

    def close() -> MsgGenerator[None]:
        if scan.shutter is not None:
            yield from scan.shutter.close()

    inner = bpp.finalize_wrapper(bpp.finalize_wrapper(_run(scan, take_points), close), back)
    return (yield from bpp.stage_wrapper(inner, [request.fccd, request.y, request.x]))


def _run(scan: Scan, take_points: Callable[[Scan], MsgGenerator[None]]) -> MsgGenerator[str]:
    """Rehearse, then take darks and points in one run."""
    request, plan = scan.request, scan.plan
    if scan.shutter is not None:
        yield from scan.shutter.close()
    if plan.n_darks:
        yield from bps.prepare(request.fccd, dark_acquisition(plan, None, request.sample_name), wait=True)
    yield from bps.prepare(request.fccd, scan.acquisition(None), wait=True)
    yield from bps.checkpoint()
    uid = yield from bps.open_run(start_metadata(scan))
    # A rewind must reach back neither across the opening of a run nor across its end.
    yield from bps.checkpoint()
    provider = getattr(request.fccd, "provider", None)
    if isinstance(provider, ScanPaths):
        announce(f"scan {str(uid)[:8]}: frames go to {provider.stem(request.sample_name)}_*.h5")

    def inside() -> MsgGenerator[None]:
        if plan.n_darks and scan.shutter is not None:
            yield from take_darks(request.fccd, scan.shutter, plan, request.sample_name)
            dark_records(request.fccd).remember(plan, uid)
        yield from take_points(scan)
        yield from bps.checkpoint()

    def failed(error: Exception) -> MsgGenerator[None]:
        yield from bps.close_run(exit_status=getattr(error, "exit_status", "fail"), reason=str(error))

    yield from bpp.contingency_wrapper(inside(), except_plan=failed, else_plan=bps.close_run)
    yield from bps.checkpoint()
    return str(uid)


def work_out(request: Request, points: NDArray[np.float64], relative: bool) -> MsgGenerator[Scan]:
    """Read the beamline and turn a request into a scan.

    Raises
    ------
    MetadataError, SettingsError, PreflightError
        If units, configuration, exposures, darks or positions cannot be used.
    """
    for name in ("fccd", "y", "x", "shutter"):
        if isinstance(device := getattr(request, name), str):  # a queue item with a name that nobody knows
            raise SettingsError(f"{name} is {device!r}; expected a device, and no device has that name")
    fccd = request.fccd
    check_devices(fccd, request.y, request.x)
    check_count("darks", request.darks)
    check_number("max_dark_age", request.max_dark_age)
    check_metadata(request.sample_name, request.md)
    exposures_s = exposures_of(request.exposure)
    axes = axes_of(request.y, request.x)
    start_y = yield from where(request.y)
    start_x = yield from where(request.x)
    start = (start_y, start_x)
    positions = np.asarray(points, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2 or not len(positions) or not np.isfinite(positions).all():
        raise SettingsError(f"positions have shape {positions.shape}; expected (n, 2) finite numbers (y, x), n > 0")
    positions = positions + np.asarray(start) if relative else positions
    for motor, column, axis in zip((request.y, request.x), positions.T, axes.values(), strict=True):
        check_limits(motor, column, axis.units)
    energy_ev, distance_m = energy_and_distance(fccd)
    shutter = Shutter.of(request.shutter if request.shutter is not None else getattr(fccd, "shutter", None))
    if request.darks and shutter is None:
        raise PreflightError(f"darks is {request.darks} without a shutter; expected a shutter, or darks=0")
    common: dict[str, Any] = {
        "energy_ev": energy_ev,
        "distance_m": distance_m,
        "detector": fccd.info(),
        "axes": axes,
        "trajectory": request.trajectory,
        "exposures_s": exposures_s,
        "illumination": getattr(fccd, "illumination", None),
        "max_dark_age_s": float(request.max_dark_age),
    }
    metres = positions * axes["y"].metres
    plan = ScanPlan.from_positions(metres, n_darks=request.darks, **common)
    dark_uid = dark_records(fccd).find(plan, request.max_dark_age) if request.darks else None
    if dark_uid is not None:
        plan = ScanPlan.from_positions(metres, n_darks=0, dark_uid=dark_uid, **common)
    return Scan(request, axes, start, positions, plan, shutter)


def exposures_of(exposure: float | Sequence[float]) -> tuple[float, ...]:
    """Return the exposure times of a point in s.

    Raises
    ------
    SettingsError
        If there is none, or one is not a positive number, or longer than a day.
    """
    expected = f"positive numbers of seconds, {LONGEST_EXPOSURE_S:.0f} at most"
    found = np.atleast_1d(numbers("exposure", exposure, expected))
    times = tuple(found.ravel().tolist())
    if found.ndim != 1 or not times or not all(0 < t <= LONGEST_EXPOSURE_S for t in times):
        raise SettingsError(f"exposure is {exposure!r}; expected {expected}")
    return times


def resources_of(fccd: Any, plan: ScanPlan) -> Resources:
    """Return what disk, memory and detector allow."""
    assert plan.detector is not None
    period = getattr(fccd, "frame_period", 0.0)
    directory, disk_free = "", None
    provider = getattr(fccd, "provider", None)
    if isinstance(provider, ScanPaths):
        directory = str(provider.directory())
        disk_free = shutil.disk_usage(_existing(provider.directory())).free
    return Resources(
        bytes_per_frame=getattr(fccd, "bytes_per_frame", 2 * plan.detector.shape[0] * plan.detector.shape[1]),
        seconds_per_point=sum(max(period, exposure) for exposure in plan.exposures_s),
        disk_free=disk_free,
        memory_free=memory_free(),
        directory=directory,
    )


def memory_free() -> int | None:
    """Return the bytes of memory that a program could still get; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def _existing(directory: Path) -> Path:
    return next(p for p in (directory, *directory.parents) if p.exists())


def start_metadata(scan: Scan) -> dict[str, Any]:
    """Return the metadata of the start document; the user's own may replace all but the scan plan."""
    request, plan = scan.request, scan.plan
    hints = {"dimensions": [([axis.key], plan.frames_stream) for axis in scan.axes.values()]}
    return {
        "plan_name": request.plan_name,
        "plan_args": {
            **{name: getattr(request, name).name for name in ("fccd", "y", "x")},
            **request.arguments,
            **{name: getattr(request, name) for name in ("exposure", "trajectory", "darks", "max_dark_age")},
        },
        "sample_name": request.sample_name,
        "detectors": [request.fccd.name],
        "motors": [request.y.name, request.x.name],
        "num_points": plan.n_points,
        "hints": hints,
        **(request.md or {}),
        START_KEY: plan.to_start(),
    }


def announce(text: str) -> None:
    """Tell the user at the terminal, and whoever keeps the log."""
    logger.info(text)
    terminal.announce(text)
