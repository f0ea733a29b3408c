"""Waits that hear Ctrl-C.

The system may hand a Ctrl-C to any thread. Python then notes it, and calls the handler when the main thread is awake:
in one long wait, only at its end. So who may wait for long in the main thread looks about now and then.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

LOOK_ABOUT_S = 0.2


def wait_awake(wait: Callable[[float], object], timeout: float | None = None) -> bool:
    """Wait until something is there, in short waits; tell whether it is.

    Parameters
    ----------
    wait : callable
        ``wait(seconds)`` returns something true at once when it is there, as :meth:`threading.Event.wait` does.
    timeout : float, optional
        Seconds to wait at most.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        left = max(deadline - time.monotonic(), 0.0)
        if wait(min(left, LOOK_ABOUT_S)):
            return True
        if left <= LOOK_ABOUT_S:
            return False


def join_awake(thread: threading.Thread, timeout: float | None = None) -> None:
    """Wait until a thread has ended, for `timeout` seconds at most."""

    def ended(seconds: float) -> bool:
        thread.join(seconds)
        return not thread.is_alive()

    wait_awake(ended, timeout)


class AwakeForCtrlC:
    """What the main thread does while a RunEngine works: hear Ctrl-C, and what else it is told to.

    Parameters
    ----------
    during_task : DuringTask, optional
        Bluesky's ``DefaultDuringTask()``, say, which keeps windows of Qt alive.
    """

    def __init__(self, during_task: Any = None) -> None:
        self._during_task = during_task

    def block(self, blocking_event: threading.Event) -> None:
        """Return when `blocking_event` is set."""
        awake = _AwakeEvent(blocking_event)
        if self._during_task is None:
            awake.wait()
        else:
            self._during_task.block(awake)


class _AwakeEvent:
    """An event that is waited for in short waits, by whoever waits for it."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def wait(self, timeout: float | None = None) -> bool:
        return wait_awake(self._event.wait, timeout)
