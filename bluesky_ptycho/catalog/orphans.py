"""Result runs that nobody will ever close: their session died."""

from __future__ import annotations

import time
import uuid
from typing import Any

from .embedded import directory_of
from .tree import plain
from .turns import Turns


def close_orphans(catalog: Any, raw_uid: str, reason: str) -> list[str]:
    """Give the open result runs of a scan a stop document with exit status "fail".

    Parameters
    ----------
    catalog : Catalog
    raw_uid : str
        A scan that no living session reconstructs.
    reason : str
        What the stop documents say.

    Returns
    -------
    list of str
        Uids of the runs that were closed.
    """
    from tiled.queries import Key

    if catalog.processed is None:
        return []
    closed = []
    for run in plain(catalog.processed).search(Key("start.raw_uid") == raw_uid).values():
        if run.metadata.get("stop"):
            continue
        start_uid = run.metadata["start"]["uid"]
        stop = {
            "uid": str(uuid.uuid4()),
            "time": time.time(),
            "run_start": start_uid,
            "exit_status": "fail",
            "reason": reason,
            "num_events": {},
        }
        with Turns(directory_of(catalog.raw)).taken():
            run.update_metadata(metadata={"stop": stop}, drop_revision=True)
        closed.append(start_uid)
    return closed
