"""Send a stored run through a callback, as if it were measured now."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from .errors import NotFoundError, SettingsError
from .given import check_document_callback
from .keywords import checks_arguments

if TYPE_CHECKING:
    from .callbacks import LiveSettings
    from .knobs import Change
    from .scan_plan import ScanPlan


@checks_arguments
def replay(uid: int | str, catalog: Any, callback: Callable[[str, Mapping[str, Any]], None]) -> str:
    """Send the documents of a stored run through `callback`.

    The order is start, descriptors, events, then the stream documents with merged ranges,
    then stop; a callback must join frames to events by the frame index that each event carries,
    never by arrival. A run that was never closed is ended with exit status "abort".

    Parameters
    ----------
    uid : int or str
        As for ``catalog[uid]``: uid, its beginning, a scan number, or -1 for the last scan.
    catalog : Catalog or tiled client
        Where the run lies.
    callback : callable
        Takes ``(name, document)``: a :class:`~bluesky_ptycho.callbacks.LivePtycho`, say.

    Returns
    -------
    str
        Uid of the run. A result made of it carries it as ``raw_uid``.

    Raises
    ------
    NotFoundError
        If there is no such run, or several.
    SettingsError
        If `callback` takes no documents, as a RunEngine, which takes plans.
    """
    from .catalog import Catalog

    check_document_callback("callback", callback)
    run = Catalog.wrap(catalog)[uid]
    for name, doc in stored_documents(run):
        callback(name, doc)
    return str(run.start["uid"])


def find_plan(uid: int | str, catalog: Any) -> tuple[str, ScanPlan]:
    """Return the uid and the plan of the scan that is meant, that of a reconstruction for its scan.

    Raises
    ------
    NotFoundError
        If there is no such run, or it is no scan of ours.
    MetadataError
        If its plan cannot be used.
    """
    from .callbacks.document_keys import read_plan

    start = catalog[uid].metadata["start"]
    raw_uid = str(start.get("raw_uid", start["uid"]))
    plan = read_plan(catalog[raw_uid].metadata["start"])
    if plan is None:
        raise NotFoundError(f"run {raw_uid} carries no ptychography scan")
    return raw_uid, plan


def stored_documents(run: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``(name, document)`` of a stored run as plain dictionaries, start to stop."""
    for name, stored in run.documents():
        doc = dict(stored)
        if name == "start":
            # The writer takes the access tags out of the document and puts them on the node.
            tags = access_tags(run)
            doc |= {"tiled_access_tags": tags} if tags else {}
        elif name == "stop" and not doc:
            doc = _abort(run.start["uid"])
        yield name, doc


@dataclass(frozen=True)
class Steered:
    """How a result was made whose settings changed on the way.

    ``LivePtycho(steered.settings, script=steered.changes)`` does it again.

    Parameters
    ----------
    result_uid : str
    settings : LiveSettings
        What it started with.
    changes : tuple of Change
    """

    result_uid: str
    settings: LiveSettings
    changes: tuple[Change, ...]


def steering_of(uid: int | str, catalog: Any) -> Steered | None:
    """Return settings and changes of a result; None if nobody has changed any while it was made.

    Parameters
    ----------
    uid : int or str
        As for ``catalog[uid]``; of a scan, its newest result that holds an image counts.
    catalog : Catalog or tiled client

    Raises
    ------
    NotFoundError
        If there is no such run.
    SettingsError
        If this version of the package does not know the settings.
    """
    from .callbacks import LiveSettings
    from .catalog import Catalog
    from .catalog.newest import newest_result

    catalog = Catalog.wrap(catalog)
    run = catalog[uid]
    start = run.metadata["start"]
    result = run if "raw_uid" in start else newest_result(catalog, start["uid"]).result
    changes = () if result is None else recorded_changes(result)
    if result is None or not changes:
        return None
    start = result.metadata["start"]
    try:
        return Steered(start["uid"], LiveSettings.from_stored(start["settings"]), changes)
    except SettingsError as error:
        raise SettingsError(f"result {start['uid'][:8]}: {error}") from error


def recorded_changes(result: Any) -> tuple[Change, ...]:
    """Return the changes of settings that a stored result run holds, the first one first."""
    from .knobs import Change

    if "settings" not in result:
        return ()
    table = result["settings"].read()
    columns = [table[field.name].values.tolist() for field in fields(Change)]
    changes = [
        Change(version, json.loads(changed), json.loads(settings), frames_used, iteration, at)
        for version, changed, settings, frames_used, iteration, at in zip(*columns, strict=True)
    ]
    return tuple(sorted(changes, key=lambda change: change.version))


def access_tags(run: Any) -> list[str]:
    """Return the access tags of a stored run."""
    return list((run.item["attributes"].get("access_blob") or {}).get("tags") or ())


def scan_seconds(run: Any) -> float | None:
    """Return the duration of a stored run in s; None if it was never closed."""
    stop = run.metadata.get("stop") or {}
    return float(stop["time"]) - float(run.metadata["start"]["time"]) if "time" in stop else None


def _abort(run_start: str) -> dict[str, Any]:
    reason = "the stored run was never closed"
    return {
        "uid": str(uuid.uuid4()),
        "time": time.time(),
        "run_start": run_start,
        "exit_status": "abort",
        "reason": reason,
        "num_events": {},
    }
