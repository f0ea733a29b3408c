"""What remains of a run's analysis when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..frames import Snapshot
from .updates import Progress, Update


@dataclass(frozen=True)
class Outcome:
    """Result of one analysed run.

    Parameters
    ----------
    raw_uid : str
        Uid of the raw run.
    result_uid : str or None
        Uid of the result run, None without a catalog.
    update : Update
        The final update: snapshot, STXM map, rejected and missing points, messages.
    at_last_frame : Snapshot or None
        The state at the moment when the run stopped.
    seconds_after_last_frame : float
        From the last event to the result in all sinks.
    error : BaseException or None
        What ended the analysis early.
    sink_errors : mapping of str to BaseException
        Sinks that failed.
    """

    raw_uid: str
    result_uid: str | None
    update: Update
    at_last_frame: Snapshot | None
    seconds_after_last_frame: float
    error: BaseException | None
    sink_errors: Mapping[str, BaseException]

    @property
    def snapshot(self) -> Snapshot | None:
        """The final state, None if no frame was used."""
        return self.update.snapshot

    @property
    def progress(self) -> Progress:
        """Final counters."""
        return self.update.progress
