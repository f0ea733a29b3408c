"""A reconstruction as a page to read: figures, settings, provenance, made by a notebook that a user can edit.

It needs the extra ``report``; importing the package does not.
"""

from .at_the_end import ReportAtEnd
from .making import report

__all__ = ["ReportAtEnd", "report"]
