"""Go on with the reconstruction of a scan whose session has died."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import MetadataError, NotFoundError, PtychoError
from .given import check_callable, check_seconds
from .keywords import checks_arguments
from .replay import find_plan, stored_documents
from .words import counted, span

if TYPE_CHECKING:
    from .callbacks import LiveSettings, Outcome, Sink
    from .io.checkpoint import Checkpoint

PATIENCE_S = 60.0
"""A scan that is still open and brings nothing new for so long is taken for dead."""

POLL_S = 1.0
READING_SHARE = 5.0
"""So many times as long as reading took, it rests before a growing scan is read again."""


@dataclass(frozen=True)
class LeftBehind:
    """A reconstruction that can be gone on with: its scan, and what its checkpoint holds (nothing: -1 frames)."""

    raw_uid: str
    scan_id: int | None
    sample: str
    frames: int
    saved_at: float


@checks_arguments
def resume(
    uid: int | str,
    catalog: Any,
    *,
    settings: LiveSettings | None = None,
    sinks: Iterable[Sink | str] = (),
    process: bool = False,
    patience_s: float = PATIENCE_S,
    say: Callable[[str], None] = lambda text: None,
    wait: Callable[[Any], Any] = lambda live: live.wait(),
) -> Outcome:
    """Reconstruct a stored scan from its checkpoint on, also one that still grows in the catalog.

    Result runs that the dead session has left open are closed as failed. Without a usable checkpoint the
    reconstruction starts anew.

    Parameters
    ----------
    uid : int or str
        As for ``catalog[uid]``; a reconstruction stands for its scan.
    catalog : Catalog or tiled client
    settings : LiveSettings, optional
        Those of the checkpoint by default.
    sinks, process
        As for :class:`~bluesky_ptycho.LivePtycho`.
    patience_s : float
        How long a scan that is still open may bring nothing new; then it ends with what is there.
    say : callable
        Takes lines for the user.
    wait : callable
        Waits for the analysis, once all documents are there.

    Returns
    -------
    Outcome

    Raises
    ------
    SettingsError
        If an argument is of no use, as a mask of another shape than the frames'.
    NotFoundError
        If there is no such run, it is no scan of ours, or nothing is left to resume: it has been reconstructed.
    MetadataError
        If its plan cannot be used, or a newer version of this package has written the checkpoint.
    PtychoError
        If a living session reconstructs the scan, or the analysis failed.
    """
    from .callbacks import LivePtycho, LiveSettings
    from .catalog import Catalog
    from .catalog.orphans import close_orphans
    from .preprocess import check_images

    check_seconds("patience_s", patience_s)
    check_callable("say", say, "a function of a line")
    check_callable("wait", wait, "a function of a LivePtycho")
    catalog = Catalog.wrap(catalog)
    raw_uid, plan = find_plan(uid, catalog)
    checkpoint = _usable_checkpoint(catalog, raw_uid, say)
    if settings is None:
        settings = LiveSettings() if checkpoint is None else LiveSettings.from_stored(checkpoint.settings)
    check_images(plan, settings.preprocess)
    for closed in close_orphans(catalog, raw_uid, "its session died; the scan was resumed"):
        say(f"reconstruction {closed[:8]} was left open by a session that died; it is closed as failed")
    with LivePtycho(settings, catalog=catalog, sinks=sinks, process=process, resume=True) as live:
        for name, doc in follow(catalog, raw_uid, patience_s):
            live(name, doc)
        wait(live)
        outcome: Outcome | None = live.outcome(raw_uid)
    if outcome is None:
        raise NotFoundError(f"run {raw_uid} carries no ptychography scan that could be reconstructed")
    return outcome


def _usable_checkpoint(catalog: Any, raw_uid: str, say: Callable[[str], None]) -> Checkpoint | None:
    """Return the checkpoint of a scan that no living session has; one that is damaged is removed."""
    from .callbacks.checkpoints import DIRECTORY, RunLock

    lock = RunLock(Path(catalog.results_dir) / DIRECTORY, raw_uid)
    if not lock.take():
        raise PtychoError(f"run {raw_uid[:8]} is being reconstructed by another session; expected one that has died")
    try:
        checkpoint = lock.read()
        if checkpoint is None:
            _refuse_finished(catalog, raw_uid)
        elif checkpoint.raw_uid != raw_uid:
            raise MetadataError(f"{lock.checkpoint}: raw_uid is {checkpoint.raw_uid!r}; expected {raw_uid!r}")
    except NotFoundError:
        lock.release(done=True)  # else it would be listed among those left behind
        raise
    except MetadataError as error:
        if "schema_version" in str(error):
            raise
        lock.checkpoint.unlink(missing_ok=True)
        say(f"{error}: the reconstruction starts anew")
        return None
    finally:
        lock.release(done=False)
    if checkpoint is None:
        say(f"run {raw_uid[:8]} has no checkpoint: the reconstruction starts anew")
    else:
        age_s = max(time.time() - checkpoint.saved_at, 0.0)
        say(f"going on from {counted(len(checkpoint.seq_nums), 'frame')}, saved {span(age_s)} ago")
    return checkpoint


def _refuse_finished(catalog: Any, raw_uid: str) -> None:
    """Refuse a scan that is over, has a good image and no reconstruction that was left open."""
    from .catalog.newest import holds_image, newest_result

    newest = newest_result(catalog, raw_uid)
    if newest.result is None or not holds_image(newest.result) or not catalog[raw_uid].metadata.get("stop"):
        return
    failed = newest.result.metadata["stop"].get("exit_status") == "fail"
    if not failed and all(run.metadata.get("stop") for run in newest.later):
        done = newest.result.metadata["start"]["uid"][:8]
        raise NotFoundError(
            f"nothing to resume: run {raw_uid[:8]} has been reconstructed as {done}; "
            f"bluesky-ptycho replay {raw_uid[:8]} reconstructs it anew"
        )


def left_behind(catalog: Any) -> list[LeftBehind]:
    """Return the reconstructions in `catalog` that can be gone on with, the newest first."""
    from .callbacks.checkpoints import DIRECTORY
    from .callbacks.checkpoints import left_behind as free_locks

    found = []
    for lock in free_locks(Path(catalog.results_dir) / DIRECTORY):
        try:
            start = catalog[lock.path.stem].metadata["start"]
        except NotFoundError:  # it was never stored
            continue
        try:
            checkpoint = lock.read()
        except MetadataError:
            checkpoint = None
        frames, saved_at = (-1, 0.0) if checkpoint is None else (len(checkpoint.seq_nums), checkpoint.saved_at)
        sample = str(start.get("sample_name", ""))
        found.append(LeftBehind(start["uid"], start.get("scan_id"), sample, frames, saved_at))
    return found


def follow(catalog: Any, raw_uid: str, patience_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the documents of a stored run as they come, each once, until its stop.

    A run that stays open and brings nothing new for `patience_s` is ended with exit status "abort".
    """
    seen: dict[Any, Any] = {}
    last_news = time.monotonic()
    while True:
        begun = time.monotonic()
        run = catalog[raw_uid]
        closed = bool(run.metadata.get("stop"))
        stop: dict[str, Any] = {}
        for name, doc in stored_documents(run):
            if name == "stop":
                stop = doc
            else:
                for news in _news(name, doc, seen):
                    last_news = time.monotonic()
                    yield news
        now = time.monotonic()
        if closed or now - last_news >= patience_s:
            yield "stop", stop
            return
        time.sleep(max(POLL_S, READING_SHARE * (now - begun)))


def _news(name: str, doc: dict[str, Any], seen: dict[Any, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `doc` if it tells more than what was `seen`; where frames lie is told with how many there are."""
    if name == "stream_resource":
        seen["resource", doc["uid"]] = doc
        return
    key, value = _told(name, doc)
    if seen.get(key) == value:
        return
    seen[key] = value
    if name == "stream_datum":
        yield "stream_resource", seen["resource", doc["stream_resource"]]
    yield name, doc


def _told(name: str, doc: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what a document is about, and what it says: uids and time stamps of stored events are made up anew."""
    if name in ("event", "event_page"):
        return (name, doc["descriptor"], str(doc["seq_num"])), hash(repr(doc["data"]))
    if name == "stream_datum":
        return (name, doc["descriptor"]), int(doc["indices"]["stop"])
    return (name, doc["uid"]), True
