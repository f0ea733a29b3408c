"""The hand-over between the RunEngine's thread and the analysis thread of one run.

Documents go in and are turned to small records at once; the analysis thread takes points
whose frames are on disk. Only indices wait here, never pixels, so nothing ever blocks the
RunEngine and memory is bounded by the number of scan points.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..scan_plan import ScanPlan
from . import document_keys
from .document_keys import FrameSource, Point, StreamInfo
from .joiner import Joiner


class Intake:
    """Documents of one run, as far as an analysis needs them; safe to use from two threads.

    Parameters
    ----------
    start : mapping
        Start document.
    plan : ScanPlan
        Its scan plan.
    patience_s : float
        How long scan points wait for dark frames that were announced.
    frame_roots : sequence of path
        Directories that may hold the frames; any may if there are none.
    """

    def __init__(
        self,
        start: Mapping[str, Any],
        plan: ScanPlan,
        patience_s: float = 10.0,
        frame_roots: Sequence[str | Path] = (),
    ) -> None:
        self.start = start
        self.plan = plan
        self._patience_s = patience_s
        self._frame_roots = [Path(root).expanduser().absolute() for root in frame_roots]
        self.stop: Mapping[str, Any] | None = None
        self.problem: Exception | None = None
        self.started_at = time.monotonic()
        self.last_frame_at: float | None = None
        self._changed = threading.Condition()
        self._streams: dict[str, StreamInfo] = {}
        self._joiners = {True: Joiner(plan.frames_per_point), False: Joiner(plan.frames_per_point)}
        self._sources: dict[str, FrameSource] = {}
        self._source_of: dict[bool, FrameSource] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document; what is wrong with it is kept in `problem` for the analysis to report."""
        with self._changed:
            try:
                self._take(name, doc)
            except Exception as error:
                self.problem = self.problem or error
            self._changed.notify_all()

    def _take(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "descriptor":
            info = document_keys.read_descriptor(doc, self.plan)
            if info is not None:
                self._streams[info.uid] = info
        elif name in ("event", "event_page"):
            self._take_points(name, doc)
        elif name == "stream_resource":
            source = document_keys.read_source(doc, self.plan, self._frame_roots)
            if source is not None:
                self._sources[source.uid] = source
        elif name == "stream_datum":
            self._take_stored(doc)
        elif name == "stop":
            self.stop = doc

    def _take_points(self, name: str, doc: Mapping[str, Any]) -> None:
        stream = self._streams.get(doc["descriptor"])
        if stream is None:
            return
        now = time.monotonic()
        for point in document_keys.read_points(name, doc, stream, self.plan):
            self._joiners[stream.is_dark].add_point(point, now)
        if not stream.is_dark:
            self.last_frame_at = now

    def _take_stored(self, doc: Mapping[str, Any]) -> None:
        source_uid, descriptor, n_events = document_keys.read_events_available(doc)
        stream, source = self._streams.get(descriptor), self._sources.get(source_uid)
        if stream is not None and source is not None:
            self._source_of[stream.is_dark] = source
            self._joiners[stream.is_dark].add_stored(n_events)

    def source(self, *, dark: bool) -> FrameSource:
        """Return the file of the dark or of the measured frames."""
        with self._changed:
            return self._source_of[dark]

    def take_darks(self, limit: int) -> list[Point]:
        """Return at most `limit` dark points whose frames are on disk."""
        with self._changed:
            return self._joiners[True].take(limit)

    def take_points(self, limit: int) -> list[Point]:
        """Return at most `limit` scan points that can be processed; none while darks are still on their way."""
        with self._changed:
            return [] if self._awaits_darks() and self.stop is None else self._joiners[False].take(limit)

    def _awaits_darks(self) -> bool:
        """Whether dark frames are on their way, and not for so long that they must be lost."""
        darks = self._joiners[True]
        return darks.n_waiting > 0 and (darks.has_ready or darks.oldest_wait_s(time.monotonic()) < self._patience_s)

    def wait(self, timeout: float) -> None:
        """Wait until there is something to take or the run has stopped, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.stop is not None or self.problem is not None or self._has_ready(), timeout
            )

    def _has_ready(self) -> bool:
        return self._joiners[True].has_ready or (not self._awaits_darks() and self._joiners[False].has_ready)

    @property
    def has_ready(self) -> bool:
        """Whether a dark or scan point can be taken now."""
        with self._changed:
            return self._has_ready()

    def counts(self) -> tuple[int, int, float]:
        """Return points announced, points waiting, and the age of the oldest waiting one in s."""
        with self._changed:
            joiner = self._joiners[False]
            return joiner.n_points, joiner.n_waiting, joiner.oldest_wait_s(time.monotonic())

    def expected(self) -> range:
        """Return the scan points that the run has: up to the last one announced, or as many as its stop tells."""
        with self._changed:
            told = ((self.stop or {}).get("num_events") or {}).get(self.plan.frames_stream, 0)
            return range(1, max(int(told), self._joiners[False].last_seq_num) + 1)

    def unpaired_rows(self) -> list[int]:
        """Return the stored rows that no event has ever named: frames without a position."""
        with self._changed:
            return self._joiners[False].unpaired_rows()
