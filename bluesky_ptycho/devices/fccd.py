"""The camera: frames into one HDF5 file per stream, their documents to the RunEngine."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from ophyd import Component, Device, Signal
from ophyd.status import DeviceStatus

from ..errors import SettingsError
from ..frames import Acquisition
from ..geometry import metres_per_unit
from ..given import check_number, check_positive
from ..scan_plan import DetectorInfo, Illumination
from .assets import StreamDocument
from .frame_file import check_disk_space
from .frame_stream import FrameStream
from .physics import CameraPhysics

if TYPE_CHECKING:
    from .flyer import FrameFlyer
    from .shutter import Shutter
    from .stage import StageAxis

logger = logging.getLogger(__name__)

MAX_FRAME_RATE_HZ = 200.0
MAX_LAG_S = 0.25
"""How far storing may fall behind the exposures of a flight before these wait for it."""
MAX_CATCH_UP_S = 0.5
"""Lateness that the frames of a step scan catch up with, as far as exposure and readout allow."""

UNITS = {"exposure_times": "s", "energy": "eV", "distance": "m", "pixel_size": "m", "adu_per_ev": "ADU/eV"}


class FileNames(Protocol):
    """Names the files of a scan; :class:`~bluesky_ptycho.paths.ScanPaths` is one."""

    def file(self, stream: str, label: str) -> Path:
        """Return a path that does not exist yet, for a stream of a sample's scan."""


class Cancelled(Exception):
    """The camera was told to stop in the middle of an exposure."""


