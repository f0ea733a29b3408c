"""What the child asks of its parent, who has the catalog and the darks of other runs."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable
from typing import Any

from ...errors import PtychoError
from ...geometry import Geometry
from ...scan_plan import ScanPlan
from ..dark_store import Darks, DarkStore
from ..first_probe import LastProbe
from .channel import Channel
from .messages import pack_darks, unpack_darks, unpack_probe

POLL_S = 0.2


class Parent(DarkStore):
    """The parent as the child sees it: the dark store and the search for the last probe of an analysis.

    Parameters
    ----------
    channel : Channel
    beat : callable
        Called while an answer is waited for: who waits for a slow catalog is alive.
    """

    def __init__(self, channel: Channel, beat: Callable[[], None]) -> None:
        super().__init__()
        self._channel, self._beat = channel, beat
        self._numbers = itertools.count()
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}

    def answered(self, message: dict[str, Any]) -> None:
        """Take an answer, in the thread that receives."""
        waiting = self._answers.get(message["number"])
        if waiting is not None:
            waiting.put(message)

    def _ask(self, question: str, **arguments: Any) -> Any:
        number = next(self._numbers)
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._answers[number] = answer
        self._channel.send({"type": "ask", "number": number, "question": question, **arguments})
        try:
            while True:
                self._beat()
                try:
                    message = answer.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if message["error"] is not None:
                    raise PtychoError(message["error"])
                return message["value"]
        finally:
            del self._answers[number]

    def put(self, run_uid: str, darks: Darks, plan: ScanPlan | None = None) -> None:
        """Give the darks of this run to the session."""
        self._channel.send({"type": "darks", "uid": run_uid, "darks": pack_darks(darks)})

    def get(self, run_uid: str) -> Darks | None:
        """Return the darks of another run."""
        return unpack_darks(self._ask("darks", uid=run_uid))

    def nearest(self, plan: ScanPlan, before_s: float) -> tuple[str, Darks] | None:
        """Return uid and darks of the last run whose darks serve this one."""
        found = self._ask("nearest_darks", before_s=before_s)
        if found is None:
            return None
        darks = unpack_darks(found["darks"])
        return None if darks is None else (found["uid"], darks)

    def retire(self, plan: ScanPlan, run_uid: str) -> None:
        """Tell that darks no longer fit the camera."""
        self._channel.send({"type": "retire", "uid": run_uid})

    def last_probe(self, geometry: Geometry, before_s: float) -> LastProbe | None:
        """Return the probe of the last good result."""
        return unpack_probe(self._ask("last_probe", before_s=before_s))
