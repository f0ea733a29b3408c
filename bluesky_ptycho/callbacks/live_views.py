"""From what a run tells its sinks to what its live picture shows."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from ..figure.display import half_pitch_text, length_text
from ..figure.live_view import LiveView, duration_text
from ..words import counted
from .updates import Progress, Update

WINDOW_S = 15.0
"""Rates are those of so many of the last seconds."""


class LiveViews:
    """Make the :class:`~bluesky_ptycho.figure.LiveView` of each update, run after run.

    It keeps what an update does not repeat: the newest snapshot with its maps and frames, the resolutions so far, and
    counters of the last seconds, of which rates are made.
    """

    def __init__(self) -> None:
        self._of: tuple[str, str | None] = ("", None)
        self._shown: dict[str, Any] = {}
        self._resolutions: list[tuple[float, float]] = []
        self._counters: deque[Progress] = deque()

    def of(self, update: Update) -> LiveView:
        """Return the view after `update`."""
        of = update.start["uid"], update.result_uid
        if update.kind == "start" or of != self._of:  # another reconstruction, be it of the same scan
            self._of, self._shown = of, {}
            self._resolutions, self._counters = [], deque()
        if update.snapshot is not None:
            self._keep(update)
        self._count(update.progress)
        return LiveView(
            uid=update.start["uid"],
            title=scan_title(update.start),
            state=_state(update),
            plan=update.plan,
            geometry=update.geometry,
            taken=update.progress.taken,
            planned=update.progress.planned,
            facts=tuple(self._facts(update)),
            messages=update.messages,
            resolutions=np.array(self._resolutions).reshape(-1, 2),
            **self._shown,
        )

    def _keep(self, update: Update) -> None:
        snapshot = update.snapshot
        assert snapshot is not None
        if snapshot.frc is not None:
            self._resolutions.append((float(len(snapshot.seq_nums)), float(snapshot.frc["half_bit_m"])))
        names = ("snapshot", "stxm", "newest_point", "newest_raw", "newest_clean")
        self._shown = {name: getattr(update, name) for name in names}

    def _count(self, progress: Progress) -> None:
        self._counters.append(progress)
        while progress.elapsed_s - self._counters[0].elapsed_s > WINDOW_S:
            self._counters.popleft()

    def _rate(self, counter: str) -> float:
        """Return how fast a counter of the last seconds grows, per s; NaN where that is not known yet."""
        first, last = self._counters[0], self._counters[-1]
        seconds = last.elapsed_s - first.elapsed_s
        return (getattr(last, counter) - getattr(first, counter)) / seconds if seconds > 0 else math.nan

    def _facts(self, update: Update) -> list[tuple[str, str]]:
        progress, plan, is_open = update.progress, update.plan, update.kind != "final"
        passes = f"{progress.iteration}"
        if is_open and math.isfinite(rate := self._rate("iteration")):
            passes += f", {rate:.3g} /s"
        exposures = " | ".join(f"{seconds:g}" for seconds in plan.exposures_s)
        facts = [
            ("taken", f"{progress.taken} of {progress.planned}"),
            ("used", f"{progress.used}"),
            ("rejected", rejected_text(progress)),
            ("lag", f"{counted(progress.lag, 'point')}, {progress.lag_s:.1f} s"),
            ("time left", self._time_left(progress) if is_open else "–"),
            ("elapsed", duration_text(progress.elapsed_s)),
            ("passes", passes),
            ("residual", f"{progress.residual:.4g}" if math.isfinite(progress.residual) else "–"),
            ("resolution", self._resolution()),
            *dark_facts(update),
            ("exposure", f"{exposures} s, {plan.trajectory}"),
            ("energy", f"{plan.energy_ev:.5g} eV"),
            ("pixel", length_text(min(update.geometry.object_pixel_m))),
            ("algorithm", str(update.settings.get("solver", {}).get("algorithm", "–"))),
        ]
        if progress.skipped:
            facts.append(("not shown", counted(progress.skipped, "snapshot")))
        return facts

    def _time_left(self, progress: Progress) -> str:
        rate, left = self._rate("taken"), progress.planned - progress.taken
        return duration_text(left / rate) if rate > 0 else "–"

    def _resolution(self) -> str:
        if not self._resolutions:
            return "–"
        return half_pitch_text(self._resolutions[-1][1])


def failed_view(view: LiveView, message: str) -> LiveView:
    """Return `view` with one more message."""
    return replace(view, messages=(*view.messages, message))


def scan_title(start: Any) -> str:
    """Return number and sample of a scan."""
    return f"scan {start.get('scan_id', '')} {start.get('sample_name', '')}".strip()


def rejected_text(progress: Progress) -> str:
    """Return how many points were rejected, and why."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in progress.kinds.items() if n)
    return f"{progress.rejected}: {kinds}" if kinds else f"{progress.rejected}"


def dark_facts(update: Update) -> list[tuple[str, str]]:
    """Return where the darks are from, and how far the camera has left them."""
    if update.dark_uid is None:
        source = "none yet" if update.progress.used == 0 and update.dark_corrected else "none"
        source = source if update.plan.n_darks or update.plan.dark_uid or not update.dark_corrected else "not needed"
    else:
        source = "of this scan" if update.dark_uid == update.start["uid"] else f"of {update.dark_uid[:8]}"
    if not update.dark_corrected:
        source += ", unfit"
    drift = update.progress.dark_drift
    return [("darks", source), *([("dark drift", f"{drift:.1f} σ")] if math.isfinite(drift) else [])]


def _state(update: Update) -> str:
    if update.kind != "final":
        return update.progress.phase
    if update.exit_status == "success":
        return "done"
    return f"{update.exit_status}: {update.reason}" if update.reason else update.exit_status
