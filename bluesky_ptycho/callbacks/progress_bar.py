"""A terminal progress bar as a sink of the live callback."""

from __future__ import annotations

import math
from typing import Any

from tqdm import tqdm

from ..registry import sinks
from .updates import Update


@sinks.register("progress_bar")
class ProgressBar:
    """Show frames taken and used, iteration, residual and lag of the running scan; time left is tqdm's.

    Parameters
    ----------
    **options
        Passed to :class:`tqdm.tqdm` (``file``, ``disable``, ``mininterval`` ...).
    """

    name = "progress_bar"

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._bar: Any = None

    def __call__(self, update: Update) -> None:
        """Draw the counters of `update`."""
        progress = update.progress
        if self._bar is None:
            label = f"scan {update.start.get('scan_id', '')}"
            self._bar = tqdm(total=progress.planned, desc=label, unit="frame", dynamic_ncols=True, **self._options)
        bar = self._bar
        bar.n = progress.taken
        fields = [f"used {progress.used}", f"it {progress.iteration}"]
        if math.isfinite(progress.residual):
            fields.append(f"R {progress.residual:.4f}")
        fields.append(f"lag {progress.lag_s:.1f} s")
        if progress.rejected:
            fields.append(f"rejected {progress.rejected}")
        bar.set_postfix_str(", ".join(fields), refresh=False)
        bar.refresh()
        if update.kind == "final":
            bar.close()
            self._bar = None
