"""The one place that knows tiled and databroker: open a catalog, find runs, write runs.

A catalog holds two sibling containers, ``raw`` (scans) and ``processed`` (reconstructions),
so that ``catalog[-1]`` stays the last scan. Importing this package is cheap; tiled is
imported when a catalog is opened.
"""

from .access import Catalog, open_catalog
from .assets import FramesAsset, dark_run, frames_uri
from .listing import RunRow, format_runs, list_runs, list_strangers
from .profiles import RememberCatalog, default_target, remember_catalog, write_profile
from .restore import Restored, kept_files, restore
from .search import Search, make_search

__all__ = [
    "Catalog",
    "FramesAsset",
    "RememberCatalog",
    "Restored",
    "RunRow",
    "Search",
    "dark_run",
    "default_target",
    "format_runs",
    "frames_uri",
    "kept_files",
    "list_runs",
    "list_strangers",
    "make_search",
    "open_catalog",
    "remember_catalog",
    "restore",
    "write_profile",
]
