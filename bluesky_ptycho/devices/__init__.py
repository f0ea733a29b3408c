"""Ophyd devices: camera, sample stage and shutter, and the protocol of the physics behind them."""

from .fccd import MAX_FRAME_RATE_HZ, Fccd, FileNames
from .flyer import FrameFlyer
from .physics import CameraPhysics, ShutterPhysics, StagePhysics
from .shutter import Shutter
from .stage import Motion, Stage, StageAxis

__all__ = [
    "MAX_FRAME_RATE_HZ",
    "CameraPhysics",
    "Fccd",
    "FileNames",
    "FrameFlyer",
    "Motion",
    "Shutter",
    "ShutterPhysics",
    "Stage",
    "StageAxis",
    "StagePhysics",
]
