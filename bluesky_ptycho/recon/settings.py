"""Settings of the solver."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ..errors import SettingsError
from ..keywords import refuses_unknown_settings
from ..settings import Settings, documented, setting
from .detection import NOISES
from .schedule import check_schedule

REFLECTING = ("raar", "dm", "admm")
"""Algorithms that project reflections of the waves, and keep a wave of every frame and mode."""
LONGEST_WAY_M = 1e-3
"""Of the beam in one exposure: what is longer was not meant in metres."""


@documented
@refuses_unknown_settings
@dataclass(frozen=True)
class SolverSettings(Settings):
    """What the incremental solver does; the defaults serve soft and hard X-ray data alike.

    Raises
    ------
    SettingsError
        On a value out of range, or a schedule that is none.
    NotFoundError
        On an algorithm that is not known.
    """

    group: ClassVar[str | None] = "solver"

    algorithm: str = setting(
        "mpie:20,lsqml",
        "Name in the registry of algorithms, or a schedule of them: NAME:PASSES,NAME@FRAMES:PASSES,… with frames of a "
        "batch where wanted.",
    )
    modes: int | None = setting(
        None, "Incoherent probe modes; None takes those of the given probe, else 1.", low=1, high=256
    )
    batch_size: int = setting(16, "Fewest frames per object and probe update.", low=1, high=10**6, unit="frame")
    batches_per_pass: int | None = setting(
        None, "Most updates per pass: more frames make larger batches; None is the algorithm's own.", low=1, high=10**6
    )
    compact_batches: bool = setting(
        False, "Make batches of neighbours, other ones in each pass, instead of frames from all over the scan."
    )
    step: float | None = setting(None, "Relaxation of the updates; None is the algorithm's own.", low=0.0, high=2.0)
    momentum: float | None = setting(
        None, "Share of the last update that goes on in the next; None is the algorithm's own.", low=0.0, high=0.99
    )
    object_regularisation: float = setting(
        0.05, "rPIE's alpha: weight of the peak illumination in the object's step.", low=0.0, high=1.0
    )
    probe_regularisation: float = setting(
        0.1, "rPIE's alpha of the probe's step: weight of the brightest object part.", low=0.0, high=1.0
    )
    probe_start: int = setting(5, "Passes before the probe is released.", low=0, high=10**6, unit="pass")
    subpixel: bool = setting(True, "Shift the probe by each position's fraction of a pixel.")
    relaxation: float | None = setting(
        None, "Relaxation of raar, dm and admm; None is the algorithm's own.", low=0.0, high=1.0
    )
    noise: str = setting("gaussian", "Noise model: of amplitudes, or of photons.", choices=NOISES)
    pixel_weights: bool = setting(
        False, "Count each pixel by the weight that its frame brings, as those of merged exposures do."
    )
    refine_positions: bool = setting(False, "Refine the positions with the object.")
    position_model: str = setting(
        "free",
        "Each frame by itself, one affine map of the scan, or a drift in time.",
        choices=("free", "affine", "drift"),
    )
    position_bound_px: float = setting(4.0, "Longest correction of a position along each axis.", low=0.0, unit="pixel")
    fit_intensity: bool = setting(False, "Fit how bright the beam was in each frame.")
    fit_background: bool = setting(False, "Fit photons that all frames hold in common beyond the waves.")
    probe_variations: int = setting(0, "Modes by which the probe differs from frame to frame (OPR).", low=0, high=32)
    refine_start: int = setting(
        10, "Passes before any of these refinements begins, and pixels are weighed.", low=0, high=10**6, unit="pass"
    )
    motion_m: tuple[float, ...] | None = setting(
        None, "Way (y, x) of the beam during an exposure, from which the probe modes start (at least two).", unit="m"
    )
    object_tv: float = setting(0.0, "Total-variation weight on the object, in units of its amplitude.", low=0.0)
    object_max_amplitude: float | None = setting(None, "Largest amplitude of the object.", low=0.0)
    object_max_phase: float | None = setting(None, "Largest phase of the object, up or down.", low=0.0, unit="rad")
    probe_support: float | None = setting(
        None, "Share of the window's width and height that the probe may fill.", low=0.0, high=1.0
    )
    probe_pupil_threshold: float | None = setting(
        None,
        "Share of the brightest mean amplitude above which the probe's spatial frequencies lie.",
        low=0.0,
        high=1.0,
    )
    slices: int = setting(1, "Slices of a thick object, one behind the other (multislice).", low=1, high=1000)
    slice_distance_m: float | None = setting(None, "Distance from slice to slice.", low=0.0, unit="m")
    tolerance: float = setting(
        0.0, "Relative fall of the residual over ten passes below which it has converged; 0 is never.", low=0.0
    )
    tail_passes: int = setting(4, "Passes after the last frame.", low=0, high=10**6, unit="pass")
    frc_passes: int = setting(
        15, "Passes over each half data set for a Fourier ring correlation.", low=1, high=10**6, unit="pass"
    )
    seed: int = setting(0, "Seed of the frame order.", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule(self.algorithm)
        way = self.motion_m
        short = way is None or all(abs(part) <= LONGEST_WAY_M for part in way)
        if way is not None and (len(way) != 2 or self.modes == 1 or not short):
            raise SettingsError(
                f"solver.motion_m is {way} with modes {self.modes}; expected a way (y, x) in m, of "
                f"{LONGEST_WAY_M:g} m at most, and two modes or more"
            )
        for name in ("probe_support", "object_max_amplitude", "step"):
            if getattr(self, name) == 0:
                raise SettingsError(f"solver.{name} is 0; expected more, or None")
        if self.slices > 1 and not self.slice_distance_m:
            raise SettingsError(
                f"solver.slice_distance_m is {self.slice_distance_m}; expected the distance in m of "
                f"{self.slices} slices"
            )
        if self.slices == 1 and self.slice_distance_m is not None:
            raise SettingsError(
                f"solver.slice_distance_m is {self.slice_distance_m} with one slice; expected None, or slices "
                "of 2 or more"
            )
        reflecting = [name for name in REFLECTING if name in re.split(r"[,:@\s]+", self.algorithm)]
        if self.fit_background and reflecting:
            raise SettingsError(
                f"solver.fit_background is True with algorithm {self.algorithm!r}; expected an algorithm other "
                f"than {reflecting[0]}, whose reflected waves are no model of the patterns"
            )

    def weighs(self, passes: int) -> bool:
        """Return whether pixels are weighed after so many `passes`."""
        return self.pixel_weights and passes >= self.refine_start
