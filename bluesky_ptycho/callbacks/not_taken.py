"""Why a ptychography scan is left out, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NotTaken:
    """What ``LivePtycho(accept=...)`` may return for a run that it leaves out, so that somebody is told; it is false.

    Parameters
    ----------
    reason : str
        What the run is, and what would have been taken.
    """

    reason: str

    def __bool__(self) -> bool:
        return False
