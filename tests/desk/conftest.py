"""A catalog of three scans that the tests of all tools share, and a place to work in."""

from __future__ import annotations

import shutil
import time

import pytest

from bluesky_ptycho.catalog import open_catalog
from tests.stored import store_result, store_scan

from .commands import HOSTILE, KEY, PERSONAL

DAY = 86400.0


@pytest.fixture(scope="package")
def desk(blank_catalog, tmp_path_factory):
    """A catalog with scan 1 (old, 800 eV, with a result of 12 nm), scan 2 (hostile name, 1200 eV), scan 3 (open)."""
    directory = shutil.copytree(blank_catalog, tmp_path_factory.mktemp("desk") / "catalog")
    now = time.time()
    with open_catalog(directory) as catalog:
        secret = {"note": f"api_key={KEY}", "tiled": {"api_key": KEY}, "path": str(directory / "frames" / "x.h5")}
        first = store_scan(catalog, scan_id=1, sample_name="Gold balls", time=now - 5 * DAY, **PERSONAL, **secret)
        store_result(catalog, first, messages=(f"frames of Gold balls lie in {directory}/frames",))
        store_scan(catalog, scan_id=2, sample_name=HOSTILE, time=now - DAY / 2, planned={"energy_ev": 1200.0})
        store_scan(catalog, scan_id=3, sample_name="gold_2", time=now - 60, close=False)
        yield catalog


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path
