"""The analysis of a run in a child process, as the session sees it; restarted from its checkpoint if it dies."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import PtychoError
from ...frames import Snapshot
from ...knobs import Change, Request
from ...preprocess import output_geometry
from ...scan_plan import ScanPlan
from ..dark_store import DarkStore
from ..first_probe import FindProbe
from ..lanes import Lanes
from ..live_settings import LiveSettings
from ..notes import Notes
from ..outcome import Outcome
from ..run_log import RunLog
from ..updates import Progress, Sink, Update
from .life import ENDING_S, Life, Outbox
from .messages import (
    fields_of,
    pack_darks,
    pack_probe,
    unpack_changes,
    unpack_darks,
    unpack_snapshot,
    unpack_update,
)

logger = logging.getLogger("bluesky_ptycho")

MOST_RESTARTS = 3


class ChildAnalysis(threading.Thread):
    """Does what :class:`~bluesky_ptycho.callbacks.analysis.Analysis` does, in a child process.

    It takes the documents of the run itself, and keeps them for a child that has to begin again.

    Parameters
    ----------
    start : mapping
        Start document.
    plan : ScanPlan
    settings, sinks, dark_store, on_done, find_probe
        As for an analysis.
    frame_roots : sequence of path
        As for an intake.
    checkpoint : Path
        Where the child keeps its state.
    resume : bool
        Whether the first child goes on from the checkpoint; those after it always do.
    log, script
        As for an analysis.
    """

    def __init__(
        self,
        start: Mapping[str, Any],
        plan: ScanPlan,
        settings: LiveSettings,
        sinks: Sequence[Sink],
        dark_store: DarkStore,
        on_done: Callable[[Outcome], None],
        find_probe: FindProbe,
        frame_roots: Sequence[str | Path],
        checkpoint: Path,
        resume: bool = False,
        log: RunLog | None = None,
        script: Sequence[Change] = (),
    ) -> None:
        super().__init__(name=f"ptycho-{start['uid'][:8]}", daemon=True)
        self._start_doc, self._plan, self._settings = dict(start), plan, settings
        self._geometry = output_geometry(plan, settings.preprocess)
        self._notes = Notes(start, log)
        self._script, self._changes, self._obeyed = tuple(script), tuple[Change, ...](), 0
        self._lanes = Lanes(sinks, self.name, settings.sink_patience_s, self._notes_of_sink)
        self._dark_store, self._find_probe, self._on_done = dark_store, find_probe, on_done
        self._frame_roots, self._checkpoint, self._resume = [str(root) for root in frame_roots], checkpoint, resume
        self._outbox = Outbox()
        self._life: Life | None = None
        self._abandoned = False
        self._stop_doc: Mapping[str, Any] | None = None
        self._last_event_at = time.monotonic()
        self._progress = Progress(plan.n_points, phase="warming up")
        self._newest: Update | None = None
        self._final: Update | None = None

    # -- from the session ---------------------------------------------------------------------

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document of the run; never waits for the child."""
        self._outbox.put({"type": "document", "name": name, "doc": doc})
        if name in ("event", "event_page"):
            self._last_event_at = time.monotonic()
        elif name == "stop":
            self._stop_doc = doc

    @property
    def is_open(self) -> bool:
        """Whether the run's stop document has not come yet."""
        return self._stop_doc is None

    @property
    def start_doc(self) -> Mapping[str, Any]:
        """Start document of the run."""
        return self._start_doc

    @property
    def messages(self) -> tuple[str, ...]:
        """What the user was told so far."""
        return self._notes.messages

    def cancel(self) -> None:
        """Ask the analysis to finish with what it has."""
        self._outbox.put({"type": "cancel"})

    def request(self, request: Request) -> None:
        """Ask for other settings, a pause or a new start."""
        self._outbox.put({"type": "request", "request": request})

    def abandon(self) -> None:
        """End the child, for which nobody waits any longer; its checkpoint stays."""
        self._abandoned = True
        life = self._life
        if life is not None:
            life.kill()

    def progress(self) -> Progress:
        """Return the counters that the child told last; safe from any thread."""
        return replace(self._progress, skipped=self._lanes.skipped)

    # -- the thread ---------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the child is done, or has died for good."""
        with self._notes.log:
            self._work()

    def _work(self) -> None:
        self._lanes.start()
        self._lanes.send(self._update("start"))
        done: dict[str, Any] | None = None
        reason, restarts, place = "", 0, (-1, -1)
        while done is None:
            done, reason, hung = self._live()
            if done is not None or self._abandoned:
                break
            # Where it dies twice without having come any further it would die again.
            now = (self._progress.used, self._progress.iteration)
            if restarts == MOST_RESTARTS or (restarts and now[0] <= place[0] and now[1] <= place[1]):
                reason = f"the analysis process died again ({reason}), after {restarts} restart{'s' * (restarts > 1)}"
                break
            restarts, place = restarts + 1, now
            self._prepare_next(reason, hung=hung)
        self._conclude(done, reason)

    def _live(self) -> tuple[dict[str, Any] | None, str, bool]:
        """Return the child's last words, what it died of if there are none, and whether it hung."""
        try:
            self._life = life = Life(self._hello(), self._outbox, self._settings.watchdog_s)
        except OSError as error:
            return None, f"it cannot be started: {error}", False
        done: dict[str, Any] | None = None
        problem = ""
        try:
            for message in life.messages():
                if message["type"] == "done":
                    done = message
                    break
                self._take(life, message)
        except Exception as error:  # what came is no message, or not one of ours
            problem = f"{type(error).__name__}: {error}"
            life.kill()
        cause = life.end(patience_s=ENDING_S if done is not None else 0.5)
        if life.hung:
            return done, f"no sign of life for {self._settings.watchdog_s:g} s or more", True
        return done, problem or cause, False

    def _hello(self) -> dict[str, Any]:
        return {
            "start": self._start_doc,
            "settings": {**self._settings_now(), "backend": self._settings.backend},
            "script": [fields_of(change) for change in self._script],
            "applied": [fields_of(change) for change in self._changes],
            "obeyed": self._obeyed,
            "log_level": logger.getEffectiveLevel(),
            "roots": self._frame_roots,
            "checkpoint": str(self._checkpoint),
            "resume": self._resume,
            "frames": self._lanes.want_frames,
        }

    def _settings_now(self) -> Mapping[str, Any]:
        return self._changes[-1].settings if self._changes else self._settings.to_dict()

    def _prepare_next(self, reason: str, *, hung: bool) -> None:
        self._resume, self._final = True, None
        if hung and self._settings.backend != "numpy":
            self._settings = self._settings.replace(backend="numpy")
            reason += "; it goes on without a GPU"
        whence = "from its checkpoint" if self._checkpoint.exists() else "from the first frame"
        self._notes.add(f"the analysis process died ({reason}) and is started again {whence}")

    def _take(self, life: Life, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "beat":
            self._progress = Progress(**message["progress"])
        elif kind == "update":
            self._pass_on(message["update"])
        elif kind == "changed":
            self._changes, self._obeyed = unpack_changes(message["changes"]), message["obeyed"]
        elif kind == "log":
            self._log(message)
        elif kind == "darks":
            darks = unpack_darks(message["darks"])
            if darks is not None:
                self._dark_store.put(message["uid"], darks, self._plan)
        elif kind == "retire":
            self._dark_store.retire(self._plan, message["uid"])
        elif kind == "ask":
            # A catalog may be slow, and the child has more to say.
            threading.Thread(target=self._answer, args=(life, message), daemon=True).start()

    def _log(self, message: dict[str, Any]) -> None:
        if message["told"]:
            self._notes.log.tell(message["text"])
        else:
            logger.log(message["level"], "%s", message["text"])

    def _pass_on(self, packed: dict[str, Any]) -> None:
        update = self._complete(
            unpack_update(
                packed,
                start=self._start_doc,
                plan=self._plan,
                geometry=self._geometry,
                settings=packed["changes"][-1]["settings"] if packed["changes"] else self._settings.to_dict(),
            )
        )
        self._progress = update.progress
        if update.kind == "final":
            self._final = update
        elif update.kind == "frames":
            self._lanes.send(update)
        elif update.kind != "start":
            self._newest = update if update.snapshot is not None or self._newest is None else self._newest
            self._lanes.send(update)

    def _complete(self, update: Update) -> Update:
        """Return an update of the child with what is known here beside it."""
        for message in update.messages:
            self._notes.add(message)
        progress = replace(update.progress, skipped=self._lanes.skipped)
        return replace(update, messages=self._notes.messages, progress=progress)

    def _answer(self, life: Life, message: dict[str, Any]) -> None:
        value, problem = None, None
        try:
            value = self._ask(message)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        life.reply({"type": "answer", "number": message["number"], "value": value, "error": problem})

    def _ask(self, message: dict[str, Any]) -> Any:
        question = message["question"]
        if question == "darks":
            return pack_darks(self._dark_store.get(message["uid"]))
        if question == "nearest_darks":
            found = self._dark_store.nearest(self._plan, message["before_s"])
            return None if found is None else {"uid": found[0], "darks": pack_darks(found[1])}
        if question == "last_probe":
            return pack_probe(self._find_probe(self._geometry, message["before_s"]))
        raise PtychoError(f"the analysis process asks for {question!r}, which nobody knows")

    # -- the end ------------------------------------------------------------------------------

    def _conclude(self, done: dict[str, Any] | None, reason: str) -> None:
        error: PtychoError | None = None
        at_last_frame: Snapshot | None = None
        if done is not None:
            at_last_frame = unpack_snapshot(done["at_last_frame"], self._geometry)
            error = PtychoError(done["error"]) if done["error"] is not None else None
        final = self._final
        if done is None or final is None:
            error = PtychoError(reason)
            self._notes.failed("analysis", error)
            known = self._newest or self._update("final")
            final = replace(known, kind="final", exit_status="fail", reason=reason, progress=self.progress())
        update = self._lanes.finish(lambda: self._complete(final))
        self._on_done(
            Outcome(
                raw_uid=self._start_doc["uid"],
                result_uid=self._lanes.result_uid,
                update=update,
                at_last_frame=at_last_frame,
                seconds_after_last_frame=time.monotonic() - self._last_event_at,
                error=error,
                sink_errors=self._lanes.errors,
            )
        )

    def _update(self, kind: Any) -> Update:
        return Update(
            kind=kind,
            start=self._start_doc,
            plan=self._plan,
            geometry=self._geometry,
            settings=self._settings_now(),
            progress=self.progress(),
            changes=self._changes,
            messages=self._notes.messages,
        )

    def _notes_of_sink(self, name: str, error: BaseException) -> None:
        self._notes.failed(f"sink {name}", error)
