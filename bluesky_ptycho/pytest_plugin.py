"""Fixtures for the test suite of a beamline (pytest loads them with the package installed).

``RE``, ``ptycho_catalog``, ``ptycho_beamline`` and ``short_ptycho_scan``; ``pytest --fixtures`` lists
them. Loading the plug-in imports nothing heavy; each fixture imports what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .catalog import Catalog


@pytest.fixture
def RE() -> Iterator[Any]:
    """Give a RunEngine of its own to the test, and take it down afterwards."""
    import asyncio

    from bluesky import RunEngine

    loop = asyncio.new_event_loop()
    engine = RunEngine({}, loop=loop)
    yield engine
    if engine.state not in ("idle", "panicked"):
        engine.halt()
    loop.call_soon_threadsafe(loop.stop)
    engine._th.join()
    loop.close()


@pytest.fixture
def ptycho_catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Open an empty catalog on disk, in the temporary directory of the test."""
    from .catalog import open_catalog

    with open_catalog(tmp_path / "catalog") as catalog:
        yield catalog
