"""Fly scans: frames at the camera's rate while the stage moves on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from bluesky.utils import NoReplayAllowed
from ophyd.status import Status

from ..errors import PreflightError
from ..frames import Acquisition
from .assets import StreamDocument
from .fccd import Cancelled, Fccd


class SweepingAxis(Protocol):
    """What a flyer needs of a positioner."""

    name: str
    egu: str

    def check_value(self, value: float) -> None:
        """Refuse positions beyond the limits."""

    def sweep(self, value: float) -> None:
        """Pass through `value`."""

    def sample(self) -> float:
        """Return a readback."""

    def describe(self) -> dict[str, Any]:
        """Describe the readback."""


class FrameFlyer:
    """Take frames at prepared positions in one go.

    ``prepare`` with the acquisition of the stream, ``kickoff``, then ``collect`` as often as
    wanted (each gives one ``stream_datum`` and one event page of what is new) until ``complete``
    is done, and once more. It has the camera's name, so that the camera's configuration is found
    in the descriptor as in a step scan.

    A pause lets the current point finish and holds the flight there, shutter closed; it goes on
    with the next point, so the RunEngine is told not to rewind. ``unstage`` of the camera ends the flight.

    Parameters
    ----------
    camera : Fccd
        Takes the frames.
    y, x : SweepingAxis
        Slow and fast axis.
    """

    def __init__(self, camera: Fccd, y: SweepingAxis, x: SweepingAxis) -> None:
        self.camera, self.y, self.x = camera, y, x
        self.name = camera.name
        self.parent = None
        self.hints: dict[str, Any] = {"fields": []}
        self._acquisition: Acquisition | None = None
        self._thread: threading.Thread | None = None
        self._running = threading.Event()
        self._cancel = threading.Event()
        self._done: Status | None = None
        self._lock = threading.Lock()
        self._rows: list[tuple[int, float, float, float]] = []
        self._n_collected = 0
        self._page: list[tuple[int, float, float, float]] = []

    def prepare(self, acquisition: Acquisition) -> Status:
        """Check the positions and open the file.

        Raises
        ------
        PreflightError
            If positions are missing or their number is not that of the events.
        LimitError
            If a position is beyond the limits of its axis.
        """
        positions = acquisition.positions
        if positions is None or np.shape(positions) != (acquisition.n_events, 2):
            shape = None if positions is None else np.shape(positions)
            raise PreflightError(f"{self.name}: positions have shape {shape}; expected ({acquisition.n_events}, 2)")
        for axis, column in zip((self.y, self.x), np.asarray(positions).T, strict=True):
            axis.check_value(float(column.min()))
            axis.check_value(float(column.max()))
        if acquisition is self._acquisition and self.camera.is_prepared(acquisition):
            return self.camera.prepare(acquisition)  # repeated by a rewind
        if self.flying:
            self.stop()
        status = self.camera.prepare(acquisition)
        self._acquisition, self._done = acquisition, None
        with self._lock:
            self._rows, self._page, self._n_collected = [], [], 0
        return status

    @property
    def flying(self) -> bool:
        """Whether a flight is in progress (or held by a pause)."""
        return self._thread is not None and self._thread.is_alive()

    def kickoff(self) -> Status:
        """Start the flight."""
        if self._acquisition is None:
            raise PreflightError(f"{self.name}: kickoff without prepare; expected an Acquisition first")
        started = Status()
        if self._done is None:  # else a rewind repeats what was kicked off already
            self._cancel.clear()
            self._running.set()
            self._done = Status()
            self._thread = threading.Thread(target=self._fly, name=f"{self.name}_flight", daemon=True)
            self.camera.attach_flyer(self)
            self._thread.start()
        started.set_finished()
        return started

    def complete(self) -> Status:
        """Return the status of the flight, which finishes after its last point."""
        if self._done is None:
            raise PreflightError(f"{self.name}: complete without kickoff")
        return self._done

    def stop(self, *, success: bool = False) -> None:
        """End the flight after the frame in progress."""
        paused = not self._running.is_set()
        self._cancel.set()
        self._running.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if paused and thread is not None:  # halted before the flight could hold
            self.camera.block_beam()

    def pause(self) -> None:
        """Hold the flight before its next point; what was collected stays collected."""
        self.camera.pause()
        if self.flying:
            self._running.clear()
            raise NoReplayAllowed

    def resume(self) -> None:
        """Go on with the next point."""
        self._running.set()

    def _fly(self) -> None:
        assert self._acquisition is not None and self._acquisition.positions is not None and self._done is not None
        try:
            exposures = self._acquisition.exposures_s
            started = time.monotonic()
            for y, x in np.asarray(self._acquisition.positions, dtype=np.float64):
                if not self._running.is_set():
                    self._hold()
                    started = time.monotonic()
                if self._cancel.is_set():
                    break
                self._take_point(float(y), float(x), exposures, started)
                started = self.camera.next_start()
            if not self._running.is_set():
                self.camera.block_beam()
        except Cancelled:
            pass
        except Exception as error:
            self._done.set_exception(error)
            return
        self._done.set_finished()

    def _hold(self) -> None:
        """Wait until a pause ends, with the beam blocked."""
        self.camera.block_beam()
        self._running.wait()
        if not self._cancel.is_set():
            self.camera.unblock_beam()

    def _take_point(self, y: float, x: float, exposures: tuple[float, ...], started: float) -> None:
        self.y.sweep(y)
        self.x.sweep(x)
        readback: list[float] = []

        def read_stage() -> None:
            readback.extend((self.y.sample(), self.x.sample()))

        row = self.camera.record(exposures, started, read_stage)
        with self._lock:
            self._rows.append((row, readback[0], readback[1], time.time()))

    # -- documents --------------------------------------------------------------------------

    def describe_collect(self) -> dict[str, Any]:
        """Describe one row: frame index, readbacks at mid-exposure, frames."""
        camera = self.camera
        return {
            camera.frame_index.name: camera.frame_index.describe()[camera.frame_index.name],
            **self.y.describe(),
            **self.x.describe(),
            camera.image_key: camera.image_data_key(),
        }

    def describe_configuration(self) -> dict[str, Any]:
        """Describe the camera's configuration."""
        return self.camera.describe_configuration()

    def read_configuration(self) -> dict[str, Any]:
        """Return the camera's configuration."""
        return dict(self.camera.read_configuration())

    def collect_asset_docs(self) -> Iterator[StreamDocument]:
        """Yield one ``stream_datum`` for all points taken since the last call.

        The rows that :meth:`collect_pages` gives next are exactly those.
        """
        with self._lock:
            self._page = self._rows[self._n_collected :]
            self._n_collected = len(self._rows)
        n_events, documents = self.camera.collect_stream(each=False, n_events=self._n_collected)
        announced = sum(d["indices"]["stop"] - d["indices"]["start"] for n, d in documents if n == "stream_datum")
        if n_events and announced != len(self._page):
            raise RuntimeError(f"{self.name}: {announced} frames are announced for {len(self._page)} rows of positions")
        yield from documents

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """Yield one page of the rows whose frames :meth:`collect_asset_docs` announced last."""
        page, self._page = self._page, []
        if not page:
            return
        keys = (self.camera.frame_index.name, self.y.name, self.x.name)
        times = [row[3] for row in page]
        columns = {key: [row[i] for row in page] for i, key in enumerate(keys)}
        yield {"data": columns, "timestamps": {key: list(times) for key in keys}, "time": list(times)}
