"""Dark models of the runs of a session, and where to get those of an earlier one."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..preprocess import DarkAccumulator, DarkModel
from ..scan_plan import ScanPlan
from .document_keys import Point, read_plan
from .frame_reader import FrameReader
from .intake import Intake

Darks = tuple[DarkModel, ...]
"""One dark model for each exposure of a scan point."""
STORED_PATIENCE_S = 1.0
"""How long to wait for frames of a run that is over: no longer than a file system of the network needs."""


class DarkStore:
    """Remember the darks of the last runs; ask elsewhere for older ones.

    Parameters
    ----------
    find : callable, optional
        ``find(run_uid) -> Darks | None`` for runs that this session has not seen.
    find_nearest : callable, optional
        ``find_nearest(plan, before_s) -> (run_uid, Darks) | None`` looks among all that were ever stored.
    on_retired : callable, optional
        ``on_retired(plan, run_uid)`` is told of darks that no longer fit the camera, in the thread that found out.
    keep : int
        Runs to remember; a model of a full FCCD frame takes about 10 MB.
    """

    def __init__(
        self,
        find: Callable[[str], Darks | None] | None = None,
        keep: int = 4,
        find_nearest: Callable[[ScanPlan, float], tuple[str, Darks] | None] | None = None,
        on_retired: Callable[[ScanPlan, str], None] | None = None,
    ) -> None:
        self._find = find
        self._on_retired = on_retired
        self._retired: set[str] = set()
        self._find_nearest = find_nearest
        self._conditions: dict[str, str] = {}
        self._keep = keep
        self._darks: OrderedDict[str, Darks] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, run_uid: str, darks: Darks, plan: ScanPlan | None = None) -> None:
        """Remember the darks of a run; with its `plan` they may be found as the nearest."""
        with self._lock:
            self._darks[run_uid] = darks
            self._darks.move_to_end(run_uid)
            if plan is not None:
                self._conditions[run_uid] = plan.dark_conditions
            while len(self._darks) > self._keep:
                forgotten, _ = self._darks.popitem(last=False)
                self._conditions.pop(forgotten, None)

    def get(self, run_uid: str) -> Darks | None:
        """Return the darks of a run, None if nobody has them."""
        with self._lock:
            if run_uid in self._darks:
                self._darks.move_to_end(run_uid)
                return self._darks[run_uid]
        darks = self._find(run_uid) if self._find is not None else None
        if darks is not None:
            self.put(run_uid, darks)
        return darks

    def nearest(self, plan: ScanPlan, before_s: float) -> tuple[str, Darks] | None:
        """Return uid and darks of the last run before `before_s` (s since epoch) whose darks serve `plan`.

        They are of the same detector, layout, shape, gain and exposures, and no older than the plan allows.
        """
        with self._lock:
            known = [(uid, self._darks[uid]) for uid, key in self._conditions.items() if key == plan.dark_conditions]
        candidates = [found for found in known if 0.0 <= before_s - _taken(found[1]) <= plan.max_dark_age_s]
        if self._find_nearest is not None and (stored := self._find_nearest(plan, before_s)) is not None:
            candidates.append(stored)
        candidates = [found for found in candidates if found[0] not in self._retired]
        return max(candidates, key=lambda found: _taken(found[1]), default=None)

    def retire(self, plan: ScanPlan, run_uid: str) -> None:
        """Offer darks no more unless a plan names them, and tell whoever decides when darks are taken."""
        self._retired.add(run_uid)
        if self._on_retired is not None:
            self._on_retired(plan, run_uid)


def _taken(darks: Darks) -> float:
    """Return when the first of them were complete; long ago where they do not tell."""
    return min((-math.inf if dark.time_s is None else dark.time_s) for dark in darks)


class RunDarks:
    """Gather the darks of one run as they come.

    Parameters
    ----------
    plan : ScanPlan
    read : callable
        ``read(points)`` gives those that can be read and their frames ``(n, K, H, W)``, K exposures each.
    """

    def __init__(self, plan: ScanPlan, read: Callable[[Sequence[Point]], tuple[Sequence[Point], NDArray[Any]]]) -> None:
        self._exposures_s = plan.exposures_s
        self._read = read
        self._accumulators = [DarkAccumulator.for_plan(plan) for _ in plan.exposures_s]
        self._points: dict[int, Point] = {}

    def add(self, points: Sequence[Point]) -> None:
        """Add dark points; one that comes again after a rewind replaces itself.

        Its older frames are still in the file, and the sums are exact: they are taken off again.
        So a scan has the same darks live, where the first frames were added before the pause, as
        from the catalog, which knows the last ones only. One whose older frames can no longer be read keeps them.
        """
        replaced = [self._points[p.seq_num] for p in points if p.seq_num in self._points]
        if replaced:
            found, old = self._read(replaced)
            for k, accumulator in enumerate(self._accumulators if found else ()):
                accumulator.remove(old[:, k])
            for point in found:
                del self._points[point.seq_num]
            points = [p for p in points if p.seq_num not in self._points]
        points, frames = self._read(points)
        for k, accumulator in enumerate(self._accumulators if points else ()):
            accumulator.add(frames[:, k])
        self._points |= {p.seq_num: p for p in points}

    def models(self) -> Darks | None:
        """Return one model for each exposure; None if there were no darks."""
        if not self._points:
            return None
        last = max(point.time for point in self._points.values())
        models = (a.model(t) for a, t in zip(self._accumulators, self._exposures_s, strict=True))
        return tuple(dataclasses.replace(model, time_s=last) for model in models)


def darks_of_documents(
    documents: Iterable[tuple[str, Mapping[str, Any]]], chunk: int = 16, frame_roots: Sequence[str | Path] = ()
) -> Darks | None:
    """Make dark models from the stored documents of a run; None if it has no darks of ours.

    Those that cannot be read are left out, as in a live run.

    Parameters
    ----------
    documents : iterable of (name, document)
        The whole run, in the order in which a catalog gives it.
    chunk : int
        Frames read at once.
    frame_roots : sequence of path
        As :class:`~bluesky_ptycho.callbacks.intake.Intake` takes them.

    Raises
    ------
    MetadataError
        If there are darks and none of them can be read.
    """
    intake: Intake | None = None
    for name, doc in documents:
        if name == "start":
            plan = read_plan(doc)
            if plan is None:
                return None
            intake = Intake(doc, plan, frame_roots=frame_roots)
        elif intake is not None:
            intake(name, doc)
    if intake is None:
        return None
    if intake.problem is not None:
        raise intake.problem
    reader: FrameReader | None = None
    lost: list[str] = []

    def read(points: Sequence[Point]) -> tuple[Sequence[Point], NDArray[Any]]:
        nonlocal reader
        reader = reader or FrameReader(intake.source(dark=True), STORED_PATIENCE_S)
        frames, problems = reader.read_good(np.array([p.row for p in points]), intake.plan.frames_per_point)
        lost.extend(problems.values())
        return [p for i, p in enumerate(points) if i not in problems], frames

    darks = RunDarks(intake.plan, read)
    try:
        while points := intake.take_darks(chunk):
            darks.add(points)
    finally:
        if reader is not None:
            reader.close()
    models = darks.models()
    if models is None and lost:
        raise MetadataError(lost[0])
    return models