class Fccd(Device):
    """A frame camera.

    ``trigger`` takes one frame for each exposure time; an event carries the row of the first in
    ``<name>_frame_index``. Frames go to the file of the stream that ``prepare`` opened; without
    ``prepare`` the first trigger opens one for "primary". ``unstage`` ends all activity and
    closes the file.

    Parameters
    ----------
    physics : CameraPhysics
        Gives the frames.
    provider : callable
        ``provider(stream, label)`` names a new file (`paths.ScanPaths`).
    shutter : Shutter, optional
        The shutter that plans open and close for this camera.
    shape : tuple of int
        Shape ``(H, W)`` of a raw frame.
    pixel_m : tuple of float
        Pitch ``(y, x)`` of a raw pixel in m.
    layout : str
        Layout of raw frames ("fccd-assembled", "fccd-wire", "plain").
    energy_ev, distance_m, adu_per_ev : float
        Written to the descriptor.
    frame_rate : float
        Frames per second on average; a frame never takes less than its exposure.
    exposure_s : float
        First value of the signal ``exposure_times``.
    illumination : Illumination, optional
        The zone plate, for plans to write down.
    position_units : str
        Unit of ``Acquisition.positions``.

    Raises
    ------
    SettingsError
        If the frame rate is not positive or beyond 200 frames/s, or the gain not positive.
    """

    exposure_times = Component(Signal, value=(0.1,), kind="config")
    energy = Component(Signal, value=0.0, kind="config")
    distance = Component(Signal, value=0.0, kind="config")
    pixel_size = Component(Signal, value=0.0, kind="config")
    adu_per_ev = Component(Signal, value=0.0, kind="config")
    layout = Component(Signal, value="", kind="config")
    frame_index = Component(Signal, value=0, kind="normal")

    def __init__(
        self,
        physics: CameraPhysics,
        *,
        provider: FileNames,
        shape: tuple[int, int],
        pixel_m: tuple[float, float],
        layout: str,
        energy_ev: float,
        distance_m: float,
        adu_per_ev: float,
        name: str = "fccd",
        shutter: Shutter | None = None,
        frame_rate: float = 10.0,
        exposure_s: float = 0.1,
        illumination: Illumination | None = None,
        position_units: str = "um",
        **kwargs: Any,
    ) -> None:
        super().__init__("", name=name, **kwargs)
        check_positive(adu_per_ev=adu_per_ev)
        self.shutter = shutter
        self.illumination = illumination
        self.frame_rate = frame_rate
        self._physics, self.provider = physics, provider
        self._shape, self._pixel_m = shape, pixel_m
        self._position_metres = metres_per_unit(position_units, f"positions of {name}")
        self.exposure_times.put([exposure_s])
        self.energy.put(energy_ev)
        self.distance.put(distance_m)
        self.pixel_size.put(list(pixel_m))
        self.adu_per_ev.put(adu_per_ev)
        self.layout.put(layout)
        self._cancel = threading.Event()
        self._worker: ThreadPoolExecutor | None = None
        self._acquisition: Acquisition | None = None
        self._stream: FrameStream | None = None
        self._frame_end = self._frame_due = 0.0
        self._beam_blocked = False
        self._shutter_to_close: Shutter | None = None
        self._flyer: FrameFlyer | None = None
        self._buffer: NDArray[np.uint16] = np.zeros((1, *shape), dtype=np.uint16)

    # -- what plans ask ---------------------------------------------------------------------

    @property
    def image_key(self) -> str:
        """Data key of the frames."""
        return f"{self.name}_image"

    @property
    def frame_rate(self) -> float:
        """Frames per second on average; a late frame may be followed by quicker ones."""
        return self._frame_rate

    @frame_rate.setter
    def frame_rate(self, value: float) -> None:
        check_number(f"{self.name}.frame_rate", value)
        if not 0 < value <= MAX_FRAME_RATE_HZ:
            raise SettingsError(f"{self.name}.frame_rate is {value} Hz; expected 0 < value <= {MAX_FRAME_RATE_HZ:g}")
        self._frame_rate = float(value)

    @property
    def frame_period(self) -> float:
        """Usual time from frame to frame in s."""
        return 1.0 / self._frame_rate

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one raw frame in the file."""
        return 2 * self._shape[0] * self._shape[1]

    def info(self) -> DetectorInfo:
        """Return what the scan plan says of the camera."""
        return DetectorInfo(
            name=self.name,
            image_key=self.image_key,
            index_key=self.frame_index.name,
            shape=self._shape,
            pixel_m=self._pixel_m,
            layout=self.layout.get(),
            adu_per_ev=self.adu_per_ev.get(),
        )

    def flyer(self, y: StageAxis, x: StageAxis) -> FrameFlyer:
        """Return a flyer that takes frames while `y` and `x` move."""
        from .flyer import FrameFlyer

        return FrameFlyer(self, y, x)

    # -- preparation ------------------------------------------------------------------------

    def prepare(self, acquisition: Acquisition) -> DeviceStatus:
        """Open the file of a stream, or compute frames ahead (``acquisition.stream is None``).

        A second call with the very same `acquisition` while its file is open changes nothing, so
        that a rewind across it cannot split a stream into two files.

        Raises
        ------
        PreflightError
            If the disk is too small for the frames.
        """
        status = DeviceStatus(self)
        if self.is_prepared(acquisition):
            status.set_finished()
            return status
        n_frames = acquisition.n_events * len(acquisition.exposures_s)
        if acquisition.stream is None:
            # The frames will be on the disk twice: rendered ahead, and in the file of their stream.
            needed = 2 * n_frames * self.bytes_per_frame
            check_disk_space(self._physics.rehearsal_space(), needed, f"{self.name}: {n_frames} frames rendered ahead")
            self._submit(status, lambda: self._rehearse(acquisition))
            return status
        self.exposure_times.put(list(acquisition.exposures_s))
        self._open(acquisition.stream, acquisition.label, n_frames)
        self._acquisition = acquisition
        status.set_finished()
        return status

    def is_prepared(self, acquisition: Acquisition) -> bool:
        """Tell whether the file of this very `acquisition` is open."""
        return acquisition is self._acquisition and self._stream is not None

    def _rehearse(self, acquisition: Acquisition) -> None:
        positions = acquisition.positions
        metres = None if positions is None else np.asarray(positions, dtype=np.float64) * self._position_metres
        self._physics.rehearse(metres, acquisition.n_events, acquisition.exposures_s, self._cancel.is_set)

    def _open(self, stream: str, label: str, n_frames: int) -> None:
        self._close_file()
        path = Path(self.provider.file(stream, label)).absolute()
        check_disk_space(path.parent, n_frames * self.bytes_per_frame, f"{self.name}: {n_frames} frames of {stream!r}")
        n_exposures = len(self.exposures_s)
        self._cancel.clear()
        if len(self._buffer) != n_exposures:
            self._buffer = np.zeros((n_exposures, *self._shape), dtype=np.uint16)
        self._stream = FrameStream(path, self.image_key, self._shape, n_exposures)
        logger.info("%s writes stream %r to %s", self.name, stream, path)

    @property
    def exposures_s(self) -> tuple[float, ...]:
        """Exposure times of the frames of one event in s."""
        values = tuple(float(t) for t in np.atleast_1d(self.exposure_times.get()))
        if not values or min(values) <= 0:
            raise SettingsError(f"{self.exposure_times.name} is {values} s; expected positive numbers")
        return values

    # -- taking frames ----------------------------------------------------------------------

    def trigger(self) -> DeviceStatus:
        """Take one frame for each exposure time; the status finishes when they are in the file."""
        status = DeviceStatus(self)
        if self._stream is None:
            self._open("primary", "scan", len(self.exposures_s))
        self._submit(status, self._take_event)
        return status

    def _take_event(self) -> None:
        self.record(self.exposures_s, time.monotonic())

    def next_start(self) -> float:
        """Return when the next exposure starts if frames follow each other without a gap.

        That is the end of the last frame: frames are stored while the next one is exposed, and
        wait in the camera's memory while storing lags. If it lags too far, frames are delayed.
        """
        now = time.monotonic()
        return self._frame_end if now - self._frame_end < MAX_LAG_S else now

    def record(
        self, exposures_s: tuple[float, ...], started: float, at_middle: Callable[[], None] = lambda: None
    ) -> int:
        """Take the frames of one event and store them; return the row of the first.

        Parameters
        ----------
        exposures_s : tuple of float
            One frame for each.
        started : float
            When the first exposure began (``time.monotonic``).
        at_middle : callable
            Called in the middle of the event's exposures.
        """
        stream = self._stream
        assert stream is not None
        middle: float | None = started + sum(exposures_s) / 2
        for k, exposure in enumerate(exposures_s):
            end = self._end_of_frame(started + exposure)
            if middle is not None and middle <= end:
                self._wait_until(middle)
                at_middle()
                middle = None
            self._physics.expose(exposure, self._buffer[k])
            self._wait_until(end)
            self._frame_end = started = end
        ended = time.time() - time.monotonic() + self._frame_end
        row = None if self._cancel.is_set() else stream.append(self._buffer, exposures_s, ended)
        if row is None:
            raise Cancelled
        self.frame_index.put(row)
        return row

    def _end_of_frame(self, earliest: float) -> float:
        """Return when a frame ends that is exposed until `earliest`: on the beat of the frame rate if it can."""
        due = self._frame_due + self.frame_period
        if due < earliest - MAX_CATCH_UP_S:
            due = max(earliest, self._frame_end + self.frame_period)  # a pause, not lateness: the beat starts anew
        self._frame_due = due
        return max(earliest, due, self._frame_end + 1.0 / MAX_FRAME_RATE_HZ)

    def _wait_until(self, when: float) -> None:
        if self._cancel.wait(max(0.0, when - time.monotonic())):
            raise Cancelled

    def _submit(self, status: DeviceStatus, task: Callable[[], Any]) -> None:
        """Run `task` in the camera's one thread and finish `status`."""

        def run() -> None:
            try:
                task()
            except Cancelled:
                logger.info("%s stopped in the middle of an exposure", self.name)
            except Exception as error:
                status.set_exception(error)
                return
            status.set_finished()

        if self._worker is None:
            self._cancel.clear()  # of the stop that ended the thread before
            self._worker = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        self._worker.submit(run)

    # -- documents --------------------------------------------------------------------------

    def image_data_key(self) -> dict[str, Any]:
        """Return the data key of the frames of one event.

        With one frame per event its shape is ``(H, W)``, so that the array which the catalog
        stacks from it has the shape of the data set, also while that grows.
        """
        n_frames = len(self.exposures_s)
        shape = list(self._shape) if n_frames == 1 else [n_frames, *self._shape]
        return {
            "source": f"SIM:{self.name}",
            "dtype": "array",
            "dtype_numpy": "<u2",
            "shape": shape,
            "external": "STREAM:",
        }

    def describe(self) -> dict[str, Any]:
        """Describe the frame index and the frames, which are external."""
        return {**super().describe(), self.image_key: self.image_data_key()}

    def describe_configuration(self) -> dict[str, Any]:
        """Describe the configuration with units."""
        described = super().describe_configuration()
        for attribute, units in UNITS.items():
            described[getattr(self, attribute).name]["units"] = units
        return dict(described)

    def collect_asset_docs(self) -> Iterator[StreamDocument]:
        """Yield the stream documents of all frames stored since the last call."""
        yield from self.collect_stream(each=True)[1]

    def collect_stream(self, *, each: bool, n_events: int | None = None) -> tuple[int, list[StreamDocument]]:
        """Return the number of events stored and the documents that are new; see `FrameStream.collect`."""
        return (0, []) if self._stream is None else self._stream.collect(each=each, n_events=n_events)

    # -- life cycle -------------------------------------------------------------------------

    def stage(self) -> list[object]:
        """Note whether the shutter is closed, so that `unstage` leaves it so."""
        staged = super().stage()
        self._shutter_to_close = None if self.shutter is None or self.shutter.is_open else self.shutter
        return list(staged)

    def unstage(self) -> list[object]:
        """Stop exposures and flights, close the file, drop frames computed ahead; each even if the shutter fails."""
        self.stop()
        try:
            shutter, self._shutter_to_close = self._shutter_to_close, None
            if shutter is not None and shutter.is_open:  # after a halt no plan closes it any more
                shutter.set("closed").wait()
        finally:
            self._beam_blocked = False
            self._close_file()
            self._acquisition = None
            self._physics.forget()
            unstaged = super().unstage()
        return list(unstaged)

    def stop(self, *, success: bool = False) -> None:
        """Stop the exposure, flight or rehearsal in progress and wait until its thread has ended."""
        self._cancel.set()
        flyer, self._flyer = self._flyer, None
        if flyer is not None:
            flyer.stop()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=True)

    def pause(self) -> None:
        """Note that documents may get lost, and close the shutter: a paused scan spares the sample.

        An exposure in progress runs to its end; the RunEngine takes its point again. In flight
        no point is taken again, so there the flyer closes the shutter after the point in progress.
        """
        if self._stream is not None:
            self._stream.interrupt()
        if self._flyer is None or not self._flyer.flying:
            self.block_beam()

    def resume(self) -> None:
        """Open the shutter if the pause closed it; frames that are taken again get new rows."""
        if self._flyer is None or not self._flyer.flying:
            self.unblock_beam()

    def block_beam(self) -> None:
        """Close the shutter for a while."""
        if self.shutter is not None and self.shutter.is_open:
            self.shutter.set("closed").wait()
            self._beam_blocked = True

    def unblock_beam(self) -> None:
        """Open the shutter if :meth:`block_beam` closed it."""
        if self.shutter is not None and self._beam_blocked:
            self.shutter.set("open").wait()
        self._beam_blocked = False

    def attach_flyer(self, flyer: FrameFlyer) -> None:
        """Remember the flyer in flight, so that `unstage` can stop it."""
        self._flyer = flyer

    def _close_file(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
