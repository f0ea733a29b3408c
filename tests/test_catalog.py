"""The catalog: look-up, writing, profiles, servers, other processes."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid

import h5py
import numpy as np
import pytest
from event_model import compose_run

from bluesky_ptycho.catalog import (
    Catalog,
    dark_run,
    default_target,
    format_runs,
    frames_uri,
    list_runs,
    open_catalog,
    remember_catalog,
    write_profile,
)
from bluesky_ptycho.errors import NotFoundError, PtychoError, SettingsError
from tests.stored import numbered_frames, scan_documents, small_snapshot, store_result, store_scan

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
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
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


def test_a_scan_counts_at_once(catalog):
    for number in range(3):
        assert len(catalog) == number
        assert repr(catalog).endswith(f": {number} scan>" if number == 1 else f": {number} scans>")
        store_scan(catalog, n_darks=0)


def test_an_empty_catalog_says_so(catalog):
    with pytest.raises(NotFoundError, match="the catalog has 0 scans"):
        catalog[-1]
    assert list_runs(catalog) == []


# -- frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize("exposures", [(0.1,), (0.1, 0.02)])
def test_each_stream_reads_the_frames_of_its_file(catalog, exposures):
    k = len(exposures)
    run = catalog[store_scan(catalog, exposures_s=exposures)["uid"]]
    for stream, n, seed in (("dark", 2, 1), ("primary", 6, 2)):
        expected = numbered_frames(n * k, seed)
        stored = run[stream]["cam_image"]
        np.testing.assert_array_equal(stored.read(), expected.reshape(n, k, 16, 16))
        np.testing.assert_array_equal(stored[1, 0], expected[k])
        asset = frames_uri(run, stream)
        with h5py.File(asset.uri.removeprefix("file://localhost")) as file:
            np.testing.assert_array_equal(file[asset.dataset], expected)
        np.testing.assert_array_equal(run[stream]["cam_frame_index"].read(), np.arange(n) * k)


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


def test_a_frames_directory_that_could_not_be_read_back_is_refused(catalog, tmp_path):
    outside = tmp_path / "elsewhere"
    with pytest.raises(PtychoError, match=r"elsewhere cannot be read back by catalog .*frames="):
        catalog.require_readable(outside)
    catalog.require_readable(catalog.frames_dir / "2026-3")


def test_outside_frames_are_readable_once_named_and_stay_so(catalog_dir, tmp_path):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    with open_catalog(catalog_dir, frames=[outside]) as catalog:
        catalog.require_readable(outside)
        writer = catalog.raw_writer()
        for name, doc in scan_documents(outside):
            writer(name, doc)
    with open_catalog(catalog_dir) as catalog:
        stored = catalog[-1]["primary"]["cam_image"].read()
    np.testing.assert_array_equal(stored[:, 0], numbered_frames(6, 2))


# -- writing ------------------------------------------------------------------------------------


def test_waiting_rows_are_written_after_a_while(catalog):
    writer = catalog.raw_writer(batch=1000, flush_s=0.05)
    documents = list(scan_documents(catalog.frames_dir))
    for name, doc in documents[:-1]:
        writer(name, doc)
    time.sleep(0.06)
    slow = catalog.raw_writer(batch=1000, flush_s=1000.0)
    others = list(scan_documents(catalog.frames_dir))
    for name, doc in others[:-1]:
        slow(name, doc)
    assert "internal" not in catalog[others[0][1]["uid"]]["primary"].base
    writer(*documents[-2])
    run = catalog[documents[0][1]["uid"]]
    assert len(run["primary"]["cam_frame_index"].read()) >= 6
    assert run["primary"]["cam_image"].shape[0] >= 6


def test_a_late_stop_document_does_not_count_the_last_frames_twice(catalog):
    writer = catalog.raw_writer(batch=1000, flush_s=1.0)
    *documents, stop = scan_documents(catalog.frames_dir, n_darks=0)
    for name, doc in documents:
        writer(name, doc)
    time.sleep(1.05)
    writer(*stop)
    assert catalog[-1]["primary"]["cam_image"].shape[0] == 6


def test_documents_that_the_server_refuses_are_kept_and_the_scan_goes_on(catalog):
    documents = list(scan_documents(catalog.frames_dir))
    for _ in range(2):  # the second time the run exists already
        writer = catalog.raw_writer()
        for name, doc in documents:
            writer(name, doc)
    (kept,) = catalog.backup_dir.iterdir()
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [lines[0]["name"], lines[-1]["name"]] == ["start", "stop"] and len(lines) == len(documents)
    np.testing.assert_array_equal(catalog[-1]["primary"]["cam_frame_index"].read(), np.arange(6))


def test_two_threads_write_at_the_same_time(catalog):
    start = store_scan(catalog, scan_id=1)
    errors = []

    def results():
        try:
            for _ in range(2):
                store_result(catalog, start)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=results)
    thread.start()
    for scan_id in range(2, 4):
        store_scan(catalog, scan_id=scan_id)
    thread.join()
    assert not errors
    rows = list_runs(catalog)
    assert [row.scan_id for row in rows] == [3, 2, 1]
    assert [len(row.reconstructions) for row in rows] == [0, 0, 2]


def test_a_run_engine_writes_into_it(catalog):
    from bluesky import RunEngine
    from bluesky.plans import scan
    from ophyd.sim import det, motor

    engine = RunEngine()
    engine.subscribe(catalog.raw_writer())
    (uid,) = engine(scan([det], motor, 0, 1, 4))
    assert catalog[-1].start["uid"] == uid
    np.testing.assert_allclose(catalog[uid]["primary"]["motor"].read(), np.linspace(0, 1, 4))


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


def test_another_process_finds_the_runs_by_profile_with_databroker_alone(filled, tmp_path):
    file = write_profile("demo", filled.name, tmp_path / "profiles")
    assert file == tmp_path / "profiles" / "demo.yml"
    np.save(tmp_path / "object.npy", small_snapshot(seed=1).object)
    uids = filled[-1].start["uid"], filled.processed[-1].start["uid"]
    # While this process has the catalog open, too.
    for script in (OTHER_PROCESS, PLAIN_TILED):
        assert run_script(script, file.parent, "demo", *uids, tmp_path / "object.npy") == "found"


def test_a_profile_is_a_catalog(catalog_dir, tmp_path, monkeypatch):
    import tiled.profiles

    write_profile("beamline-x", catalog_dir, tmp_path)
    monkeypatch.setattr(tiled.profiles, "paths", [tmp_path])
    tiled.profiles.load_profiles.cache_clear()
    with open_catalog("beamline-x") as catalog:
        start = store_scan(catalog)
        result = store_result(catalog, start)
        assert catalog[result].start["raw_uid"] == catalog[-1].start["uid"] == start["uid"]
        assert catalog.results_dir == catalog_dir / "results"
    tiled.profiles.load_profiles.cache_clear()


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x"])
def test_a_profile_needs_a_proper_name(tmp_path, name):
    with pytest.raises(SettingsError, match="profile name is"):
        write_profile(name, tmp_path, tmp_path)


def test_a_tiled_server_is_a_catalog_and_leaves_others_alone(catalog_dir, filled):
    import uvicorn
    from tiled.server.app import build_app_from_config

    from bluesky_ptycho.catalog.embedded import server_config

    config = server_config(catalog_dir, [])
    config["authentication"] = {"single_user_api_key": "secret", "allow_anonymous_access": False}
    server = uvicorn.Server(uvicorn.Config(build_app_from_config(config), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        with open_catalog(f"{address}?api_key=secret", results_dir=catalog_dir / "results") as catalog:
            assert "secret" not in repr(catalog)
            with pytest.raises(PtychoError, match="no frames directory of its own"):
                _ = catalog.frames_dir
            for name, doc in scan_documents(catalog_dir / "frames"):
                if name == "start":
                    start, writer = doc, catalog.raw_writer()
                writer(name, doc)
            result = catalog[store_result(catalog, start)]
            np.testing.assert_array_equal(result["primary"]["object"].read()[0], small_snapshot().object)
            assert catalog[-1].start["uid"] == start["uid"]
        assert filled[-1].start["scan_id"] == 2, "the server's key is not that of a catalog in this process"
    finally:
        server.should_exit = True
        thread.join()


# -- a session's own client -----------------------------------------------------------------------


def client_of(directory, specs):
    """Return a client as a session that knows nothing of us makes it; its runs lie at the root."""
    from bluesky_ptycho.catalog.embedded import open_app, server_config

    config = server_config(directory, [])
    config["catalog"]["specs"] = specs
    from tiled.client import from_context

    return from_context(open_app(config))


@pytest.mark.slow
def test_a_client_whose_runs_lie_at_the_root_is_a_catalog(tmp_path):
    client = client_of(tmp_path, [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}])
    catalog = Catalog.wrap(client)
    assert catalog.processed is None
    writer = catalog.result_writer()
    assert callable(writer)
    catalog.frames_dir.mkdir()
    start = store_scan(catalog, scan_id=5)
    result = store_result(catalog, start)
    for key in (-1, 5, start["uid"], start["uid"][:8]):
        assert catalog[key].start["uid"] == start["uid"]
    assert catalog[result].start["raw_uid"] == start["uid"]
    assert client[-1].start["uid"] == start["uid"], "the session's own client still has the last scan"
    assert [row.uid for row in list_runs(catalog)] == [start["uid"]]
    catalog.close()


def test_what_is_no_catalog_is_refused(filled):
    assert Catalog.wrap(filled) is filled
    with pytest.raises(PtychoError, match=r"catalog is a builtins\.dict; expected a tiled container"):
        Catalog.wrap({})
    with pytest.raises(PtychoError, match="expected a tiled container of Bluesky runs"):
        Catalog.wrap(filled[-1])


# -- which catalog --------------------------------------------------------------------------------


def test_a_file_a_missing_catalog_and_a_dead_server_are_one_clear_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(PtychoError, match="is a file; expected a directory"):
        open_catalog(file)
    with pytest.raises(NotFoundError, match="neither a directory with a catalog, an http address nor a profile"):
        open_catalog(tmp_path / "typo", create=False)
    assert not (tmp_path / "typo").exists()
    with pytest.raises(PtychoError, match=r"tiled server 'http://127\.0\.0\.1:9' cannot be opened") as refused:
        open_catalog("http://127.0.0.1:9")
    assert "\n" not in str(refused.value)


def test_the_catalog_of_the_last_command_is_the_default(catalog_dir, tmp_path, monkeypatch):
    import tiled.profiles

    monkeypatch.setattr(tiled.profiles, "paths", [tmp_path / "profiles"])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(NotFoundError, match="no catalog was named"):
        default_target()
    monkeypatch.chdir(catalog_dir.parent)
    remember_catalog("catalog")
    assert default_target() == str(catalog_dir)
    with open_catalog(create=False) as catalog:
        assert catalog.name == str(catalog_dir)
    (tmp_path / "default_profile").write_text("mine")
    assert default_target() == "mine"
