"""A simulated beamline: zone plate, sample, stage, shutter and camera."""

from .beamline import Beamline, make_beamline
from .cameras import make_camera
from .fccd_noise import FccdNoise
from .physics import SimulatedPhysics, StageErrors
from .samples import GoldBalls, ImageSample, Sample, SiemensStar

__all__ = [
    "Beamline",
    "FccdNoise",
    "GoldBalls",
    "ImageSample",
    "Sample",
    "SiemensStar",
    "SimulatedPhysics",
    "StageErrors",
    "make_beamline",
    "make_camera",
]
