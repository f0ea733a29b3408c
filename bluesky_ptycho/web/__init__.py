"""A small page that follows a reconstruction in a browser, and may have its knobs; knows nothing of what it shows."""

from .handler import Knobs, Source
from .server import PageServer

__all__ = ["Knobs", "PageServer", "Source"]
