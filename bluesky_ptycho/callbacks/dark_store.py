"""Dark models of the runs of a session, and where to get those of an earlier one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..preprocess import DarkAccumulator, DarkModel
from .document_keys import read_plan
from .frame_reader import FrameReader
from .intake import Intake

Darks = tuple[DarkModel, ...]
"""One dark model for each exposure of a scan point."""


class DarkStore:
    """Remember the darks of the last runs; ask elsewhere for older ones.

    Parameters
    ----------
    find : callable, optional
        ``find(run_uid) -> Darks | None`` for runs that this session has not seen.
    keep : int
        Runs to remember; a model of a full FCCD frame takes about 10 MB.
    """

    def __init__(self, find: Callable[[str], Darks | None] | None = None, keep: int = 4) -> None:
        self._find = find
        self._keep = keep
        self._darks: OrderedDict[str, Darks] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, run_uid: str, darks: Darks) -> None:
        """Remember the darks of a run."""
        with self._lock:
            self._darks[run_uid] = darks
            self._darks.move_to_end(run_uid)
            while len(self._darks) > self._keep:
                self._darks.popitem(last=False)

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


def darks_of_documents(documents: Iterable[tuple[str, Mapping[str, Any]]], chunk: int = 16) -> Darks | None:
    """Make dark models from the stored documents of a run; None if it has no darks of ours.

    Parameters
    ----------
    documents : iterable of (name, document)
        The whole run, in the order in which a catalog gives it.
    chunk : int
        Frames read at once.
    """
    intake: Intake | None = None
    for name, doc in documents:
        if name == "start":
            plan = read_plan(doc)
            if plan is None:
                return None
            intake = Intake(doc, plan)
        elif intake is not None:
            intake(name, doc)
    if intake is None:
        return None
    if intake.problem is not None:
        raise intake.problem
    accumulators = [DarkAccumulator.for_plan(intake.plan) for _ in intake.plan.exposures_s]
    reader: FrameReader | None = None
    while points := intake.take_darks(chunk):
        reader = reader or FrameReader(intake.source(dark=True))
        frames = reader.read(np.array([p.row for p in points]), intake.plan.frames_per_point)
        for k, accumulator in enumerate(accumulators):
            accumulator.add(frames[:, k])
    if reader is None:
        return None
    reader.close()
    return tuple(a.model(exposure) for a, exposure in zip(accumulators, intake.plan.exposures_s, strict=True))
