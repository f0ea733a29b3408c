"""Ophyd devices: camera, sample stage and shutter, and the protocol of the physics behind them."""

from .fccd import Fccd, FileNames
from .flyer import FrameFlyer
from .physics import CameraPhysics, ShutterPhysics, StagePhysics
from .shutter import Shutter
from .stage import Motion, Stage, StageAxis

__all__ = [
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
