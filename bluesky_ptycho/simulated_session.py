"""A whole session around a simulated beamline: RunEngine, devices, catalog, live reconstruction."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .attached import Wanted, attached_to, note_attached, place_of
from .callbacks.results import summary_figures
from .callbacks.updates import Update
from .errors import PtychoError
from .given import as_path
from .keywords import checks_arguments, keywords_of, refuse_unknown
from .metadata_file import MetadataFile
from .stored_scan import StoredScan, describe, newest_scan
from .terminal import printable
from .waiting import AwakeForCtrlC

if TYPE_CHECKING:
    from .callbacks import LivePtycho
    from .catalog import Catalog
    from .devices import Fccd, ReconControl, Shutter, Stage
    from .sim import Beamline

METADATA_FILE = "metadata.json"
"""File within the catalog's that holds ``RE.md``."""
DARKS_FILE = "darks.json"
"""File beside it that tells which scans hold darks, so that the next session uses young ones again."""


@dataclass(frozen=True)
class SimulatedSession:
    """What a person at the beamline has at hand; made by :func:`start_session`.

    Parameters
    ----------
    RE : RunEngine
        Its ``md`` persists in the catalog's directory, so that ``scan_id`` goes on counting.
    catalog : Catalog
        Scans and reconstructions.
    beamline : Beamline
        The simulated devices.
    live : LivePtycho
        The live reconstruction, subscribed to `RE`.
    recon : ReconControl
        Its knobs: ``recon.modes.put(2)``, also while a scan runs.
    """

    RE: Any
    catalog: Catalog
    beamline: Beamline
    live: LivePtycho
    recon: ReconControl

    @property
    def fccd(self) -> Fccd:
        """The camera."""
        return self.beamline.fccd

    @property
    def stage(self) -> Stage:
        """The stage, axes ``stage.y`` and ``stage.x`` in µm."""
        return self.beamline.stage

    @property
    def shutter(self) -> Shutter:
        """The shutter, which the plans open and close."""
        return self.beamline.shutter

    @checks_arguments
    def last(self) -> StoredScan:
        """Return the newest scan with its reconstruction, which is waited for; ``last().show()`` draws it.

        Raises
        ------
        NotFoundError
            If nothing has been measured yet.
        """
        for live in attached_to(self.RE):  # `live`, or what was attached in its place
            live.wait()
        return newest_scan(self.catalog)

    def close(self) -> None:
        """Finish the analysis, stop the devices and close the catalog."""
        for live in {self.live, *attached_to(self.RE)}:
            live.close()
        self.beamline.close()
        self.RE.md.flush()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ClosingLine:
    """A sink that prints one line when a scan and its reconstruction are done.

    Parameters
    ----------
    place : str
        Where the results are, for the end of the line.
    """

    name = "closing_line"

    def __init__(self, place: str) -> None:
        self._place = place

    def __call__(self, update: Update) -> None:
        """Print the line of a final update."""
        if update.kind == "final":
            print(closing_line(update, self._place), flush=True)  # noqa: T201


def closing_line(update: Update, place: str) -> str:
    """Return number, sample, resolution, frames, darks, seconds and place of a finished scan in one line."""
    start, figures = update.start, summary_figures(update)
    reason = printable(update.reason, 200) or "no reason given"
    failed = "" if update.exit_status == "success" else f"{update.exit_status}: {reason}, "
    seconds = time.time() - float(start["time"])
    return (
        f"scan {start.get('scan_id', '?')} {printable(start.get('sample_name', ''))}: {failed}{describe(figures)}, "
        f"{_darks(update)}, {seconds:.1f} s, in {place} as {start['uid'][:8]}"
    )


def _darks(update: Update) -> str:
    if not update.dark_corrected:
        return "no fitting darks"
    if update.dark_uid and update.dark_uid != update.start["uid"]:
        return f"darks of {update.dark_uid[:8]}"
    return f"{update.plan.n_darks} darks" if update.plan.n_darks else "no darks"


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether a record says more than the error that the user is shown, by which a RunEngine ends too."""
    return record.exc_info is None or not isinstance(record.exc_info[1], PtychoError)


def start_session(catalog: str | Path = "ptycho_catalog", **beamline: Any) -> SimulatedSession:
    """Open a catalog, build a simulated beamline and wire live ptychography to a new RunEngine.

    Parameters
    ----------
    catalog : path
        Directory of the catalog; made if there is none.
    **beamline
        Passed to :func:`bluesky_ptycho.sim.make_beamline` (``sample``, ``photons``, ``frame_rate`` ...).

    Returns
    -------
    SimulatedSession
        Use it as a context manager, or call ``close()``.

    Raises
    ------
    PtychoError
        If the catalog cannot be used or an argument is out of range.
    """
    from bluesky import RunEngine
    from bluesky.utils import DefaultDuringTask

    from .callbacks import LivePtycho
    from .callbacks.progress_bar import ProgressBar
    from .catalog import RememberCatalog, open_catalog
    from .devices import ReconControl
    from .plans import dark_records, keep_dark_records
    from .sim import make_beamline

    # Before a catalog is made; where frames and their names go is the session's own business.
    refuse_unknown("start_session", beamline, [n for n in keywords_of(make_beamline) if n not in ("root", "md")])
    directory = as_path("catalog", catalog).expanduser().resolve()
    with ExitStack() as undone:  # what was opened is closed again if the rest fails
        opened = undone.enter_context(open_catalog(directory))
        metadata: Any = MetadataFile(directory / METADATA_FILE)
        metadata["scan_id"] = max(int(metadata.get("scan_id") or 0), opened.last_scan_id())
        devices = undone.enter_context(make_beamline(opened.frames_dir, md=metadata, **beamline))
        if not {"seed", "noise"} & beamline.keys():  # those make another camera, to which these darks are foreign
            keep_dark_records(devices.fccd, MetadataFile(directory / DARKS_FILE))
        recon = ReconControl(name="recon")
        live = undone.enter_context(
            LivePtycho(
                catalog=opened,
                control=recon,
                sinks=[ProgressBar(), ClosingLine(str(catalog)), RememberCatalog(directory)],
                on_old_darks=lambda plan, uid: dark_records(devices.fccd).forget(uid),
            )
        )
        during_task: Any = AwakeForCtrlC(DefaultDuringTask())
        run_engine = RunEngine(metadata, during_task=during_task)
        run_engine.log.logger.addFilter(_is_news)
        run_engine.subscribe(opened.raw_writer())
        live.token = run_engine.subscribe(live)
        note_attached(live, run_engine, place_of(opened), Wanted())
        undone.pop_all()
    return SimulatedSession(run_engine, opened, devices, live, recon)
