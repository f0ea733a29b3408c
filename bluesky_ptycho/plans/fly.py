"""Fly scans: the stage moves on while the camera takes frames at its own rate."""

# No "from __future__ import annotations": the queueserver evaluates the annotations of plans.
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable, Readable
from bluesky.utils import MsgGenerator

from ..keywords import checks_arguments
from .arguments import check_field
from .skeleton import Request, Scan, measure
from .trajectories import offsets

COLLECT_PERIOD_S = 0.25
"""Time between two chunks of documents: what a live callback lags behind at most."""


@checks_arguments
def ptycho_fly_scan(
    fccd: Readable,
    y: Movable,
    x: Movable,
    *,
    width: float,
    height: float,
    step: float,
    exposure: float | list[float],
    trajectory: str = "snake",
    jitter: float | None = None,
    seed: int = 0,
    darks: int = 10,
    max_dark_age: float = 1800.0,
    sample_name: str = "sample",
    shutter: Movable | None = None,
    preflight: str = "normal",
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Ptychography fly scan: like :func:`ptycho_scan`, at the rate of exposure and camera.

    Frames and positions come in chunks while the stage flies, one event page and one
    ``stream_datum`` for each. A pause holds the flight after the current point.

    Parameters
    ----------
    fccd : device
        Also has ``flyer(y, x)``, which gives what is kicked off.
    y, x, width, height, step, exposure, trajectory, jitter, seed
        As for :func:`ptycho_scan`.
    darks, max_dark_age, sample_name, shutter, preflight, md
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
    check_field(width=width, height=height, step=step, jitter=jitter, seed=seed)
    points = offsets(trajectory, width, height, step, jitter=jitter, seed=seed)
    arguments = {"width": width, "height": height, "step": step, "jitter": jitter, "seed": seed}
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
        plan_name="ptycho_fly_scan",
        arguments=arguments,
        trajectory=trajectory,
    )
    return (yield from measure(request, points, True, fly_through))


def fly_through(scan: Scan) -> MsgGenerator[None]:
    """Fly over the points and collect while flying; after a failure or abort, what was taken until then."""
    request, stream = scan.request, scan.plan.frames_stream
    flyer = request.fccd.flyer(request.y, request.x)
    yield from bps.prepare(flyer, scan.acquisition(stream), wait=True)
    yield from bps.declare_stream(flyer, name=stream, collect=True)
    yield from bps.checkpoint()
    yield from bps.mv(request.y, scan.positions[0, 0], request.x, scan.positions[0, 1])
    if scan.shutter is not None:
        yield from scan.shutter.open()
    yield from bps.checkpoint()

    def rescue(_: Exception) -> MsgGenerator[None]:
        yield from bps.stop(flyer)
        yield from bps.collect(flyer, name=stream, return_payload=False)

    yield from bpp.contingency_wrapper(_fly_and_collect(flyer, stream), except_plan=rescue)


def _fly_and_collect(flyer: Any, stream: str) -> MsgGenerator[None]:
    yield from bps.kickoff(flyer, wait=True)
    # The status itself tells when the flight is over: after a pause a repeated "wait" no longer knows its group.
    status = yield from bps.complete(flyer, wait=False)
    yield from bps.checkpoint()
    while True:
        finished = status is None or status.done
        yield from bps.collect(flyer, name=stream, return_payload=False)
        yield from bps.checkpoint()
        if finished:
            return
        yield from bps.sleep(COLLECT_PERIOD_S)
