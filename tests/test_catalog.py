"""The catalog: look-up and lists, also from other processes."""

import contextlib
import dataclasses
import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid

import numpy as np
import pytest
from event_model import compose_run

from bluesky_ptycho.catalog import (
    Catalog,
    dark_run,
    embedded,
    format_runs,
    frames_uri,
    list_runs,
    open_catalog,
    write_profile,
)
from bluesky_ptycho.errors import NotFoundError, PtychoError
from tests.stored import small_snapshot, store_result, store_scan

OTHER_PROCESS = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from databroker import from_profile
from databroker.queries import Key

profile, raw_uid, result_uid, expected = sys.argv[1:]
catalog = from_profile(profile)
assert "bluesky_ptycho.callbacks" not in sys.modules
assert catalog[-1].start["uid"] == raw_uid
assert catalog[raw_uid].start["scan_id"] == 2 and catalog[2].start["uid"] == raw_uid
result = catalog[result_uid]
assert result.start["raw_uid"] == raw_uid
assert len(catalog) == 3 and len(catalog["processed"]) == 2
(_, found) = catalog.processed.search(Key("start.raw_uid") == raw_uid).values()
assert found.start["uid"] == result_uid
array = result["primary"]["object"]
assert array.dtype == np.complex64
reference = np.load(expected)
np.testing.assert_array_equal(array[0, 5:9, 2:4], reference[5:9, 2:4])
np.testing.assert_array_equal(array.read()[0], reference)
print("found")
"""

PLAIN_TILED = """
import sys, warnings
warnings.simplefilter("ignore")
import tiled.client.container as container

found = container.entrypoints.get_group_named


def without_ours(group):
    return {name: entry for name, entry in found(group).items() if name != "BlueskyPtychoCatalog"}


container.entrypoints.get_group_named = without_ours
from tiled.client import from_profile

