"""What ``databroker.from_profile(name)`` returns for our catalogs; loaded by tiled's entry point.

tiled calls :func:`scan_catalog` for a container with the spec "BlueskyPtychoCatalog".
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

from bluesky_tiled_plugins import CatalogOfBlueskyRuns
from tiled.client.container import Container

from .embedded import PROCESSED, RAW
from .lookup import find_run
from .tree import sibling


class ScanCatalog(CatalogOfBlueskyRuns):
    """The scans; by uid it also finds reconstructions, which lie beside in ``processed``."""

    def __getitem__(self, key: Any) -> Any:
        """Find a scan or result by uid, beginning of a uid, scan number or -1; see `find_run`."""
        if key == RAW:
            return self
        if key == PROCESSED:
            return self.processed
        if self._queries or not isinstance(key, (str, Integral)):
            return super().__getitem__(key)
        return find_run(self, self.processed, key)

    @property
    def raw(self) -> ScanCatalog:
        """The scans."""
        return self

    @property
    def processed(self) -> CatalogOfBlueskyRuns | None:
        """The reconstructions."""
        return sibling(self, PROCESSED)


def scan_catalog(context: Any, *, item: Any, structure_clients: Any, **kwargs: Any) -> Any:
    """Return the scans of the catalog whose root is `item`."""
    root = Container(context, item=item, structure_clients=structure_clients, **kwargs)
    if RAW not in root:
        return root
    raw = root[RAW]
    return ScanCatalog(
        context,
        item=raw.item,
        structure_clients=structure_clients,
        include_data_sources=bool(kwargs.get("include_data_sources")),
    )
