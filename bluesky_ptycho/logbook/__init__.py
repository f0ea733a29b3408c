"""A page of the beam time: a row for each scan, in one file without links to elsewhere."""

from .entries import Entry, entries
from .page import write_logbook

__all__ = ["Entry", "entries", "write_logbook"]
