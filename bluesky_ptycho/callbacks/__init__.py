"""Live callbacks: documents in, reconstructions out."""

from .live_ptycho import LivePtycho
from .live_settings import LiveSettings
from .outcome import Outcome
from .results import ResultRun
from .updates import Progress, Sink, Update

__all__ = ["LivePtycho", "LiveSettings", "Outcome", "Progress", "ResultRun", "Sink", "Update"]
