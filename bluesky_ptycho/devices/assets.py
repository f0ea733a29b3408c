"""The stream documents of one frame file, whatever interrupts the scan.

The RunEngine collects asset documents when a device is read and emits them when the event is
saved; a pause in between drops them. It fills ``run_start`` and ``descriptor`` into the very
documents it emits, so a document that is still empty after an interruption was dropped, and is
offered again. Else a rewind would leave a stream without its resource, or rows that no
document speaks of.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from .frame_file import DATASET

StreamDocument = tuple[Literal["stream_resource", "stream_datum"], dict[str, Any]]


class StreamAssets:
    """Make the ``stream_resource`` and ``stream_datum`` documents of one stream.

    Parameters
    ----------
    path : Path
        The file.
    data_key : str
        Data key of the frames.
    shape : tuple of int
        Shape ``(H, W)`` of a frame.
    frames_per_event : int
        K, the rows that one event takes.
    """

    def __init__(self, path: Path, data_key: str, shape: tuple[int, int], frames_per_event: int) -> None:
        self.path = path
        self.data_key = data_key
        self._uid = str(uuid.uuid4())
        chunk = [1, *shape] if frames_per_event == 1 else [1, frames_per_event, *shape]
        self._parameters = {"dataset": DATASET, "chunk_shape": chunk, "swmr": True, "locking": None}
        self._resource: dict[str, Any] | None = None
        self._handed: list[dict[str, Any]] = []
        self._next = 0
        self._interrupted = False

    def interrupt(self) -> None:
        """Note that documents handed out may have been dropped (pause, suspension)."""
        self._interrupted = True

    def collect(self, n_events: int, *, each: bool) -> Iterator[StreamDocument]:
        """Yield what is new now that `n_events` events are stored.

        Parameters
        ----------
        n_events : int
            Events in the file, from 0.
        each : bool
            One ``stream_datum`` for each event (step scan), or one for all that are new (flight).
        """
        self._take_back_dropped()
        if n_events <= self._next:
            return
        if self._resource is None:
            self._resource = self._make_resource()
            yield "stream_resource", self._resource
        width = 1 if each else n_events - self._next
        for start in range(self._next, n_events, width):
            datum = self._make_datum(start, start + width)
            self._handed.append(datum)
            self._next = start + width
            yield "stream_datum", datum

    def n_emitted(self) -> int | None:
        """Return how many events documents speak of; None where that cannot be told."""
        emitted = [d["indices"]["stop"] for d in self._handed if d["descriptor"]]
        return max(emitted) if emitted else None

    def _take_back_dropped(self) -> None:
        """Offer documents again that an interruption kept from being emitted."""
        if not self._interrupted:
            del self._handed[:-1]  # the RunEngine has gone on, so all before the last were emitted
            return
        self._interrupted = False
        dropped = [d for d in self._handed if not d["descriptor"]]
        if dropped:
            self._next = min(d["indices"]["start"] for d in dropped)
            self._handed = [d for d in self._handed if d["descriptor"]]
        if self._resource is not None and not self._resource["run_start"]:
            self._resource = None

    def _make_resource(self) -> dict[str, Any]:
        return {
            "uid": self._uid,
            "run_start": "",
            "data_key": self.data_key,
            "mimetype": "application/x-hdf5",
            # as_uri quotes what a URI may not hold; the host is that of the beamline's file system
            "uri": self.path.as_uri().replace("file:///", "file://localhost/", 1),
            "parameters": dict(self._parameters),
        }

    def _make_datum(self, start: int, stop: int) -> dict[str, Any]:
        return {
            "uid": f"{self._uid}/{start}" if stop == start + 1 else f"{self._uid}/{start}-{stop}",
            "stream_resource": self._uid,
            "descriptor": "",
            "indices": {"start": start, "stop": stop},
            "seq_nums": {"start": 0, "stop": 0},
        }
