"""What went wrong, told once: in a run, whose messages its result keeps, and in a session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from .run_log import RunLog

logger = logging.getLogger("bluesky_ptycho")

NOTED = {"noted": True}
"""Marks a record whose text is a message of its run, too."""


class Notes:
    """Messages of one run; safe to use from any thread.

    Parameters
    ----------
    start : mapping
        Start document of the run.
    log : RunLog, optional
        Where they are written, too.
    """

    def __init__(self, start: Mapping[str, Any], log: RunLog | None = None) -> None:
        self.log = log or RunLog()
        self._scan, self._uid = start.get("scan_id", "?"), str(start["uid"])
        self._messages: dict[str, None] = {}

    @property
    def messages(self) -> tuple[str, ...]:
        """All messages so far."""
        return tuple(self._messages)

    def add(self, message: str) -> None:
        """Tell the user once and keep the message for the result."""
        if message not in self._messages:
            self._messages[message] = None
            with self.log.active():
                logger.warning("scan %s: %s", self._scan, message, extra=NOTED)

    def failed(self, what: str, error: BaseException) -> None:
        """Tell of an error and of what can be done about it."""
        logger.debug("%s failed", what, exc_info=error)
        self.log.tell(f"{what} failed", error)
        self.add(
            f"{what} failed: {type(error).__name__}: {error}; the scan is not harmed: if a catalog holds it, "
            f"bluesky-ptycho replay {self._uid[:8]} reconstructs it anew"  # who listens stores results alone
        )

    def attempt(self, what: str, action: Callable[[], Any]) -> Any:
        """Return what `action` gives, None where it fails: the end of a run comes whatever happens."""
        try:
            return action()
        except (Exception, SystemExit) as error:
            self.failed(what, error)


class Incidents(dict[str, BaseException]):
    """What went wrong in a session outside of any analysis, each kind stored and told once."""

    def report(self, what: str, error: BaseException, *, told: str = "") -> None:
        """Keep the error under what it disturbed; `told` is the message, if another one than usual."""
        if self.setdefault(f"{what}: {type(error).__name__}", error) is error:
            logger.error("%s: %s", told or f"{what}: {type(error).__name__}", error)
