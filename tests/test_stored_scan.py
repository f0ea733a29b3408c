"""A reconstruction read back from the catalog: all that the solver gave, also from results of older versions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.callbacks.results import SUMMARY_KEY, ResultRun
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.stored_scan import newest_scan
from tests.snapshots import learnt
from tests.stored import small_snapshot, store_result, store_scan, update


def test_what_the_solver_learnt_comes_back(catalog):
    bare = small_snapshot()
    known = learnt(bare)
    uid = store_result(catalog, store_scan(catalog), dataclasses.replace(bare, **known))
    scan = newest_scan(catalog)
    found = scan.snapshot()
    for name, expected in known.items():
        np.testing.assert_array_equal(getattr(found, name), expected, err_msg=name)
        assert np.asarray(getattr(found, name)).dtype == np.asarray(expected).dtype, name
    assert repr(scan).startswith("<scan 1 gold: resolution 12.0 nm, 6/0 frames used, converged; ")
    primary = catalog[uid]["primary"]
    data = primary.read()
    assert data["slices"].dims[1:] == ("slice", "y", "x")
    assert data["background"].dims[1:] == ("pattern_y", "pattern_x")
    keys = primary.metadata["data_keys"]
    for name in ("position_shifts", "drift_y_m", "drift_x_m"):
        assert keys[name]["units"] == "m"
    stop = catalog[uid].stop["ptychography"]
    assert (stop["converged"], stop["drift_y_m"], stop["drift_x_m"]) == (1, 3e-9, -4e-9)


@pytest.mark.slow
def test_what_was_not_asked_for_is_not_there(catalog):
    uid = store_result(catalog, store_scan(catalog), small_snapshot())
    assert_nothing_learnt(newest_scan(catalog).snapshot())
    assert "gain" not in catalog[uid]["primary"]
    assert catalog[uid].stop["ptychography"]["drift_y_m"] is None


@pytest.mark.slow
def test_a_result_from_before_drift_and_convergence_is_read(catalog):
    write, late = catalog.result_writer(), ("converged", "drift_y_m", "drift_x_m")

    def write_as_before(name, doc):
        if name == "stop":
            doc = doc | {SUMMARY_KEY: {k: v for k, v in doc[SUMMARY_KEY].items() if k not in late}}
        write(name, doc)

    sink = ResultRun(write_as_before, catalog.results_dir)
    sink(update("final", store_scan(catalog), small_snapshot(), exit_status="success"))
    scan = newest_scan(catalog)
    assert_nothing_learnt(scan.snapshot())
    assert "converged" not in repr(scan)


def assert_nothing_learnt(snapshot):
    unknown = learnt(snapshot)
    assert {name: getattr(snapshot, name) for name in unknown} == dict.fromkeys(unknown) | {"converged": False}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (3, "path is 3 (int); expected a path"),
        ("", "path is '' (str); expected a path"),
        ("x.qqq", "path is x.qqq; expected the name of a .png or .pdf or .svg or .jpg or .jpeg file"),
        ("nowhere/x.png", "path is nowhere/x.png; its directory nowhere does not exist"),
        (".", "path is ., which is a directory"),
        ("/proc/x.png", "path is /proc/x.png; its directory /proc cannot be written to"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_in_a_line(catalog, tmp_path, monkeypatch, path, says):
    store_result(catalog, store_scan(catalog), small_snapshot())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PtychoError) as caught:
        newest_scan(catalog).show(path)
    assert says in str(caught.value) and "\n" not in str(caught.value)
