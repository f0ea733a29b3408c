"""The progress of a scan at the terminal, as a sink of the live callback."""

from __future__ import annotations

import math
from typing import TextIO

from ..registry import sinks
from ..terminal import ProgressLine
from .updates import Progress, Update


@sinks.register("progress_bar")
class ProgressBar:
    """Show frames taken and used, iteration, residual and lag of the running scan, and the time left.

    Parameters
    ----------
    file : text stream, optional
        Standard error by default; a bar if it is a terminal, else a line every ten seconds.
    """

    name = "progress_bar"

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._line: ProgressLine | None = None

    def __call__(self, update: Update) -> None:
        """Show the counters of `update`."""
        progress = update.progress
        if self._line is None:
            self._line = ProgressLine(
                progress.planned, f"scan {update.start.get('scan_id', '')}", "frame", file=self._file
            )
        if update.kind == "final":
            self._line.close(progress.taken, _described(progress, update.exit_status))
            self._line = None
        else:
            self._line.show(progress.taken, _described(progress, progress.phase))


def _described(progress: Progress, state: str) -> str:
    """Return the counters in a few words; `state` leads where it is not the usual one."""
    if state == "warming up":  # nothing is counted yet, and what waits is no lag of the analysis
        return state
    fields = [] if state in ("live", "success") else [state]
    fields += [f"used {progress.used}", f"it {progress.iteration}"]
    if state == "finishing" and progress.half_passes:
        fields.append(f"halves {progress.half_passes}")
    if math.isfinite(progress.residual):
        fields.append(f"R {progress.residual:.4f}")
    fields.append(f"lag {progress.lag_s:.1f} s")
    if progress.rejected:
        fields.append(f"rejected {progress.rejected}")
    return ", ".join(fields)
