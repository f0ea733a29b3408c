"""Pictures of reconstructions and of the preprocessing, drawn without a display; only a window needs pyplot."""

from __future__ import annotations

from .comparison import comparison_figure, save_comparison_png
from .explanation import explanation_figure, save_explanation_png
from .layout import reconstruction_figure, save_reconstruction_png
from .live_picture import LivePicture
from .live_view import LiveView
from .mask import mask_figure, save_mask_png
from .window import check_windows, show_reconstruction

__all__ = [
    "LivePicture",
    "LiveView",
    "check_windows",
    "comparison_figure",
    "explanation_figure",
    "mask_figure",
    "reconstruction_figure",
    "save_comparison_png",
    "save_explanation_png",
    "save_mask_png",
    "save_reconstruction_png",
    "show_reconstruction",
]
