"""Settings of the solver."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import Settings, setting
from .detection import NOISES


@dataclass(frozen=True)
class SolverSettings(Settings):
    """What the incremental solver does; the defaults serve soft and hard X-ray data alike."""

    algorithm: str = setting("mpie", "Name in the registry of algorithms.")
    modes: int | None = setting(None, "Incoherent probe modes; None takes those of the given probe, else 1.", low=1)
    batch_size: int = setting(16, "Fewest frames per object and probe update.", low=1, unit="frame")
    batches_per_pass: int | None = setting(
        None, "Most updates per pass: more frames make larger batches; None is the algorithm's own.", low=1
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
    probe_start: int = setting(5, "Passes before the probe is released.", low=0, unit="pass")
    subpixel: bool = setting(True, "Shift the probe by each position's fraction of a pixel.")
    relaxation: float | None = setting(
        None, "Relaxation of raar, dm and admm; None is the algorithm's own.", low=0.0, high=1.0
    )
    noise: str = setting("gaussian", "Noise model: of amplitudes, or of photons.", choices=NOISES)
    tail_passes: int = setting(4, "Passes after the last frame.", low=0, unit="pass")
    frc_passes: int = setting(15, "Passes over each half data set for a Fourier ring correlation.", low=1, unit="pass")
    seed: int = setting(0, "Seed of the frame order.", low=0)
