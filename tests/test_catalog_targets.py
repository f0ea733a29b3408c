"""Which catalog is meant: profiles, servers, a session's own client, the last one."""

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from bluesky_ptycho import attach
from bluesky_ptycho.catalog import (
    Catalog,
    default_target,
    list_runs,
    open_catalog,
    remember_catalog,
    write_profile,
)
from bluesky_ptycho.cli import main
from bluesky_ptycho.errors import NotFoundError, PtychoError, SettingsError
from tests.small_cxi import write_small_cxi
from tests.stored import scan_documents, small_snapshot, store_result, store_scan


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


def test_a_tiled_server_is_a_catalog_and_leaves_others_alone(catalog_dir, blank_catalog, tmp_path):
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
        with open_catalog(shutil.copytree(blank_catalog, tmp_path / "other")) as other:
            assert len(other) == 0, "the server's key is not that of a catalog in this process"
    finally:
        server.should_exit = True
        thread.join()


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
    catalog.require_results()  # as attach does, before there is a scan
    catalog.frames_dir.mkdir()
    start = store_scan(catalog, scan_id=5)
    result = store_result(catalog, start)
    for key in (-1, 5, start["uid"], start["uid"][:8]):
        assert catalog[key].start["uid"] == start["uid"]
    assert catalog[result].start["raw_uid"] == start["uid"]
    assert client[-1].start["uid"] == start["uid"], "the session's own client still has the last scan"
    assert [row.uid for row in list_runs(catalog)] == [start["uid"]]
    catalog.close()


def test_a_file_a_missing_catalog_and_a_dead_server_are_one_clear_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(PtychoError, match="is a file; expected a catalog's directory"):
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


def test_without_a_home_no_catalog_is_remembered(tmp_path, monkeypatch):
    """As in a container whose user has no entry among those of the system."""
    import tiled.profiles

    monkeypatch.setattr(tiled.profiles, "paths", [tmp_path / "profiles"])
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)
    monkeypatch.chdir(tmp_path)
    remember_catalog("catalog")
    with pytest.raises(NotFoundError, match="no catalog was named"):
        default_target()


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_no_catalog(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for call in (lambda: open_catalog(name), lambda: attach(SimpleNamespace(subscribe=print), name)):
        with pytest.raises(PtychoError, match=rf"catalog is '{name}'; expected a directory, an http address or a prof"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_remembered_catalog_that_is_gone_is_told_as_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    remember_catalog(tmp_path / "gone")
    for make in (lambda: None, (tmp_path / "gone").mkdir, lambda: (tmp_path / "gone").rmdir() or touch(tmp_path)):
        make()
        assert main(["replay", "1"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(
            f"error: the catalog last used, {tmp_path / 'gone'}, is no longer there; --catalog names another"
        )


def touch(directory):
    (directory / "gone").touch()


def of_another_program(file):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE moz_bookmarks (id)")
        connection.commit()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("catalog.db", of_another_program),
        ("catalog.db", lambda file: file.write_text("no data base\n" * 99)),
        ("catalog.db", lambda file: file.write_text("")),
    ],
)
def test_what_is_no_catalog_s_data_base_is_refused_and_nothing_is_written(tmp_path, capsys, name, make):
    make(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    for create in (["runs"], ["ingest", str(write_small_cxi(tmp_path / "a.cxi").path)]):
        assert main([*create, "--catalog", str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(f"error: catalog {tmp_path} cannot be used: {name} is no catalog's data base")
    with pytest.raises(PtychoError, match="is no catalog's data base"):
        write_profile("x", tmp_path, tmp_path / "profiles")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.cxi", name]
    assert (tmp_path / name).read_bytes() == before


def test_event_tables_that_are_none_are_one_line(catalog_dir, capsys):
    (catalog_dir / "tables.db").write_text("no data base\n" * 99)
    for suffix in ("-wal", "-shm"):
        (catalog_dir / f"tables.db{suffix}").unlink(missing_ok=True)
    assert main(["mask", "1", "--above", "1", "--catalog", str(catalog_dir)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"error: catalog {catalog_dir} cannot be used: tables.db is no catalog's data base")
