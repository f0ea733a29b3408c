"""A simulated beamline: devices around one shared physics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..devices import MAX_FRAME_RATE_HZ, Fccd, FileNames, Motion, Shutter, Stage
from ..errors import SettingsError
from ..geometry import Canvas, Geometry, check_energy
from ..given import as_path, check_count, check_positive, check_seconds, check_switches
from ..keywords import checks_arguments
from ..paths import ScanPaths
from ..scan_plan import Illumination
from .cameras import Camera, make_camera
from .diffraction import Diffraction
from .fccd_noise import FccdNoise
from .physics import SimulatedPhysics, StageErrors
from .probe import DEFAULT_ILLUMINATION
from .samples import Sample, make_sample

STAGE_UNITS = "um"


@dataclass(frozen=True)
class Beamline:
    """Devices of a simulated beamline, and what only a simulation knows.

    Parameters
    ----------
    fccd, stage, shutter
        The devices; ``stage.y`` and ``stage.x`` are the axes.
    physics : SimulatedPhysics
        What they share.
    exposure_s : float
        Exposure at which a frame has the photons that were asked for.
    """

    fccd: Fccd
    stage: Stage
    shutter: Shutter
    physics: SimulatedPhysics
    exposure_s: float

    @property
    def geometry(self) -> Geometry:
        """Geometry of the patterns that the solver sees."""
        return self.physics.camera.solver_geometry

    def truth(self, canvas: Canvas) -> NDArray[np.complex64]:
        """Return the sample's transmission at the pixels of a canvas."""
        return self.physics.diffraction.truth(canvas)

    def clean_patterns(
        self, positions_m: NDArray[np.float64], seed: int = 0, exposure_s: float | None = None
    ) -> NDArray[np.float32]:
        """Return patterns with nothing but photon noise; see `SimulatedPhysics.clean_patterns`."""
        return self.physics.clean_patterns(positions_m, exposure_s or self.exposure_s, seed)

    def close(self) -> None:
        """Stop the camera, close its file and give scratch space back."""
        self.fccd.unstage()
        self.physics.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@checks_arguments
def make_beamline(
    root: str | Path,
    *,
    md: Mapping[str, Any] | None = None,
    sample: str | Path | Sample = "goldballs",
    photons: float = 1e6,
    energy_ev: float = 800.0,
    distance_m: float = 0.121,
    frame_rate: float = 10.0,
    exposure_s: float | None = None,
    camera: str = "fccd",
    layout: str | None = None,
    shape: tuple[int, int] | None = None,
    illumination: Illumination = DEFAULT_ILLUMINATION,
    noise: FccdNoise | None = None,
    errors: StageErrors | None = None,
    settle_time_s: float = 0.01,
    seed: int = 0,
    provider: FileNames | None = None,
    progress: bool = True,
) -> Beamline:
    """Build a simulated beamline.

    Parameters
    ----------
    root : path
        Directory below which frames are written.
    md : mapping, optional
        ``RE.md``, from which files are named.
    sample : str, path or Sample
        "goldballs", "siemens", an image file, or any object with ``transmission``.
    photons : float
        Photons in the beam during `exposure_s`.
    energy_ev, distance_m : float
        Photon energy, and distance from sample to camera.
    frame_rate : float
        Frames per second at most, up to 200.
    exposure_s : float, optional
        Reference exposure for `photons`, ``1 / frame_rate`` by default.
    camera : {"fccd", "plain"}
        "plain" takes small frames that are diffraction patterns with photon noise, for quick tests.
    layout : str, optional
        Order of the FCCD's pixels: "fccd-assembled" (default) or "fccd-wire".
    shape : tuple of int, optional
        Frame shape of the plain camera; its window on the sample is always 1.56 µm wide at 800 eV.
    illumination : Illumination
        The zone plate.
    noise : FccdNoise, optional
        Electronics of the FCCD.
    errors : StageErrors, optional
        Errors of the stage, a few nm by default.
    settle_time_s : float
        Time that a move takes.
    seed : int
        Draws sample, camera and noise.
    provider : FileNames, optional
        Names files; :class:`~bluesky_ptycho.paths.ScanPaths` below `root` by default.
    progress : bool
        Show a bar while frames are rendered ahead.

    Returns
    -------
    Beamline
        Use it as a context manager, or call ``close()``.

    Raises
    ------
    SettingsError
        If an argument is out of range.
    NotFoundError
        If `sample` is neither a known name nor a file.
    """
    check_switches("make_beamline", progress=progress)
    positive = {"photons": photons, "frame_rate": frame_rate, "energy_ev": energy_ev, "distance_m": distance_m}
    check_positive(**positive, **({} if exposure_s is None else {"exposure_s": exposure_s}))
    check_energy("energy_ev", energy_ev)
    if frame_rate > MAX_FRAME_RATE_HZ:
        raise SettingsError(f"frame_rate is {frame_rate} Hz; expected 0 < value <= {MAX_FRAME_RATE_HZ:g}")
    check_seconds("settle_time_s", settle_time_s)
    check_count("seed", seed)
    if isinstance(sample, (str, Path)):
        sample = make_sample(sample, seed)
    root = as_path("root", root).expanduser().resolve()
    layouts = {"fccd": ("fccd-assembled", "fccd-wire"), "plain": ("plain",)}
    if camera not in layouts:
        raise SettingsError(f"camera is {camera!r}; expected one of {', '.join(map(repr, layouts))}")
    layout = layout or layouts[camera][0]
    if layout not in layouts[camera]:
        raise SettingsError(f"layout is {layout!r}; camera {camera!r} has {', '.join(map(repr, layouts[camera]))}")
    optics = make_camera(layout, energy_ev=energy_ev, distance_m=distance_m, seed=seed, shape=shape, noise=noise)
    exposure = exposure_s or 1 / frame_rate
    physics = SimulatedPhysics(
        Diffraction(optics.geometry, illumination, sample, axis_px=optics.axis_px),
        optics,
        photons_per_s=photons / exposure,
        seed=seed,
        errors=errors or StageErrors(),
        scratch=root,
        progress=progress,
    )
    shutter = Shutter(physics)
    stage = Stage(Motion(physics, STAGE_UNITS, settle_time_s=settle_time_s))
    fccd = _make_fccd(physics, optics, shutter, provider or ScanPaths(root, md), frame_rate, exposure, illumination)
    return Beamline(fccd, stage, shutter, physics, exposure)


def _make_fccd(
    physics: SimulatedPhysics,
    camera: Camera,
    shutter: Shutter,
    provider: FileNames,
    frame_rate: float,
    exposure_s: float,
    illumination: Illumination,
) -> Fccd:
    return Fccd(
        physics,
        provider=provider,
        shutter=shutter,
        shape=camera.electronics.shape,
        pixel_m=camera.geometry.pixel_m,
        layout=camera.layout,
        energy_ev=camera.geometry.energy_ev,
        distance_m=camera.geometry.distance_m,
        adu_per_ev=camera.adu_per_ev,
        frame_rate=frame_rate,
        exposure_s=exposure_s,
        illumination=illumination,
        position_units=STAGE_UNITS,
    )
