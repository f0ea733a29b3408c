"""Ophyd devices: camera, sample stage and shutter, and the protocol of the physics behind them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .fccd import MAX_FRAME_RATE_HZ, Fccd, FileNames
from .flyer import FrameFlyer
from .physics import CameraPhysics, ShutterPhysics, StagePhysics
from .shutter import Shutter
from .stage import Motion, Stage, StageAxis

if TYPE_CHECKING:
    from .recon_control import ReconControl

__all__ = [
    "MAX_FRAME_RATE_HZ",
    "CameraPhysics",
    "Fccd",
    "FileNames",
    "FrameFlyer",
    "Motion",
    "ReconControl",
    "Shutter",
    "ShutterPhysics",
    "Stage",
    "StageAxis",
    "StagePhysics",
]


def __getattr__(name: str) -> Any:
    if name == "ReconControl":  # with the solver's settings behind it, it takes seconds to load
        return importlib.import_module(f"{__name__}.recon_control").ReconControl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
