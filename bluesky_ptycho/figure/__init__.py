"""Pictures of reconstructions and of the preprocessing, drawn without a display and without pyplot's state."""

from __future__ import annotations

from .explanation import explanation_figure, save_explanation_png
from .layout import reconstruction_figure, save_reconstruction_png

__all__ = ["explanation_figure", "reconstruction_figure", "save_explanation_png", "save_reconstruction_png"]
