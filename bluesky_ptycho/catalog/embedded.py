"""The catalog on disk: a tiled server that runs inside the process, no network.

In the directory lie ``catalog.db`` (the tree), ``tables.db`` (event tables; SQLite, because
DuckDB would lock out a second process), ``data/`` (arrays tiled writes itself), ``frames/``
(the place for raw frames), ``results/`` (HDF5 of reconstructions), ``unwritten/`` (documents
of runs that are not stored yet, or could not be), ``frames.json`` (directories outside that hold frames
and may be read) and ``writing.lock`` (see `turns`).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from ..errors import PtychoError
from ..whole_file import write_whole
from .databases import TABLES, TREE, require_databases

RAW, PROCESSED = "raw", "processed"
RUNS_SPEC = {"name": "CatalogOfBlueskyRuns", "version": "3.0"}
ROOT_SPEC = {"name": "BlueskyPtychoCatalog", "version": "1.0"}
"""Spec of the root; with this package installed tiled opens it as ``client.scan_catalog``."""

_FRAMES_FILE = "frames.json"
_OWN = ("writing.lock", _FRAMES_FILE, "frames", "data", "results", "unwritten")


def is_catalog(directory: Path) -> bool:
    """Tell whether an embedded catalog lies in `directory`."""
    return (directory / TREE).is_file()


def is_own(name: str) -> bool:
    """Tell whether what has this name in a catalog's directory is the catalog's own."""
    return name in _OWN or name.startswith((TREE, TABLES))  # SQLite adds endings to the names of its files


def prepare(directory: Path, frames: Iterable[str | Path] = ()) -> list[Path]:
    """Create what is missing in `directory`; return the directories whose frames may be read.

    Raises
    ------
    PtychoError
        If the directory cannot be made or written, or holds data bases that are no catalog's.
    """
    require_databases(directory)
    stored = directory / _FRAMES_FILE
    try:
        for part in ("data", "frames", "results"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        known = json.loads(stored.read_text()) if stored.exists() else []
        wanted = list(dict.fromkeys([*known, *(str(Path(f).expanduser().resolve()) for f in frames)]))
        if wanted != known:
            write_whole(stored, (json.dumps(wanted, indent=1) + "\n").encode())
    except (OSError, ValueError) as failed:
        raise PtychoError(f"catalog directory {directory} cannot be used: {failed}") from failed
    return [Path(path) for path in wanted]


def make_database(directory: Path) -> None:
    """Make the tree of an empty catalog in `directory`, if there is none; it appears whole or not at all.

    tiled would start another process for it, which takes seconds to import it all again.
    """
    if is_catalog(directory):
        return
    unfinished = directory / f"{TREE}.new"
    unfinished.unlink(missing_ok=True)
    with ThreadPoolExecutor(1) as thread:  # an event loop of its own: a notebook's runs in this one
        thread.submit(_make_database, f"sqlite+aiosqlite:///{unfinished}").result()
    unfinished.replace(directory / TREE)


def _make_database(uri: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine
    from tiled.alembic_utils import stamp_head
    from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
    from tiled.catalog.core import initialize_database

    async def make_tables() -> None:
        engine = create_async_engine(uri)
        try:
            await initialize_database(engine)
        finally:
            await engine.dispose()

    asyncio.run(make_tables())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the settings that tiled gives Alembic
        stamp_head(ALEMBIC_INI_TEMPLATE_PATH, ALEMBIC_DIR, uri)


def let_readers_be(directory: Path) -> None:
    """Keep the event tables such that who reads them does not lock out who writes, and the other way round.

    SQLite remembers it (write-ahead log), and tiled does the same for the tree. It is done by
    tiled's own driver: a second SQLite library in the process would free the locks of the first.
    """
    import adbc_driver_sqlite.dbapi as sqlite

    with (
        suppress(sqlite.Error),  # in use at this moment: then the next one to open the catalog does it
        sqlite.connect(str(directory / TABLES), autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.fetchall()


def server_config(directory: Path, frames: Iterable[Path]) -> dict[str, Any]:
    """Return the tiled server configuration of the catalog in `directory`.

    The same dictionary serves the catalog opened here and the profile for other processes.
    """
    return {
        "catalog": {
            "uri": f"sqlite:///{directory / TREE}",
            "init_if_not_exists": not is_catalog(directory),
            "specs": [ROOT_SPEC],
            "writable_storage": [str(directory / "data"), f"sqlite:///{directory / TABLES}"],
            "readable_storage": [str(directory), *map(str, frames)],
        },
        # Without this exporter BlueskyRun.documents() is answered by "406 Not Acceptable".
        "media_types": {
            "BlueskyRun": {"application/json-seq": "bluesky_tiled_plugins.exporters:json_seq_exporter"},
        },
    }


def open_app(config: dict[str, Any]) -> Any:
    """Return the tiled context of an in-process server with `config`."""
    _import_test_client()
    from tiled.client.context import Context
    from tiled.server.app import build_app_from_config
    from tiled.server.settings import get_settings

    logging.getLogger("tiled.server.app").setLevel("WARNING")  # it announces its version at each start
    app = build_app_from_config(config)
    # All servers of a process share one settings object: another one with a key of its own would lock us out.
    own = app.dependency_overrides[get_settings]().model_copy()
    app.dependency_overrides[get_settings] = lambda: own
    return Context.from_app(app)


def _import_test_client() -> None:
    """Import Starlette's test client, through which tiled's client reaches a server in its own process.

    It takes httpx2 where that is installed (openai, mcp and others bring it), while tiled's client is of httpx, and
    neither takes the other's objects: so httpx2 is not there while it is imported. (tiled 0.2.20, starlette 1.10)
    """
    if "starlette.testclient" in sys.modules:
        return
    import tiled.client.context as client

    with warnings.catch_warnings(), _absent("httpx2") if client.httpx.__name__ == "httpx" else nullcontext():
        # Starlette warns on import that its test client will want another HTTP library.
        warnings.simplefilter("ignore")
        importlib.import_module("starlette.testclient")


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Let importing a module fail as if it were not installed."""
    modules: dict[str, Any] = sys.modules
    before = {name: modules[name]} if name in modules else {}
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]
        modules.update(before)


def tells_listeners(client: Any) -> bool:
    """Tell whether the server of `client` may pass on what is written, so that somebody waits for the end of it."""
    context = getattr(_tree(client), "context", None)
    return any(getattr(context, name, True) for name in ("streaming_cache", "webhook_dispatcher"))


def directory_of(client: Any) -> Path | None:
    """Return the directory of the catalog on disk behind `client`; None if its server is elsewhere."""
    return next((root for root in readable_roots(client) or [] if is_catalog(root)), None)


def readable_roots(client: Any) -> list[Path] | None:
    """Return the directories from which an in-process server serves files; None if it is elsewhere."""
    storages = getattr(getattr(_tree(client), "context", None), "readable_storage", None)
    if storages is None:
        return None
    return [Path(storage.path) for storage in storages.values() if hasattr(storage, "path")]


def _tree(client: Any) -> Any:
    """Return what an in-process server serves; None if it is elsewhere."""
    app = getattr(client.context.http_client, "app", None)
    return getattr(getattr(app, "state", None), "root_tree", None)
