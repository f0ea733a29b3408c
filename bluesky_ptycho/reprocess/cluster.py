"""Requests carried out by the workers of a Dask cluster."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from ..registry import enable_plugins, enabled_plugins
from .requests import Request
from .work import POLL_S, Done, Tell, reconstruct_again


class Cluster:
    """Sends requests to the workers behind a client.

    The workers open the catalog by its name: a directory that they share, an address or a profile.

    Parameters
    ----------
    client : distributed.Client
    target : str
        Name of the catalog.
    """

    def __init__(self, client: Any, target: str) -> None:
        self._client, self._target = client, target

    @property
    def n_workers(self) -> int:
        """Workers that are there now, 1 at least."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def __call__(self, request: Request, priority: int, tell: Tell, cancelled: Callable[[], bool]) -> Done:
        """Do what is asked for on a worker, and wait for it."""
        from distributed import Event

        name = f"ptycho-{uuid.uuid4()}"
        cancel = Event(name, client=self._client)
        self._client.subscribe_topic(name, lambda event: tell(*event[1]))
        try:
            task = self._client.submit(
                _on_worker, self._target, request, name, tuple(enabled_plugins()), pure=False, priority=priority
            )
            while not task.done():
                if cancelled() and not cancel.is_set():
                    cancel.set()
                _wait(task)
            done: Done = task.result()
            return done
        finally:
            self._client.unsubscribe_topic(name)


def _wait(task: Any) -> None:
    from distributed import TimeoutError, wait

    try:
        wait(task, timeout=POLL_S)
    except TimeoutError:
        return


def _on_worker(target: str, request: Request, name: str, plugins: Sequence[str]) -> Done:
    from distributed import Event, get_worker

    from ..catalog import open_catalog

    enable_plugins(*plugins)
    worker, cancel = get_worker(), Event(name)

    def tell(passes: int, text: str) -> None:
        worker.log_event(name, (passes, text))

    with open_catalog(target, create=False) as catalog:
        return reconstruct_again(catalog, request, tell, cancel.is_set)
