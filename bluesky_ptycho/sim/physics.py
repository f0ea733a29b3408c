"""The world behind the devices: one stage, one shutter, one beam, one camera."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..devices.physics import AxisName
from ..terminal import ProgressLine
from .cameras import Camera
from .diffraction import Diffraction
from .sampling import poisson_of_field
from .scratch import ScratchFrames

PICOMETRES = 1e12
BAR_FROM_FRAMES = 32
"""Fewer frames are rendered without a progress bar."""


class Shot(NamedTuple):
    """What decides a frame: setpoints in pm (None in the dark), exposure in ns, how often taken before."""

    y: int | None
    x: int | None
    exposure: int
    take: int


@dataclass(frozen=True)
class StageErrors:
    """How far the stage is off, rms in m: true position from setpoint, readback from true position."""

    position_m: float = 2e-9
    encoder_m: float = 1e-9


class SimulatedPhysics:
    """One simulated beamline.

    Where the stage truly comes to rest is a function of the setpoint, and a frame a function of
    seed, setpoint, exposure and the number of equal frames before it. So a frame rendered ahead
    is the frame that would have been taken, and equal seeds give equal data.

    Parameters
    ----------
    diffraction : Diffraction
        Beam and sample.
    camera : Camera
        Makes frames of it.
    photons_per_s : float
        Photons in the beam.
    seed : int
        Draws all noise.
    errors : StageErrors
        Of the stage.
    scratch : Path
        Directory for frames that are rendered ahead.
    progress : bool
        Show a bar while rendering.
    """

    def __init__(
        self,
        diffraction: Diffraction,
        camera: Camera,
        *,
        photons_per_s: float,
        seed: int,
        errors: StageErrors,
        scratch: Path,
        progress: bool = True,
    ) -> None:
        self.diffraction, self.camera = diffraction, camera
        self.photons_per_s = photons_per_s
        self.is_open = False
        self._seed, self._errors, self._progress = seed, errors, progress
        self._scratch_directory = scratch
        self._setpoint: dict[AxisName, int] = {"y": 0, "x": 0}
        self._encoder = {axis: np.random.default_rng([seed, 0xE0C, i]) for i, axis in enumerate(("y", "x"))}
        self._taken: Counter[Shot] = Counter()
        self._rehearsed: dict[Shot, int] = {}
        self._scratch: ScratchFrames | None = None
        self._lock = threading.RLock()
        self._workspace = threading.local()

    # -- stage and shutter ------------------------------------------------------------------

    def move(self, axis: AxisName, setpoint_m: float) -> None:
        """Bring an axis to a setpoint."""
        self._setpoint[axis] = _key(setpoint_m)

    def true_position_m(self, axis: AxisName, setpoint_m: float) -> float:
        """Return where an axis comes to rest."""
        return self._true_position_m(axis, _key(setpoint_m))

    def _true_position_m(self, axis: AxisName, setpoint: int) -> float:
        rng = np.random.default_rng([self._seed, 0x57A6E, axis == "x", setpoint + 2**62])
        return setpoint / PICOMETRES + self._errors.position_m * float(rng.standard_normal())

    def readback_m(self, axis: AxisName) -> float:
        """Return the true position with the noise of the encoder."""
        with self._lock:
            noise = float(self._encoder[axis].standard_normal())
        return self._true_position_m(axis, self._setpoint[axis]) + self._errors.encoder_m * noise

    def set_shutter(self, is_open: bool) -> None:
        """Let the beam pass or block it."""
        self.is_open = is_open

    # -- frames -----------------------------------------------------------------------------

    def expose(self, exposure_s: float, out: NDArray[np.uint16]) -> None:
        """Write the frame that is taken now into `out`; play it if it was rehearsed."""
        y, x = (self._setpoint["y"], self._setpoint["x"]) if self.is_open else (None, None)
        shot = self._next_take(y, x, exposure_s, self._taken)
        with self._lock:
            slot, scratch = self._rehearsed.pop(shot, None), self._scratch
            if slot is not None and scratch is not None:
                scratch.read(slot, out)
                return
        self._render(shot, out)

    def _next_take(self, y: int | None, x: int | None, exposure_s: float, taken: Counter[Shot]) -> Shot:
        first = Shot(y, x, round(exposure_s * 1e9), 0)
        take = taken[first]
        taken[first] += 1
        return first._replace(take=take)

    def _render(self, shot: Shot, out: NDArray[np.uint16]) -> None:
        entropy = [self._seed, *(0 if v is None else v + 2**62 for v in shot[:2]), shot.exposure, shot.take]
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))
        photons = self._photon_buffer()
        if shot.y is None or shot.x is None:
            photons.fill(0)
        else:
            position = self._true_position_m("y", shot.y), self._true_position_m("x", shot.x)
            self._draw(position, shot.exposure * 1e-9, int(rng.integers(2**63)), photons)
        self.camera.electronics.raw(photons, rng, out)

    def _draw(self, position_m: tuple[float, float], exposure_s: float, seed: int, out: NDArray[np.float32]) -> None:
        field = self.diffraction.field(position_m)
        poisson_of_field(field, self.photons_per_s * exposure_s, np.uint64(seed), out)

    def _photon_buffer(self) -> NDArray[np.float32]:
        """Return this thread's own buffer."""
        if not hasattr(self._workspace, "photons"):
            self._workspace.photons = np.empty(self.camera.geometry.shape, dtype=np.float32)
        return self._workspace.photons  # type: ignore[no-any-return]

    # -- rendering ahead --------------------------------------------------------------------

    def rehearsal_space(self) -> Path:
        """Return the directory that rehearsed frames go to."""
        return self._scratch_directory

    def rehearse(
        self,
        positions_m: NDArray[np.float64] | None,
        n_events: int,
        exposures_s: tuple[float, ...],
        cancelled: Callable[[], bool],
    ) -> None:
        """Render the frames of coming events on all cores; see `CameraPhysics.rehearse`."""
        if positions_m is not None:
            self.diffraction.cover(positions_m)
        points: Iterable[tuple[int | None, int | None]] = (
            [(None, None)] * n_events if positions_m is None else [(_key(y), _key(x)) for y, x in positions_m]
        )
        taken = Counter(self._taken)
        shots = [self._next_take(y, x, exposure, taken) for y, x in points for exposure in exposures_s]
        shots = [shot for shot in shots if shot not in self._rehearsed]
        with self._lock:
            first = max(self._rehearsed.values(), default=-1) + 1
            if self._scratch is None:
                self._scratch = ScratchFrames(self._scratch_directory, self.camera.electronics.shape)
            scratch = self._scratch

        def render(task: tuple[int, Shot]) -> None:
            if cancelled():
                return
            slot, shot = task
            if not hasattr(self._workspace, "frame"):
                self._workspace.frame = np.empty(self.camera.electronics.shape, dtype=np.uint16)
            self._render(shot, self._workspace.frame)
            scratch.write(slot, self._workspace.frame)
            with self._lock:
                self._rehearsed[shot] = slot

        told = self._progress and len(shots) >= BAR_FROM_FRAMES
        with (
            ThreadPoolExecutor(available_cores(), thread_name_prefix="render") as pool,
            ProgressLine(len(shots), "rendering frames", "frame", leave=False, enabled=told) as line,
        ):
            for n, _ in enumerate(pool.map(render, enumerate(shots, start=first)), start=1):
                if cancelled():
                    break
                line.show(n)

    def forget(self) -> None:
        """Drop all rehearsed frames and the space they take."""
        with self._lock:
            self._rehearsed.clear()
            scratch, self._scratch = self._scratch, None
        if scratch is not None:
            scratch.close()

    # -- what is known of the simulation ----------------------------------------------------

    def clean_patterns(self, positions_m: NDArray[np.float64], exposure_s: float, seed: int = 0) -> NDArray[np.float32]:
        """Return what a camera without electronics would give the solver.

        Parameters
        ----------
        positions_m : ndarray (n, 2)
            True positions ``(y, x)`` of the stage.
        exposure_s : float
            Exposure time.
        seed : int
            Draws the photons.

        Returns
        -------
        ndarray (n, ny, nx) float32
            Photons per solver pixel with Poisson noise; zero frequency at ``[ny // 2, nx // 2]``.
        """
        positions = np.asarray(positions_m, dtype=np.float64).reshape(-1, 2)
        self.diffraction.cover(positions)
        b, (ny, nx) = self.camera.binning, self.camera.solver_geometry.shape
        patterns = np.empty((len(positions), ny, nx), dtype=np.float32)
        seeds = np.random.SeedSequence([self._seed, 0xC1EA7, seed]).generate_state(len(positions), np.uint64)

        def render(task: int) -> None:
            photons = self._photon_buffer()
            y, x = positions[task]
            self._draw((float(y), float(x)), exposure_s, int(seeds[task] >> np.uint64(1)), photons)
            patterns[task] = photons[: ny * b, : nx * b].reshape(ny, b, nx, b).sum(axis=(1, 3))

        with ThreadPoolExecutor(available_cores(), thread_name_prefix="render") as pool:
            list(pool.map(render, range(len(positions))))
        return patterns


def _key(position_m: float) -> int:
    return round(position_m * PICOMETRES)


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
