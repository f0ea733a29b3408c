"""Raw frames → photons: layouts, darks and the ordered steps in between. Arrays only, no Bluesky."""

from .centring import centred
from .dark_watch import DarkDrift, measure_drift
from .darks import DarkAccumulator, DarkModel, misfit
from .frame_checks import dim_frames
from .grid import output_geometry
from .layouts import find_layout
from .mask import Mask
from .mean_frame import mean_frame
from .pipeline import Pipeline, make_pipeline
from .positions import correct_positions
from .settings import PreprocessSettings
from .stack import Context, Stack
from .user_images import check_images

__all__ = [
    "Context",
    "DarkAccumulator",
    "DarkDrift",
    "DarkModel",
    "Mask",
    "Pipeline",
    "PreprocessSettings",
    "Stack",
    "centred",
    "check_images",
    "correct_positions",
    "dim_frames",
    "find_layout",
    "make_pipeline",
    "mean_frame",
    "measure_drift",
    "misfit",
    "output_geometry",
]