profile, raw_uid, result_uid, expected = sys.argv[1:]
catalog = from_profile(profile)
assert sorted(catalog) == ["processed", "raw"]
assert catalog["raw"][-1].start["uid"] == raw_uid
assert catalog["processed", result_uid].start["raw_uid"] == raw_uid
print("found")
"""


def run_script(script, profiles, *arguments):
    environment = {**os.environ, "TILED_PROFILES": str(profiles), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def filled(blank_catalog, tmp_path_factory):
    """A catalog that tests only read: three scans, and two results of the last one."""
    directory = shutil.copytree(blank_catalog, tmp_path_factory.mktemp("filled") / "catalog")
    with open_catalog(directory) as catalog:
        for scan_id, more in ((1, {"n_darks": 0}), (1, {"close": False}), (2, {})):
            last = store_scan(catalog, scan_id=scan_id, **more)
        for seed in (0, 1):
            store_result(catalog, last, small_snapshot(seed=seed))
        yield catalog


# -- look-up ------------------------------------------------------------------------------------


def test_runs_are_found_by_uid_prefix_number_and_age(filled):
    first, again, last = (run.start["uid"] for run in filled.raw.values())
    result = filled.processed[-1].start["uid"]
    for key, uid in {
        first: first,
        first[:9]: first,
        1: again,
        "1": again,
        np.int64(2): last,
        -1: last,
        "-1": last,
        -3: first,
        result: result,
        result[:9]: result,
    }.items():
        assert filled[key].start["uid"] == uid, key
        assert Catalog.wrap(filled.raw)[key].start["uid"] == uid
    assert len(filled) == 3


def test_a_run_that_is_not_there_is_one_clear_line(filled):
    for key, message in {
        -4: "no scan -4: the catalog has 3 scans",
        9: "no scan has the number 9",
        "facade": "no run 'facade' in the catalog",
        str(uuid.UUID(int=1, version=4)): "no run '00000000",
        "a%": "neither a uid",
        "": "neither a uid",
    }.items():
        with pytest.raises(NotFoundError, match=message) as refused:
            filled[key]
        assert "\n" not in str(refused.value)


def test_the_beginning_of_two_uids_is_refused(catalog):
    writer = catalog.raw_writer()
    for tail in "12":
        writer("start", compose_run(uid=f"beef{tail}" + str(uuid.uuid4())[5:]).start_doc)
    with pytest.raises(NotFoundError, match="'beef' fits several runs"):
        catalog["beef"]
    assert catalog["beef1"].start["uid"].startswith("beef1")


def test_a_few_digits_are_a_number_and_never_the_beginning_of_a_uid(catalog):
    store_scan(catalog, scan_id=1)
    writer, uid = catalog.raw_writer(), "5123" + str(uuid.uuid4())[4:]
    writer("start", compose_run(uid=uid, metadata={"scan_id": 2}).start_doc)
    for key in ("5", "512"):
        with pytest.raises(NotFoundError, match=f"no scan has the number {key}"):
            catalog[key]
    assert catalog["5123"].start["uid"] == uid
    for key in ("0", "-0"):
        with pytest.raises(NotFoundError, match="no scan has the number 0; expected 1 or more, or -1 for the last"):
            catalog[key]


def test_an_empty_catalog_says_so(catalog):
    with pytest.raises(NotFoundError, match="the catalog has 0 scans"):
        catalog[-1]
    assert list_runs(catalog) == []


def test_frames_that_are_not_there(filled):
    with pytest.raises(NotFoundError, match="no frames 'cam_image' in a stream 'dark'"):
        frames_uri(filled[-3], "dark")
    result = filled.processed[-1]
    with pytest.raises(NotFoundError, match="not measured with a scan plan"):
        frames_uri(result)
    assert frames_uri(result, key="object").dataset == "/entry/object"


def test_the_run_that_has_the_darks(filled):
    assert dark_run(filled, -1).start["uid"] == filled[-1].start["uid"]
    assert dark_run(filled, -3) is None
    assert filled.find_darks("facade") is None


# -- lists --------------------------------------------------------------------------------------


def test_the_list_shows_scans_with_their_reconstructions_newest_first(filled):
    rows = list_runs(filled)
    new, middle, old = rows
    assert [row.uid for row in rows] == [filled[key].start["uid"] for key in (-1, -2, -3)]
    assert (new.frames, new.status, new.sample, middle.status) == (6, "success", "gold", "open")
    assert old.reconstructions == middle.reconstructions == ()
    older, newer = (run.start["uid"] for run in filled.processed.values())
    assert [row.uid for row in new.reconstructions] == [newer, older]
    assert new.reconstructions[0].resolution_m == 12e-9
    assert list_runs(filled, limit=1) == [new]
    table = format_runs(rows).splitlines()
    assert len(table) == 6
    assert table[1].split()[0] == "2" and "12.0 nm" in table[2] and newer[:8] in table[2]
    assert table[4].split()[-3:] == ["-", "open", middle.uid[:8]]
    assert max(map(len, table)) <= 100
    at_limit = dataclasses.replace(new, reconstructions=(dataclasses.replace(new.reconstructions[0], limit_m=12e-9),))
    assert "12.0 nm or finer" in format_runs([at_limit])


# -- other processes, profiles, servers -------------------------------------------------------------


@pytest.mark.slow
def test_another_process_finds_the_runs_by_profile_with_databroker_alone(filled, tmp_path):
    file = write_profile("demo", filled.name, tmp_path / "profiles")
    assert file == tmp_path / "profiles" / "demo.yml"
    np.save(tmp_path / "object.npy", small_snapshot(seed=1).object)
    uids = filled[-1].start["uid"], filled.processed[-1].start["uid"]
    # While this process has the catalog open, too.
    for script in (OTHER_PROCESS, PLAIN_TILED):
        assert run_script(script, file.parent, "demo", *uids, tmp_path / "object.npy") == "found"


def test_what_is_no_catalog_is_refused(filled):
    assert Catalog.wrap(filled) is filled
    with pytest.raises(PtychoError, match=r"catalog is a builtins\.dict; expected a tiled container"):
        Catalog.wrap({})
    with pytest.raises(PtychoError, match="expected a tiled container of Bluesky runs"):
        Catalog.wrap(filled[-1])


def test_a_library_that_tiled_cannot_use_is_kept_from_it(tmp_path, monkeypatch):
    (tmp_path / "httpx2.py").write_text("Client = None\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "httpx2", raising=False)
    monkeypatch.delitem(sys.modules, "starlette.testclient", raising=False)
    embedded._import_test_client()
    assert sys.modules["starlette.testclient"].httpx.__name__ == "httpx"
    assert "httpx2" not in sys.modules
    assert importlib.import_module("httpx2").Client is None, "for others it is there"


def test_a_new_catalog_is_what_tiled_makes(tmp_path):
    def content(file):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            tables = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
            return tables, connection.execute("SELECT * FROM alembic_version").fetchall()

    embedded.make_database(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.db"]
    tiled = [sys.executable, "-m", "tiled", "catalog", "init", f"sqlite:///{tmp_path / 'tiled.db'}"]
    subprocess.run(tiled, check=True, capture_output=True, timeout=280)
    assert content(tmp_path / "catalog.db") == content(tmp_path / "tiled.db")
