"""Live callbacks: documents in, reconstructions out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .results import ResultRun
from .updates import Progress, Sink, Update

if TYPE_CHECKING:
    from .live_figure import LivePtychoFigure
    from .live_ptycho import LivePtycho
    from .live_settings import LiveSettings
    from .outcome import Outcome

__all__ = ["LivePtycho", "LivePtychoFigure", "LiveSettings", "Outcome", "Progress", "ResultRun", "Sink", "Update"]

# With the solver behind them these take seconds to load, which a list of runs need not wait for.
_LAZY = {
    "LivePtycho": "live_ptycho",
    "LivePtychoFigure": "live_figure",
    "LiveSettings": "live_settings",
    "Outcome": "outcome",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
