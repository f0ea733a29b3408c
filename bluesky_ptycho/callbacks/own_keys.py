"""Scans of plans and detectors that know nothing of this package, by the names of their data keys.

Their documents are turned into those of a scan with a plan of ours, so that everything behind them is the same for all.
What the plan must say is found in the documents: shapes and units in the descriptor, energy, distance and pixel in the
descriptor's configuration, the first event or the start document; the field in the start document of a grid scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import MetadataError, SettingsError
from ..scan_plan import START_KEY, ScanPlan
from .document_keys import is_ours
from .found_plan import INDEX_KEY, OwnKeys, frames_per_event, plan_of
from .joiner import NO_ROW

Document = tuple[str, Mapping[str, Any]]


def translator(
    frames_key: str | None, position_keys: tuple[str, str] | None, facts: Mapping[str, Any]
) -> Callable[[str, Mapping[str, Any]], Iterable[Document]]:
    """Return what takes each document and gives those that are to be taken in its place: itself, without any keys.

    Raises
    ------
    SettingsError
        If numbers cannot be used, or one of the keys is missing.
    """
    if frames_key is None and position_keys is None and not facts:
        return lambda name, doc: ((name, doc),)
    if frames_key is None or position_keys is None:
        raise SettingsError("LivePtycho: one of frames_key and position_keys is missing; expected both")
    return _Translator(OwnKeys(frames_key, position_keys, **facts))


@dataclass
class _Run:
    """What is known of a run that carries no plan; `streams` are the descriptors with frames, by their uid."""

    start: Mapping[str, Any]
    held: list[Document] = field(default_factory=list)
    streams: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    points: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    rows: dict[tuple[str, int], int] = field(default_factory=dict)
    looked: bool = False
    plan: ScanPlan | None = None
    is_dead: bool = False

    def replace_point(self, point: tuple[str, int], event: Mapping[str, Any]) -> None:
        """Keep the event of a point; one that is measured again has the row that is told of after it, or was just."""
        if point in self.points and self.points[point].get("uid") != event.get("uid") and point in self.rows:
            del self.rows[point]
        self.points[point] = event

    def replace_row(self, point: tuple[str, int], row: int) -> None:
        """Keep the row of a point; another one than before is of an event that is yet to come, or has just."""
        if point in self.points and self.rows.get(point, row) != row:
            del self.points[point]
        self.rows[point] = row


class _Translator:
    """Holds the documents of a run back until its plan is known, then gives them with it, and all others at once."""

    def __init__(self, keys: OwnKeys) -> None:
        self._keys = keys
        self._runs: dict[str, _Run] = {}
        self._run_of: dict[str, str] = {}  # descriptor → run

    def __call__(self, name: str, doc: Mapping[str, Any]) -> Iterator[Document]:
        """Yield the documents that come of one; raise MetadataError, once for a run, if it cannot be used."""
        if name == "start" and not is_ours(doc):
            self._runs[doc["uid"]] = _Run(doc)
            return
        uid = self._uid(name, doc)
        if uid not in self._runs:
            yield name, doc
            return
        run = self._runs[uid]
        if name == "stop":
            del self._runs[uid]
            self._run_of = {descriptor: of for descriptor, of in self._run_of.items() if of != uid}
        try:
            yield from () if run.is_dead else self._take(run, name, doc)
        except MetadataError as error:
            run.is_dead, run.held = True, []
            raise MetadataError(f"scan {run.start.get('scan_id', '?')} is not reconstructed: {error}") from error

    def _uid(self, name: str, doc: Mapping[str, Any]) -> str:
        if name == "descriptor":
            self._run_of[doc["uid"]] = doc["run_start"]
        return str(doc.get("run_start") or self._run_of.get(doc.get("descriptor", ""), ""))

    def _take(self, run: _Run, name: str, doc: Mapping[str, Any]) -> list[Document]:
        documents = list(self._translated(run, name, doc))
        if run.plan is not None:
            return documents
        run.held += documents
        run.plan = self._plan(run, over=name == "stop")
        if run.plan is None:
            return []
        held, run.held = run.held, []
        return [("start", {**run.start, START_KEY: run.plan.to_start()}), *held]

    def _plan(self, run: _Run, *, over: bool) -> ScanPlan | None:
        """Return the plan of a run: from its first point, or, where its field is not told, when it is over."""
        measured = next((d for d in run.streams.values() if d["name"] != self._keys.dark_stream), None)
        if measured is None or (run.looked and not over):
            return None
        events = [event for (descriptor, _), event in run.points.items() if descriptor == measured["uid"]]
        if not events:
            return None
        run.looked = True
        return plan_of(run.start, measured, events, self._keys, over=over)

    def _translated(self, run: _Run, name: str, doc: Mapping[str, Any]) -> Iterator[Document]:
        """Yield what one document becomes; nothing of streams without frames."""
        if name == "descriptor" and self._keys.frames_key in doc["data_keys"]:
            run.streams[doc["uid"]] = doc
            yield name, _with_index(doc)
        elif name in ("event", "event_page") and doc["descriptor"] in run.streams:
            for event in _events(name, doc):
                run.replace_point((doc["descriptor"], event["seq_num"]), event)
                yield from self._complete(run, doc["descriptor"], event["seq_num"])
        elif name == "stream_datum" and doc["descriptor"] in run.streams:
            yield name, doc
            first = int(doc["indices"]["start"])
            for i, seq_num in enumerate(range(doc["seq_nums"]["start"], doc["seq_nums"]["stop"])):
                run.replace_row((doc["descriptor"], seq_num), first + i)
                yield from self._complete(run, doc["descriptor"], seq_num)
        elif name in ("stream_resource", "stop"):
            yield name, doc

    def _complete(self, run: _Run, descriptor: str, seq_num: int) -> Iterator[Document]:
        """Yield an event that has come, without a row as long as none is known, and again with what has changed."""
        event, row = run.points.get((descriptor, seq_num)), run.rows.get((descriptor, seq_num))
        if event is None:
            return
        n_frames = frames_per_event(run.streams[descriptor], self._keys.frames_key)
        index = NO_ROW if row is None else row * n_frames
        data = {**event["data"], INDEX_KEY: index}
        yield "event", {**event, "data": data, "timestamps": {**event["timestamps"], INDEX_KEY: event["time"]}}


def _with_index(doc: Mapping[str, Any]) -> dict[str, Any]:
    index = {"source": "bluesky_ptycho", "dtype": "integer", "shape": []}
    return {**doc, "data_keys": {**doc["data_keys"], INDEX_KEY: index}}


def _events(name: str, doc: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the events of an ``event`` or ``event_page`` document."""
    if name == "event":
        yield doc
        return
    columns = ("uid", "seq_num", "time")
    for i in range(len(doc["seq_num"])):
        row = {column: doc[column][i] for column in columns}
        parts = {part: {k: v[i] for k, v in doc[part].items()} for part in ("data", "timestamps")}
        yield {**row, **parts, "descriptor": doc["descriptor"], "filled": {}}
