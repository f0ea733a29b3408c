"""What live callbacks need of a catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..geometry import Geometry
from ..scan_plan import ScanPlan
from .checkpoints import DIRECTORY
from .dark_store import Darks
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


class Answers:
    """What a catalog knows that an analysis asks for; one that is not there, or cannot tell, knows nothing.

    Parameters
    ----------
    catalog : ResultCatalog or None
    """

    def __init__(self, catalog: ResultCatalog | None) -> None:
        self._catalog = catalog

    def find_darks(self, uid: str) -> Darks | None:
        """Return the dark models of an earlier run."""
        find = getattr(self._catalog, "find_darks", None)
        return None if find is None else find(uid)

    def nearest_darks(self, plan: ScanPlan, before_s: float) -> tuple[str, Darks] | None:
        """Return uid and dark models of the last run before a time whose darks serve a plan."""
        find = getattr(self._catalog, "nearest_darks", None)
        return None if find is None else find(plan, before_s)

    def last_probe(self, geometry: Geometry, before_s: float) -> LastProbe | None:
        """Return the probe of the last good result before a time."""
        find = getattr(self._catalog, "last_probe", None)
        return None if find is None else find(geometry, before_s)

    def frame_roots(self) -> Sequence[str | Path]:
        """Return the directories that frames may lie below; all may where there are none."""
        return getattr(self._catalog, "readable_roots", None) or ()

    def checkpoints_dir(self) -> Path | None:
        """Return where checkpoints go: beside the results."""
        return None if self._catalog is None else Path(self._catalog.results_dir) / DIRECTORY
