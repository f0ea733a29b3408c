"""The child: ``python -m bluesky_ptycho.callbacks.child FD`` analyses one run and ends when its parent does."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import PtychoError
from ...io.checkpoint import Checkpoint, read_checkpoint
from ..analysis import Analysis
from ..checkpoints import Checkpoints
from ..document_keys import read_plan
from ..intake import Intake
from ..live_settings import LiveSettings
from ..outcome import Outcome
from ..run_log import RunLog
from ..updates import Update
from .channel import Channel
from .messages import fields_of, pack_snapshot, pack_update, unpack_changes
from .remote import Parent

BEAT_S = 0.25


class Child:
    """Analyses the run that the parent's first message tells of.

    Parameters
    ----------
    channel : Channel
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._parent_pid = os.getppid()
        self._pulse = 0
        self._parent = Parent(channel, self._beat)
        hello = channel.receive()
        if hello is None:
            raise PtychoError("the parent is gone")
        settings = LiveSettings.from_stored(hello["settings"])
        start = hello["start"]
        plan = read_plan(start)
        if plan is None:
            raise PtychoError(f"run {start.get('uid')} carries no scan plan")
        self._intake = Intake(start, plan, settings.patience_s, hello["roots"])
        path = Path(hello["checkpoint"])
        self._analysis = Analysis(
            self._intake,
            settings,
            [_Sink(channel, hello["frames"])],
            self._parent,
            self._done,
            find_probe=self._parent.last_probe,
            checkpoints=Checkpoints(path, start["uid"], settings.to_dict(), settings.checkpoint_interval_s),
            resumed=_stored(path, hello["resume"]),
            beat=self._beat,
            log=_Log(channel),
            script=unpack_changes(hello["script"]),
            applied=unpack_changes(hello["applied"]),
        )
        self._to_skip = self._obeyed_before = int(hello["obeyed"])
        self._told = (self._obeyed_before, len(hello["applied"]))
        logging.getLogger("bluesky_ptycho").setLevel(hello["log_level"])

    def _beat(self) -> None:
        self._pulse += 1

    def _done(self, outcome: Outcome) -> None:
        self._channel.send(
            {
                "type": "done",
                "at_last_frame": pack_snapshot(outcome.at_last_frame),
                "error": None if outcome.error is None else f"{type(outcome.error).__name__}: {outcome.error}",
            }
        )

    def run(self) -> None:
        """Take messages until the parent closes its end."""
        threading.Thread(target=self._keep_beating, daemon=True).start()
        self._analysis.start()
        while (message := self._channel.receive()) is not None:
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "document":
            self._intake(message["name"], message["doc"])
        elif message["type"] == "answer":
            self._parent.answered(message)
        elif message["type"] == "request":
            if self._to_skip:  # the child before this one has dealt with it
                self._to_skip -= 1
            else:
                self._analysis.request(message["request"])
        elif message["type"] == "cancel":
            self._analysis.cancel()

    def _keep_beating(self) -> None:
        """Tell how often the analysis has come by; end when the parent has, even if its socket lives on in a fork."""
        while os.getppid() == self._parent_pid:
            beat = {"type": "beat", "pulse": self._pulse, "progress": fields_of(self._analysis.progress())}
            try:
                self._tell_changes()
                self._channel.send(beat)
            except OSError:
                break
            threading.Event().wait(BEAT_S)
        os._exit(1)

    def _tell_changes(self) -> None:
        """Tell what has become of requests, for a child that may have to go on from here."""
        steering = self._analysis.steering
        obeyed = self._obeyed_before + steering.obeyed  # first: what is not in the changes yet will be asked again
        changes = steering.changes
        if (obeyed, len(changes)) != self._told:
            self._told = (obeyed, len(changes))
            packed = [fields_of(change) for change in changes]
            self._channel.send({"type": "changed", "obeyed": obeyed, "changes": packed})


class _Log(RunLog):
    """Sends records to the parent, but for those whose text is a message of the run: the parent tells of these."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        if getattr(record, "noted", False):
            return
        told = bool(getattr(record, "told", False))
        with suppress(OSError):  # the parent is gone
            self._channel.send({"type": "log", "level": record.levelno, "text": self.format(record), "told": told})


class _Sink:
    """Sends updates to the parent."""

    name = "parent"

    def __init__(self, channel: Channel, wants_frames: bool) -> None:
        self._channel, self.wants_frames = channel, wants_frames

    def __call__(self, update: Update) -> None:
        self._channel.send({"type": "update", "update": pack_update(update)})


def _stored(path: Path, resume: bool) -> Checkpoint | None:
    return read_checkpoint(path) if resume and path.exists() else None


def main() -> None:
    """Run the child on the socket whose file descriptor the command line names."""
    # The parent tells the user what the analysis notes.
    logging.getLogger("bluesky_ptycho").addHandler(logging.NullHandler())
    logging.getLogger("bluesky_ptycho").propagate = False
    Child(Channel(socket.socket(fileno=int(sys.argv[1])))).run()
    # Threads may hang in a read or on a device; nothing is left to be saved.
    os._exit(0)


if __name__ == "__main__":
    main()
