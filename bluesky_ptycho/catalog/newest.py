"""Which reconstruction of a scan is meant where none is named: the newest that holds an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..terminal import printable
from .search import newest_first
from .tree import plain

MOST_OF_REASON = 200
"""Characters of the reason why one failed."""


@dataclass(frozen=True)
class Newest:
    """The newest reconstruction of a scan.

    Parameters
    ----------
    result : tiled client or None
        The newest that holds an image; where none does, the newest.
    later : tuple of tiled clients
        Those without an image that were begun after `result`, newest first.
    """

    result: Any | None
    later: tuple[Any, ...] = ()


def newest_result(catalog: Any, raw_uid: str) -> Newest:
    """Return the newest reconstruction of a scan."""
    from tiled.queries import Key

    if catalog.processed is None:
        return Newest(None)
    return pick_newest(newest_first(plain(catalog.processed).search(Key("start.raw_uid") == raw_uid)))


def pick_newest(results: Iterable[Any]) -> Newest:
    """Return the newest of result runs that come newest first; no more of them are asked for than needed."""
    later: list[Any] = []
    for run in results:
        if holds_image(run):
            return Newest(run, tuple(later))
        later.append(run)
    return Newest(later[0]) if later else Newest(None)


def holds_image(run: Any) -> bool:
    """Tell whether a stored reconstruction has come to an end with an image, however it ended."""
    used = frames_used(run.metadata.get("stop") or {})
    if used is None:  # it is open, or an older version or a session that died has told no figures
        return bool(run.metadata.get("stop")) and "primary" in run
    return used > 0


def frames_used(stop: Mapping[str, Any]) -> int | None:
    """Return the frames in the image by the stop document of a reconstruction; None where it does not tell."""
    from ..callbacks.results import SUMMARY_KEY

    used = (stop.get(SUMMARY_KEY) or {}).get("frames_used")
    return None if used is None else int(used)


def ending(run: Any) -> str:
    """Say what has become of a reconstruction without an image: "reconstruction 709092dd failed (why)"."""
    name, stop = f"reconstruction {run.metadata['start']['uid'][:8]}", run.metadata.get("stop") or {}
    if not stop:
        return f"{name} has not ended"
    ended = {"fail": "failed", "abort": "was aborted"}.get(stop.get("exit_status", ""), "holds no image")
    return f"{name} {ended} ({printable(stop['reason'], MOST_OF_REASON)})" if stop.get("reason") else f"{name} {ended}"
