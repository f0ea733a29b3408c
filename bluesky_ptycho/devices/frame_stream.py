"""One stream of frames: its file and its documents, kept in step."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .assets import StreamAssets, StreamDocument
from .frame_file import FrameFile


class FrameStream:
    """A growing file of frames and the documents that tell of them; safe to use from two threads.

    Parameters
    ----------
    path : Path
        File to be made.
    data_key : str
        Data key of the frames.
    shape : tuple of int
        Shape ``(H, W)`` of a frame.
    frames_per_event : int
        Rows that one event takes.
    """

    def __init__(self, path: Path, data_key: str, shape: tuple[int, int], frames_per_event: int) -> None:
        self._frames_per_event = frames_per_event
        self._lock = threading.Lock()
        self._file = FrameFile(path, shape)
        self._assets = StreamAssets(path, data_key, shape, frames_per_event)
        self._n_events = 0
        self._closed = False

    def append(self, frames: NDArray[np.uint16], exposures_s: tuple[float, ...], ended: float) -> int | None:
        """Store the frames of one event; return the row of the first, None if the stream is closed."""
        with self._lock:
            if self._closed:
                return None
            row = self._file.append(frames, exposures_s, ended)
            self._n_events += 1
            return row

    def collect(self, *, each: bool, n_events: int | None = None) -> tuple[int, list[StreamDocument]]:
        """Flush the file; return how many events are stored and the documents that are new.

        `n_events` limits it; see :meth:`StreamAssets.collect` for `each`.
        """
        with self._lock:
            if self._closed:
                return 0, []
            n_events = self._n_events if n_events is None else n_events
            self._file.flush()
            return n_events, list(self._assets.collect(n_events, each=each))

    def interrupt(self) -> None:
        """Note that documents handed out may get lost (pause, suspension)."""
        with self._lock:
            self._assets.interrupt()

    def close(self) -> None:
        """Close the file, without the frames of a point that was cut off and belong to no event."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            n_emitted = self._assets.n_emitted()
            if n_emitted is not None:
                self._file.truncate(n_emitted * self._frames_per_event)
            self._file.close()
