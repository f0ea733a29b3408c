"""Step scans: move, settle, expose, one event for each point."""

# No "from __future__ import annotations": the queueserver evaluates the annotations of plans.
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator

from ..given import check_switches
from ..keywords import checks_arguments
from .arguments import centre_of, check_field, numbers
from .skeleton import Request, Scan, measure
from .trajectories import offsets


@checks_arguments
def ptycho_scan(
    fccd: Readable,
    y: Movable,
    x: Movable,
    *,
    width: float,
    height: float,
    step: float,
    exposure: float | list[float],
    centre: list[float] | None = None,
    trajectory: str = "spiral",
    jitter: float | None = None,
    seed: int = 0,
    darks: int = 10,
    max_dark_age: float = 1800.0,
    sample_name: str = "sample",
    shutter: Movable | None = None,
    preflight: str = "normal",
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Ptychography step scan over a field around where the stage is, or another place, and back at the end.

    Lengths are in the motors' own unit, which both must tell. Darks are taken first, with the
    shutter closed, in the stream "dark" of the same run, unless young enough ones of equal
    exposure, gain and shape are known; then the start document names their run. The shutter is
    closed at the end whatever happens; after ``RE.halt()`` no plan can do that.

    Parameters
    ----------
    fccd : device
        Detector with ``prepare`` and ``info`` (see `plans.beamline.PtychoDetector`).
    y, x : device
        Slow and fast axis of the stage; the simulated one counts in µm.
    width, height : float
        Field of view along x and y. `height` / `step` rows and `width` / `step` columns (rounded up)
        make the number of points, for every trajectory.
    step : float
        Distance of neighbours; spirals have one point for each step² on average.
    exposure : float or list of float
        Exposure time in s; with several, each point gets a frame for each.
    centre : list of float, optional
        Stage position ``[y, x]`` of the field's middle; where the stage is unless given.
    trajectory : str
        "spiral", "raster", "snake", "interlaced", "random".
    jitter : float, optional
        Random displacement of ± this fraction of the step; unless given 0 on spirals, 0.25 on grids.
    seed : int
        Of the random numbers; equal seeds give equal points.
    darks : int
        Dark points; 0 for none.
    max_dark_age : float
        Age in s up to which earlier darks serve; 0 to take them anew.
    sample_name : str
        Goes into the metadata and the file names.
    shutter : device, optional
        The detector's own unless given.
    preflight : str
        "normal" refuses what cannot work, "strict" whatever is worth a warning, "force" nothing.
    md : dict, optional
        More metadata.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PtychoError
        One clear line, before the shutter opens, if the scan cannot work.
    """
    check_field(width=width, height=height, step=step, jitter=jitter, seed=seed)
    points = offsets(trajectory, width, height, step, jitter=jitter, seed=seed)
    if centre is not None:
        points = points + centre_of(centre)
    arguments = {"width": width, "height": height, "step": step, "centre": centre, "jitter": jitter, "seed": seed}
    request = Request(
        fccd,
        y,
        x,
        exposure,
        darks=darks,
        max_dark_age=max_dark_age,
        sample_name=sample_name,
        shutter=shutter,
        preflight=preflight,
        md=md,
        plan_name="ptycho_scan",
        arguments=arguments,
        trajectory=trajectory,
    )
    return (yield from measure(request, points, centre is None, step_through))


@checks_arguments
def ptycho_list_scan(
    fccd: Readable,
    y: Movable,
    x: Movable,
    positions: list[list[float]],
    *,
    exposure: float | list[float],
    relative: bool = True,
    darks: int = 10,
    max_dark_age: float = 1800.0,
    sample_name: str = "sample",
    shutter: Movable | None = None,
    preflight: str = "normal",
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Ptychography step scan over an explicit list of positions, and back at the end; else like :func:`ptycho_scan`.

    Parameters
    ----------
    positions : list of [y, x]
        In the order of measurement, in the motors' own unit.
    relative : bool
        Whether `positions` count from where the stage is, or are absolute.
    fccd, y, x, exposure, darks, max_dark_age, sample_name, shutter, preflight, md
        As for :func:`ptycho_scan`.

    Returns
    -------
    str
        Uid of the run.

    Raises
    ------
    PtychoError
        One clear line, before the shutter opens, if the scan cannot work.
    """
    check_switches("ptycho_list_scan", relative=relative)
    points = numbers("positions", positions, "rows [y, x] of numbers")
    request = Request(
        fccd,
        y,
        x,
        exposure,
        darks=darks,
        max_dark_age=max_dark_age,
        sample_name=sample_name,
        shutter=shutter,
        preflight=preflight,
        md=md,
        plan_name="ptycho_list_scan",
        arguments={"relative": relative},
    )
    return (yield from measure(request, points, relative, step_through))


def step_through(scan: Scan) -> MsgGenerator[None]:
    """Measure the points one by one, with a checkpoint before each."""
    request = scan.request
    yield from bps.prepare(request.fccd, scan.acquisition(scan.plan.frames_stream), wait=True)
    for i, (y, x) in enumerate(scan.positions.tolist()):
        yield from bps.checkpoint()
        yield from bps.mv(request.y, y, request.x, x)
        if i == 0 and scan.shutter is not None:
            yield from scan.shutter.open()  # not before the stage is there: the sample is spared
        yield from bps.trigger_and_read([request.fccd, request.y, request.x], name=scan.plan.frames_stream)
