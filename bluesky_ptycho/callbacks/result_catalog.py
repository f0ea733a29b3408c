"""What live callbacks need of a catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..geometry import Geometry
from ..scan_plan import ScanPlan
from .first_probe import LastProbe


class ResultCatalog(Protocol):
    """What :class:`~bluesky_ptycho.callbacks.LivePtycho` needs of a catalog."""

    @property
    def results_dir(self) -> Any:
        """Directory of the result runs' HDF5 files."""

    def result_writer(self) -> Callable[[str, Mapping[str, Any]], None]:
        """Return a callable that stores the documents of a result run."""

    def find_darks(self, uid: str) -> Any:
        """Return dark models of an earlier run, or None."""

    def nearest_darks(self, plan: ScanPlan, before_s: float) -> Any:
        """Return uid and dark models of the last run before a time whose darks serve a plan, or None."""

    def last_probe(self, geometry: Geometry, before_s: float) -> LastProbe | None:
        """Return the probe of the last good result before a time, if possible one of this geometry, or None."""
