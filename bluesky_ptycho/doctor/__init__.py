"""Is all there that a beam time needs? Checks of this machine, a catalog and a run, each with its remedy."""

from .examination import examine
from .findings import Finding, State, format_finding

__all__ = ["Finding", "State", "examine", "format_finding"]
