"""Fixtures for the test suite of a beamline (pytest loads them with the package installed).

``RE``, ``ptycho_catalog``, ``ptycho_beamline`` and ``short_ptycho_scan``; ``pytest --fixtures`` lists
them. Loading the plug-in imports nothing heavy; each fixture imports what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .catalog import Catalog
    from .sim import Beamline


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


@pytest.fixture
def ptycho_beamline(RE: Any, ptycho_catalog: Catalog) -> Iterator[Beamline]:
    """Build a simulated beamline with a small quick camera, which writes where the catalog can read.

    ``fccd``, ``stage.y``, ``stage.x`` and ``shutter`` are devices as a plan wants them; frames are 64 x 64
    pixels, at most 200 a second.
    """
    from .sim import make_beamline

    with make_beamline(
        ptycho_catalog.frames_dir, md=RE.md, camera="plain", shape=(64, 64), frame_rate=200.0, progress=False
    ) as beamline:
        yield beamline


@pytest.fixture
def short_ptycho_scan(RE: Any, ptycho_catalog: Catalog, ptycho_beamline: Beamline) -> Callable[..., str]:
    """Return a function that measures a short scan into the catalog and returns its uid.

    The field has 5 x 5 points unless keyword arguments for :func:`~bluesky_ptycho.plans.ptycho_scan` say
    otherwise. What is subscribed to ``RE`` beforehand sees the documents: a live reconstruction, say.
    """
    from .plans import ptycho_scan

    def scan(**arguments: Any) -> str:
        beamline = ptycho_beamline
        defaults = {"width": 0.5, "height": 0.5, "step": 0.1, "exposure": 0.005, "darks": 2, "sample_name": "test"}
        plan = ptycho_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, **{**defaults, **arguments})
        token = RE.subscribe(ptycho_catalog.raw_writer())
        try:
            (uid,) = RE(plan)
        finally:
            RE.unsubscribe(token)
        return str(uid)

    return scan
