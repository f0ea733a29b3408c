"""Frames meet positions: by the frame index each event carries, never by arrival.

Events tell which rows of the file belong to a scan point and where the stage was; stream
documents tell how many rows are on disk. Either may come first. After a rewind the
RunEngine sends a sequence number again: the last one wins.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from .document_keys import Point

NO_ROW = -1
"""Row of a point whose frame has not been told of yet: it is waited for."""


@dataclass
class Joiner:
    """Pair points with stored frames.

    Memory is one small record for each scan point; pixels never pass through here. Rows are
    stored in order, so the waiting point of the lowest row is the first that can be ready:
    every operation costs O(log n).

    Parameters
    ----------
    frames_per_event : int
        Rows that belong to one event.
    """

    frames_per_event: int = 1
    rows_stored: int = 0
    _points: dict[int, Point] = field(default_factory=dict)
    _waiting: dict[int, float] = field(default_factory=dict)
    _by_row: list[tuple[int, int]] = field(default_factory=list)
    _rows: set[int] = field(default_factory=set)

    def add_point(self, point: Point, now: float) -> None:
        """Take a point; an earlier point of the same sequence number is replaced.

        Frames that are taken again get new rows, so the point of the higher row is the later one, in whatever
        order they come; the same point once more changes nothing. `now` is a monotonic time in s, from which
        the lag is counted.
        """
        self._rows.add(point.row)
        known = self._points.get(point.seq_num)
        if known is not None and (point.row < known.row or point == known):
            return
        self._points[point.seq_num] = point
        self._waiting.pop(point.seq_num, None)  # re-entered at the end: the dict stays sorted by time
        self._waiting[point.seq_num] = now
        if point.row != NO_ROW:
            heapq.heappush(self._by_row, (point.row, point.seq_num))

    def add_stored(self, n_events: int) -> None:
        """Note that the first `n_events` events' frames are on disk."""
        self.rows_stored = max(self.rows_stored, n_events * self.frames_per_event)

    def take(self, limit: int) -> list[Point]:
        """Remove and return at most `limit` points whose frames are on disk, in the order of their rows."""
        ready: list[Point] = []
        while len(ready) < limit and self.has_ready:
            _, seq_num = heapq.heappop(self._by_row)
            del self._waiting[seq_num]
            ready.append(self._points[seq_num])
        return ready

    @property
    def has_ready(self) -> bool:
        """Whether :meth:`take` would return something."""
        while self._by_row and self._is_stale(*self._by_row[0]):
            heapq.heappop(self._by_row)
        return bool(self._by_row) and self._by_row[0][0] + self.frames_per_event <= self.rows_stored

    def _is_stale(self, row: int, seq_num: int) -> bool:
        """Whether a heap entry was taken already or replaced by a later event of its sequence number."""
        return seq_num not in self._waiting or self._points[seq_num].row != row

    def unpaired_rows(self) -> list[int]:
        """Return the first rows on disk, one for each event's worth, that no point has ever named."""
        return [row for row in range(0, self.rows_stored, self.frames_per_event) if row not in self._rows]

    @property
    def n_points(self) -> int:
        """Scan points announced so far."""
        return len(self._points)

    @property
    def last_seq_num(self) -> int:
        """Highest sequence number announced so far."""
        return max(self._points, default=0)

    @property
    def n_waiting(self) -> int:
        """Points announced and not taken yet."""
        return len(self._waiting)

    def oldest_wait_s(self, now: float) -> float:
        """Age in s of the oldest waiting point; 0 if none waits."""
        return now - next(iter(self._waiting.values())) if self._waiting else 0.0
