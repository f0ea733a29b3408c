"""Write runs with the stack's own TiledWriter, in batches that don't wait for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .embedded import tells_listeners

BATCH = 100
"""Events per write: one by one a write costs tens of ms, and 10 000 (the default) show up too late."""

FLUSH_S = 5.0
"""Seconds after which rows are written even if the batch is not full."""


def run_writer(
    client: Any, *, batch: int = BATCH, flush_s: float = FLUSH_S
) -> Callable[[str, Mapping[str, Any]], None]:
    """Return the stack's own writer of one run into the container of `client`; it raises what the server refuses.

    Parameters
    ----------
    client : tiled client
        Container of Bluesky runs.
    batch : int
        Events, and frames, per write.
    flush_s : float
        A document that arrives so long after the last write takes the waiting ones along.
    """
    from bluesky_tiled_plugins import TiledWriter
    from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer
    from event_model import DocumentNames

    class TimedNormalizer(RunNormalizer):
        """The stack's normalizer, which also sees the writer of its run and when it last wrote."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._writer: Any = None
            self._last = time.monotonic()

        def subscribe(self, func: Any, name: str = "all") -> int:
            self._writer = func
            return int(super().subscribe(func, name))

        def emit(self, name: Any, doc: Any) -> None:
            super().emit(name, doc)
            # The stop document has written what was waiting, and leaves it in the writer.
            if name is not DocumentNames.stop and time.monotonic() - self._last >= flush_s:
                _flush(self._writer)
                self._last = time.monotonic()

    tiled_writer = TiledWriter(client, batch_size=batch, normalizer=TimedNormalizer)
    # Its router of runs would make a warning of what is wrong with a start document, and go on.
    ((writer,), _) = tiled_writer._factory("start", {})
    if not tells_listeners(client):
        writer._writer._close_stream_tree = _nothing
    return writer  # type: ignore[no-any-return]


def _nothing() -> None:
    """In the place of a request for each table and array, which take a result half a second and tell nobody."""


def _flush(writer: Any) -> None:
    """Write what `writer` holds back; it has no public call for that."""
    for name, rows in writer._internal_data_cache.items():
        if rows:
            writer._write_internal_data(rows, desc_node=writer._desc_nodes[name])
            rows.clear()
    waiting = list(writer._external_data_cache.values())
    writer._external_data_cache.clear()
    for doc in waiting:
        writer._write_external_data(doc)
