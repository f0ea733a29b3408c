"""A small read-only page that follows a reconstruction in a browser; knows nothing of what it shows."""

from .server import PageServer, Source

__all__ = ["PageServer", "Source"]
