"""What a session calls when a run is finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from ..given import one_or_many
from ..waiting import join_awake
from .outcome import Outcome

OnDone = Callable[[Outcome], object]
"""Anything that takes the :class:`Outcome` of a finished run."""


class Hooks:
    """Call each of some callables with each outcome, in a thread of its own, which nobody waits for.

    Parameters
    ----------
    hooks : callable or iterable of callable
        Each is called as ``hook(outcome)``.
    on_error : callable
        ``on_error(what, error)``, where a hook raises.

    Raises
    ------
    SettingsError
        If one of them cannot be called.
    """

    def __init__(self, hooks: OnDone | Iterable[OnDone], on_error: Callable[[str, BaseException], None]) -> None:
        self._hooks = one_or_many("on_done", hooks, callable, "functions that take an Outcome")
        self._on_error = on_error
        self._threads: list[threading.Thread] = []

    def __call__(self, outcome: Outcome) -> None:
        """Start the hooks."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for hook in self._hooks:
            name = str(getattr(hook, "name", getattr(hook, "__name__", type(hook).__name__)))
            thread = threading.Thread(target=self._call, args=(hook, f"on_done {name}", outcome), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _call(self, hook: OnDone, what: str, outcome: Outcome) -> None:
        try:
            hook(outcome)
        except BaseException as error:  # a hook may even call sys.exit()
            self._on_error(what, error)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the hooks have returned, for `timeout` seconds at most."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in list(self._threads):
            join_awake(thread, None if deadline is None else max(0.0, deadline - time.monotonic()))
