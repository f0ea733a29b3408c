"""The catalog finds the probe of the last good result."""

from __future__ import annotations

import dataclasses

import numpy as np

from bluesky_ptycho.callbacks.results import ResultRun
from tests.stored import GEOMETRY, small_snapshot, update

START = {"uid": "aa8f7a4e-0000-4000-8000-000000000000", "time": 0.0, "scan_id": 12}


def store(catalog, seed, *, exit_status="success", **changes):
    """Write a result with a probe of its own; return its uid."""
    geometry = dataclasses.replace(GEOMETRY, **changes)
    found = dataclasses.replace(small_snapshot(seed=seed, frc=False), geometry=geometry)
    sink = ResultRun(catalog.result_writer(), catalog.results_dir)
    sink(dataclasses.replace(update("final", START, found, exit_status=exit_status), geometry=geometry))
    return sink.result_uid


def test_the_newest_good_result_of_the_same_geometry_goes_before_a_newer_one(catalog):
    assert catalog.last_probe(GEOMETRY, 2e9) is None
    store(catalog, 0)
    wanted = store(catalog, 1, energy_ev=800.5)
    binned = store(catalog, 2, shape=(8, 8))
    other = store(catalog, 3, energy_ev=710.2)
    store(catalog, 4, exit_status="abort")

    last = catalog.last_probe(GEOMETRY, 1e10)
    assert last.uid == wanted
    assert last.geometry.energy_ev == 800.5
    np.testing.assert_array_equal(last.read(), small_snapshot(seed=1).probe)
    assert catalog.last_probe(dataclasses.replace(GEOMETRY, shape=(8, 8)), 1e10).uid == binned

    unfit = catalog.last_probe(dataclasses.replace(GEOMETRY, energy_ev=900.0), 1e10)
    assert (unfit.uid, unfit.geometry.energy_ev) == (other, 710.2), "the newest good one, to be told about"

    begun = {uid: catalog[uid].start["time"] for uid in (wanted, other)}
    assert catalog.last_probe(GEOMETRY, begun[wanted]).uid != wanted, "a replay finds what the live run could find"
    assert catalog.last_probe(GEOMETRY, 1.0) is None
