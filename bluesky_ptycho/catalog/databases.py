"""Whether the data bases in a directory are those of a catalog: asked before anything is written beside them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ..errors import PtychoError

TREE, TABLES = "catalog.db", "tables.db"

_OF_A_TREE = {"alembic_version", "nodes"}
"""Tables that tiled's tree always has."""

_BROKEN = ("not a database", "malformed")
"""In SQLite's words for a file that it will never read; others are those of a moment, or of rights."""


def require_databases(directory: Path) -> None:
    """Refuse a directory whose data bases are there and no catalog's.

    Each is asked through the library that tiled uses for it: another one in the process would free the locks of the
    first.

    Raises
    ------
    PtychoError
        If there are such.
    """
    for name, fits in ((TREE, _is_tree), (TABLES, _are_tables)):
        file = directory / name
        if file.is_file() and not fits(file):
            raise PtychoError(f"catalog {directory} cannot be used: {name} is no catalog's data base")


def _is_tree(file: Path) -> bool:
    try:
        with closing(sqlite3.connect(_read_only(file), uri=True)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        return not _is_broken(error)
    return names >= _OF_A_TREE


def _are_tables(file: Path) -> bool:
    import adbc_driver_sqlite.dbapi as sqlite

    try:
        with sqlite.connect(_read_only(file), autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master")
            cursor.fetchall()
    except sqlite.Error as error:
        return not _is_broken(error)
    return True


def _read_only(file: Path) -> str:
    return f"file:{quote(str(file))}?mode=ro"


def _is_broken(error: Exception) -> bool:
    return any(word in str(error) for word in _BROKEN)
