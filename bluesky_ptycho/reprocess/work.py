"""Reconstruct a stored run again, here: its documents through the live callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..callbacks import LivePtycho
from ..callbacks.results import summary_figures
from ..callbacks.updates import Update
from ..catalog.changed import START_KEY
from ..errors import PtychoError
from ..replay import replay
from .requests import Request

Tell = Callable[[int, str], None]
"""``tell(passes, text)``: how much of :attr:`Request.n_passes` is done."""

POLL_S = 0.2


@dataclass(frozen=True)
class Done:
    """What came of a request.

    Parameters
    ----------
    result_uid : str or None
        The result run.
    status, reason : str
        "success", "abort" or "fail", and why.
    figures : mapping
        Those of the result's stop document.
    """

    result_uid: str | None
    status: str
    reason: str
    figures: Mapping[str, Any]


def reconstruct_again(catalog: Any, request: Request, tell: Tell, cancelled: Callable[[], bool]) -> Done:
    """Do what is asked for.

    Parameters
    ----------
    catalog : Catalog
        Holds the run and takes the result.
    request : Request
    tell : callable
        Told now and then, from another thread.
    cancelled : callable
        Asked now and then; once it says so, the work ends with what there is, stored as aborted.
    """
    results = _LinkedResults(catalog, request.note, cancelled)
    with LivePtycho(request.settings, catalog=results, sinks=[_Teller(request, tell)]) as live:
        uid = replay(request.raw_uid, catalog, live)
        _await(live, cancelled)
        outcome = live.outcome(uid)
        errors = live.errors
    if outcome is None:
        raise PtychoError("; ".join(map(str, errors.values())) or f"run {uid} could not be reconstructed")
    status, reason = outcome.update.exit_status, outcome.update.reason
    if outcome.sink_errors:
        status, reason = "fail", "; ".join(map(str, outcome.sink_errors.values()))
    return Done(outcome.result_uid, status, reason, summary_figures(outcome.update))


def _await(live: LivePtycho, cancelled: Callable[[], bool]) -> None:
    """Wait for the analysis; hurry it once that is asked for."""
    hurried = False
    while True:
        try:
            live.wait(POLL_S)
        except TimeoutError:
            if not hurried and cancelled():
                live.hurry()
                hurried = True
        except PtychoError:  # the outcome tells of it
            return
        else:
            return


class _Teller:
    """A sink that tells how far the passes are."""

    name = "progress of reprocessing"

    def __init__(self, request: Request, tell: Tell) -> None:
        solver = request.settings.solver
        self._most, self._tell = request.settings.passes + solver.tail_passes, tell
        self._halves = solver.frc_passes if request.settings.frc else 0

    def __call__(self, update: Update) -> None:
        if update.kind in ("start", "final"):
            return
        progress = update.progress
        frames = f"{progress.used}/{progress.planned} frames"
        passes, halves = min(progress.iteration, self._most), min(progress.half_passes, self._halves)
        told = f"{frames}, R {progress.residual:.4f}" if passes else f"{frames}, warming up"
        if progress.phase == "finishing" and halves:
            told += f", half data sets {halves}/{self._halves}"
        self._tell(passes + halves, told)


class _LinkedResults:
    """A catalog whose results carry a note, and are aborted ones where the work was cancelled."""

    def __init__(self, catalog: Any, note: Mapping[str, Any], cancelled: Callable[[], bool]) -> None:
        self._catalog, self._note, self._cancelled = catalog, dict(note), cancelled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    def result_writer(self) -> Callable[[str, Mapping[str, Any]], None]:
        write = self._catalog.result_writer()

        def linked(name: str, doc: Mapping[str, Any]) -> None:
            if name == "start" and self._note:
                doc = {**doc, START_KEY: self._note}
            elif name == "stop" and doc["exit_status"] == "success" and self._cancelled():
                doc = {**doc, "exit_status": "abort", "reason": "cancelled"}
            write(name, doc)

        return linked
