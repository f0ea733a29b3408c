"""All checks in their order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotFoundError, PtychoError, in_a_line
from ..spelling import spelled
from . import machine
from .findings import Finding, bad, good, note
from .run import check_run
from .swmr import check_swmr

if TYPE_CHECKING:
    from ..catalog import Catalog


def examine(catalog: Catalog | str | Path | None = None, uid: int | str | None = None) -> Iterator[Finding]:
    """Look at the machine, at a catalog and at a run; yield what was found, one after the other.

    Parameters
    ----------
    catalog : Catalog, str or Path, optional
        One that is open, or as for :func:`~bluesky_ptycho.catalog.open_catalog`; that of the last command by default.
    uid : int or str, optional
        Of a run; the last one by default.
    """
    for check in (
        machine.check_versions,
        machine.check_cores_and_memory,
        machine.check_libraries,
        machine.check_plugins,
    ):
        yield from _guarded(check.__name__.removeprefix("check_").replace("_", " "), check)
    yield from _guarded("catalog", lambda: _check_catalog(catalog, uid))


def _check_catalog(target: Catalog | str | Path | None, uid: int | str | None) -> Iterator[Finding]:
    from ..catalog import Catalog, open_catalog

    if isinstance(target, Catalog):
        yield from _check_open_catalog(target, uid)
        return
    try:
        catalog = open_catalog(target, create=False)
    except NotFoundError as error:
        if target is None:
            named = spelled("catalog=", "--catalog")
            yield note("catalog", str(error), f"name one with {named}, or start with bluesky-ptycho demo")
            yield from check_swmr(Path.cwd())
            yield from machine.check_disk({"a new catalog": Path.cwd()})
        else:
            yield bad("catalog", str(error), "see that the name is right; bluesky-ptycho demo makes one")
        return
    except PtychoError as error:
        remedy = "see that the server runs, and that the key in the profile is yours"
        if target is not None and Path(target).is_file():
            remedy = "name the directory that the catalog is in"
        yield bad("catalog", str(error), remedy)
        return
    with catalog:
        yield from _check_open_catalog(catalog, uid)


def _check_open_catalog(catalog: Catalog, uid: int | str | None) -> Iterator[Finding]:
    yield good("catalog", repr(catalog).strip("<>"))
    yield from _guarded("rights", lambda: _check_rights(catalog))
    yield from _guarded("directories", lambda: _check_places(catalog))
    if uid is not None or len(catalog):
        yield from _guarded("run", lambda: check_run(-1 if uid is None else uid, catalog))
    else:
        yield note("run", "the catalog has no scan yet", "bluesky-ptycho demo, or a scan of your own, makes one")


def _check_rights(catalog: Any) -> Iterator[Finding]:
    try:
        catalog.require_results()
    except PtychoError as error:
        remedy = "ask for the right to write there (scopes create and write:data), or name a results_dir it may read"
        yield bad("rights", str(error), remedy)
    else:
        yield good("rights", "scans can be read, reconstructions can be written")
    kept = list(catalog.backup_dir.glob("*.jsonl")) if catalog.backup_dir.is_dir() else []
    if kept:
        yield note("unwritten", f"{len(kept)} runs wait in {catalog.backup_dir}", "bluesky-ptycho restore stores them")


def _check_places(catalog: Any) -> Iterator[Finding]:
    """Look at the directories that may hold frames, and try those that take new files."""
    roots = catalog.readable_roots
    for root in roots:
        if not os.access(root, os.R_OK | os.X_OK):
            yield bad("frame roots", f"{root} cannot be read", "mount it, or ask for the right to read there")
    if roots:
        yield good("frame roots", f"frames are read below {', '.join(map(str, roots))}, and nowhere else")
        yield from check_swmr(catalog.frames_dir)
        yield from machine.check_disk({"frames": catalog.frames_dir, "results": catalog.results_dir})
    else:
        yield note("frame roots", "the server is elsewhere: frames may lie anywhere", "LiveSettings(frame_roots=...)")
        yield from check_swmr(Path.cwd())
        yield from machine.check_disk({"results": catalog.results_dir})


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; one that fails itself is a finding too."""
    try:
        yield from check()
    except Exception as error:
        remedy = "" if isinstance(error, PtychoError) else "bluesky-ptycho bug-report helps us to see why"
        yield bad(name, in_a_line(error), remedy or "see the message")
