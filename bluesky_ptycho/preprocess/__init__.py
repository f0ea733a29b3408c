"""Raw frames → photons: layouts, darks and the ordered steps in between. Arrays only, no Bluesky."""

from .darks import DarkAccumulator, DarkModel
from .frame_checks import dim_frames
from .grid import output_geometry
from .pipeline import Pipeline, make_pipeline
from .positions import correct_positions
from .settings import PreprocessSettings
from .stack import Context, Stack

__all__ = [
    "Context",
    "DarkAccumulator",
    "DarkModel",
    "Pipeline",
    "PreprocessSettings",
    "Stack",
    "correct_positions",
    "dim_frames",
    "make_pipeline",
    "output_geometry",
]
