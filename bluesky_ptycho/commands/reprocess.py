"""The command ``bluesky-ptycho reprocess``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..errors import PtychoError
from ..terminal import ProgressLine, say
from .arguments import (
    RUN,
    LineParser,
    add_catalog,
    positive_whole,
    refuse_idle,
    scheduler_address,
    tell_default_catalog,
    whole,
)
from .set_option import read_set, with_options
from .settings_file import add_settings, settings_of

if TYPE_CHECKING:
    from ..reprocess import Job, ReconQueue

logger = logging.getLogger("bluesky_ptycho")

POLL_S = 0.2
CONNECT_TIMEOUT_S = 10


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    reprocess = commands.add_parser(
        "reprocess",
        help="reconstruct stored runs again with other settings",
        description="Reconstruct stored runs again, each with the settings of its first result but for what is "
        "changed. New results lie beside the old ones and tell in what they differ. Ctrl-C ends the run at work with "
        "what it has, and leaves out the others.",
    )
    add = reprocess.add_argument
    add(
        "uids",
        nargs="+",
        metavar="UID",
        help=f"{RUN}; settings change from a named reconstruction's",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting, as often as needed: --set solver.modes=3 --set preprocess.binning=2 --set passes=80; "
        "recon.NAME is the setting that the knob NAME turns, as recon.modes",
    )
    add_settings(reprocess)
    add(
        "--mask",
        metavar="FILE",
        help="mask of the raw image, .npy or HDF5 as FILE::DATASET, 0 where a pixel is bad; kept whole with the result",
    )
    add(
        "--priority",
        type=whole,
        metavar="N",
        help="of these runs where others wait for the same --scheduler; a larger one comes earlier (default: 0)",
    )
    add("--workers", type=positive_whole, metavar="N", help="runs at the same time (default: 1, or all of a cluster's)")
    add(
        "--scheduler",
        type=scheduler_address,
        metavar="HOST:PORT",
        help="Dask scheduler whose workers do it (default: this process)",
    )
    add("--across-proposals", action="store_true", help="take runs of several proposals at once")
    add_catalog(reprocess)
    reprocess.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Reconstruct the runs again; return the exit status."""
    from ..callbacks import LiveSettings
    from ..catalog import open_catalog, remember_catalog
    from ..reprocess import ReconQueue, State

    if options.scheduler is None:
        refuse_idle(options, ["priority"], "expected only with --scheduler: no other runs wait here")
    settings, changes = settings_of(options), live_changes(options.set)
    if options.mask is not None:
        from ..preprocess.mask import Mask

        changes = with_options({"preprocess.mask": Mask.from_file(options.mask)}, changes)
    (settings or LiveSettings()).with_changes(**changes)  # refused before anything is opened
    with ExitStack() as opened:
        catalog = opened.enter_context(open_catalog(options.catalog, create=False))
        client = None if options.scheduler is None else opened.enter_context(_connected(options.scheduler))
        queue = opened.enter_context(
            ReconQueue(catalog, workers=options.workers, client=client, across_proposals=options.across_proposals)
        )
        queue.submit_all(options.uids, changes, settings=settings, priority=options.priority or 0)
        tell_default_catalog(options, catalog.name)
        remember_catalog(catalog.name)
        interrupted = _watch(queue)
        states = {job.state for job in queue.jobs}
    if interrupted:
        raise KeyboardInterrupt
    return 0 if states == {State.DONE} else 1


def live_changes(texts: Iterable[str]) -> dict[str, Any]:
    """Return names and values of ``--set NAME=VALUE``, where ``recon.NAME`` is what that knob turns.

    Raises
    ------
    SettingsError
        On a text without a name or a value, or an unknown name, with names like it.
    """
    from ..callbacks import LiveSettings
    from ..devices.recon_control import knob_aliases

    return read_set(texts, LiveSettings, knob_aliases(), "preprocess.NAME, solver.NAME or recon.NAME")


def _connected(address: str) -> Any:
    """Return a client of a Dask scheduler.

    Raises
    ------
    PtychoError
        If dask.distributed is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise PtychoError(
            "--scheduler needs the extra distributed: python -m pip install 'bluesky-ptycho[distributed]'"
        ) from error
    try:
        return Client(address, timeout=CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise PtychoError(
            f"--scheduler {address!r} cannot be reached: {error}; expected a scheduler at HOST:PORT"
        ) from error


def _watch(queue: ReconQueue) -> bool:
    """Show how far the jobs are until all are over, a line for each when it is; tell whether Ctrl-C ended them."""
    told: set[int] = set()
    total = sum(job.request.n_passes for job in queue.jobs)
    interrupted = False
    with ProgressLine(total, "reprocessing", "pass", leave=False) as line:
        over = False
        while not over:
            try:
                over = queue.wait(POLL_S)
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                say("interrupted: what is at work ends with what it has, what waits is left out")
                queue.cancel()
            for job in queue.jobs:
                if job.is_over and job.number not in told:
                    told.add(job.number)
                    _tell_end(job)
            line.show(sum(round(job.percent / 100 * job.request.n_passes) for job in queue.jobs), _state(queue))
    return interrupted


def _tell_end(job: Job) -> None:
    line = f"{job.request.describe()}: {job.describe()}"
    if job.state == "failed":
        logger.error("%s", line)
    else:
        say(line)


def _state(queue: ReconQueue) -> str:
    """Say what is at work, and what waits."""
    running = [f"{job.request.title} {job.describe()}" for job in queue.jobs if job.state == "running"]
    waiting = sum(job.state == "waiting" for job in queue.jobs)
    return ", ".join([*running, *([f"{waiting} waiting"] if waiting else [])])
