"""Pictures of reconstructions, drawn without a display and without pyplot's state."""

from __future__ import annotations

from .layout import reconstruction_figure, save_reconstruction_png

__all__ = ["reconstruction_figure", "save_reconstruction_png"]
