"""One life of the child: the process, what is sent to it, and the watch over it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .channel import Channel, encode

MODULE = "bluesky_ptycho.callbacks.child"
TICK_S = 0.5
LONGEST_GAP_FACTOR = 5.0
"""So many times the longest silence so far is no reason to worry: passes take longer as frames come."""
STARTING_S = 120.0
"""How long loading and compiling may take at least, on a machine that is busy."""
ENDING_S = 10.0
"""How long a child that has nothing more to do may take to end."""


class Outbox:
    """What the children of one run are sent, in order; kept, so that the next one gets it again."""

    def __init__(self) -> None:
        self._parts: list[list[bytes | memoryview]] = []
        self._changed = threading.Condition()

    def put(self, message: dict[str, Any]) -> None:
        """Add a message; never waits for anybody."""
        parts = encode(message)
        with self._changed:
            self._parts.append(parts)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those who wait look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def follow(self, ended: Callable[[], bool]) -> Iterator[list[bytes | memoryview]]:
        """Yield what is there and what comes, until `ended`."""
        sent = 0
        while True:
            with self._changed:
                while not ended() and len(self._parts) == sent:
                    self._changed.wait()
                if ended():
                    return
                parts = self._parts[sent]
            yield parts
            sent += 1


class Silence:
    """How long the child has given no sign of life, as it is counted in ticks of this process.

    A process that was itself stopped for a while must not blame the other.

    Parameters
    ----------
    patience_s : float
        Least time that counts as too long.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._pulse: int | None = None
        self._seconds = self._longest = 0.0

    def heard(self, pulse: int) -> None:
        """Take the number of times that the analysis has come by."""
        if pulse != self._pulse:
            if self._pulse:  # how long it took to load and compile tells nothing of passes
                self._longest = max(self._longest, self._seconds)
            self._pulse = pulse
            self._seconds = 0.0

    def tick(self, seconds: float) -> bool:
        """Count `seconds` at most as one tick; tell whether it has lasted too long."""
        self._seconds += min(seconds, 2 * TICK_S)
        least = LONGEST_GAP_FACTOR * self._longest if self._pulse else STARTING_S
        return self._seconds > max(self._patience_s, least)


class Life:
    """A child process from its start to its end.

    Parameters
    ----------
    hello : mapping
        Its first message.
    outbox : Outbox
        What it is sent then.
    patience_s : float
        Least silence after which it is killed.

    Attributes
    ----------
    hung : bool
        Whether it was killed for its silence.
    """

    def __init__(self, hello: Mapping[str, Any], outbox: Outbox, patience_s: float) -> None:
        ours, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # Ctrl-C at the terminal is the session's
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.hung = False
        self._channel = Channel(ours)
        self._outbox = outbox
        self._silence = Silence(patience_s)
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(dict(hello),), daemon=True),
            threading.Thread(target=self._watch, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the child says until it is dead or does not make sense; beats are noted on the way."""
        while (message := self._channel.receive()) is not None:
            if message["type"] == "beat":
                self._silence.heard(message["pulse"])
            yield message

    def reply(self, message: dict[str, Any]) -> None:
        """Send `message` at once, if the child still lives."""
        try:
            self._channel.send(message)
        except OSError:
            self.kill()

    def kill(self) -> None:
        """End the process now."""
        self.process.kill()

    def end(self, *, patience_s: float) -> str:
        """Close everything and wait for the process, which is killed after `patience_s`; return what it died of."""
        self._ended.set()
        self._outbox.wake()
        self._channel.shut_down()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        for thread in self._threads:
            thread.join()
        self._channel.close()
        return _cause(self.process.returncode)

    def _send(self, hello: dict[str, Any]) -> None:
        try:
            self._channel.send(hello)
            for parts in self._outbox.follow(self._ended.is_set):
                self._channel.send_parts(parts)
        except OSError:  # the child is dead, which who receives sees too
            pass

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(TICK_S):
            now = time.monotonic()
            if self._silence.tick(now - before):
                self.hung = True
                self.kill()
                return
            before = now


def _cause(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
