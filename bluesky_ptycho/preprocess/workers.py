"""Cleaning frames on somebody else's workers: processes, a cluster, whatever an executor stands for.

Chunks of frames travel with every call; recipe, steps and darks (some 6 MB for each exposure) reach a worker
once. A worker rebuilds its chain from them and keeps it. The work is one function that can be pickled,
:func:`clean_chunk`, and results are put together by the place of their frames, whoever is done first.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..registry import preprocessing_steps
from .chains import Chain, make_chain
from .recipe import PreparedDarks, Recipe
from .stack import Cleaned

CHUNK_BYTES = 16_000_000
"""Raw frames that a worker gets at once, as far as they are more than one scan point."""
KEPT_SETUPS = 4
"""Set-ups that a worker remembers: several runs may share it, or new darks come in the midst of one."""


@dataclass(frozen=True)
class Setup:
    """What a worker must know before frames mean anything to it.

    Parameters
    ----------
    key : str
        Equal keys mean equal contents.
    recipe, steps, darks
        As a chain takes them.
    functions : tuple of callable
        The steps themselves: to unpickle one is to import its module, which a worker may not have done.
    """

    key: str
    recipe: Recipe
    steps: tuple[str, ...]
    functions: tuple[Callable[..., Any], ...]
    darks: PreparedDarks

    @classmethod
    def of(cls, recipe: Recipe, steps: tuple[str, ...], darks: PreparedDarks) -> Setup:
        """Return a set-up with a new key."""
        return cls(uuid.uuid4().hex, recipe, steps, tuple(preprocessing_steps[name] for name in steps), darks)


_known: OrderedDict[str, tuple[Chain, PreparedDarks]] = OrderedDict()
_lock = threading.Lock()


def clean_chunk(key: str, setup: Setup | None, frames: NDArray[Any]) -> Cleaned | None:
    """Clean frames ``(n, K, H, W)`` in a worker.

    Parameters
    ----------
    key : str
        Of the set-up.
    setup : Setup or None
        None where the worker is hoped to know it.
    frames : ndarray

    Returns
    -------
    Cleaned or None
        None if the worker does not know the set-up: the caller sends it then.
    """
    with _lock:
        if key not in _known and setup is None:
            return None
        if key not in _known and setup is not None:
            _known[key] = (_chain_of(setup), setup.darks)
            while len(_known) > KEPT_SETUPS:
                _known.popitem(last=False)
        _known.move_to_end(key)
        chain, darks = _known[key]
    return chain(frames, darks)


def _chain_of(setup: Setup) -> Chain:
    for name, function in zip(setup.steps, setup.functions, strict=True):
        if name not in preprocessing_steps:  # it came by value, not by its module's name
            preprocessing_steps.register(name)(function)
    return make_chain(setup.recipe, setup.steps, InThisThread(), 1)


class InThisThread(Executor):
    """An executor without threads: the workers are many already."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `fn` at once."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Workers(Protocol):
    """Where chunks go."""

    def submit(self, setup: Setup, frames: NDArray[Any]) -> Callable[[], Cleaned]:
        """Send a chunk off; what is returned waits for its result."""


class PoolWorkers:
    """Workers of an executor in the manner of :mod:`concurrent.futures`.

    It cannot be told which worker takes a chunk: each is sent without the set-up, and again with it if that was
    unknown there.
    """

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def submit(self, setup: Setup, frames: NDArray[Any]) -> Callable[[], Cleaned]:
        """Send a chunk off."""
        future = self._executor.submit(clean_chunk, setup.key, None, frames)

        def result() -> Cleaned:
            cleaned = future.result()
            if cleaned is None:
                cleaned = self._executor.submit(clean_chunk, setup.key, setup, frames).result()
            return cleaned  # type: ignore[no-any-return]

        return result


class ClusterWorkers:
    """Workers of a ``dask.distributed.Client``, which get the set-up all at once, before the first chunk."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._sent: tuple[str, Any] | None = None

    def submit(self, setup: Setup, frames: NDArray[Any]) -> Callable[[], Cleaned]:
        """Send a chunk off."""
        if self._sent is None or self._sent[0] != setup.key:
            self._sent = (setup.key, self._client.scatter(setup, broadcast=True, hash=False))
        # Frames go as data, not as part of the task: hashing them, or a scheduler that keeps them, would cost time.
        there = self._client.scatter(frames, hash=False)
        future = self._client.submit(clean_chunk, setup.key, self._sent[1], there, pure=False)
        return future.result  # type: ignore[no-any-return]


def workers_of(executor: Any) -> Workers:
    """Return the workers behind an executor or a ``dask.distributed.Client``.

    Raises
    ------
    SettingsError
        If it is neither.
    """
    if hasattr(executor, "scatter") and hasattr(executor, "submit"):
        return ClusterWorkers(executor)
    if not callable(getattr(executor, "submit", None)):
        raise SettingsError(
            f"executor is a {type(executor).__name__}; expected one like those of concurrent.futures, "
            "or a dask.distributed.Client"
        )
    return PoolWorkers(executor)


class WorkerChain:
    """Clean frames by chunks on workers; results as from the chain in this process.

    Parameters
    ----------
    recipe : Recipe
    steps : tuple of str
    workers : Workers
    """

    def __init__(self, recipe: Recipe, steps: tuple[str, ...], workers: Workers) -> None:
        self._recipe, self._steps, self._workers = recipe, steps, workers
        self._setup: Setup | None = None
        self._lock = threading.Lock()

    def __call__(self, frames: NDArray[Any], darks: PreparedDarks) -> Cleaned:
        """Clean frames ``(n, K, H, W)``."""
        if not len(frames):
            return Cleaned.empty(0, self._recipe)
        size = max(1, CHUNK_BYTES // frames[0].nbytes)
        with self._lock:
            if self._setup is None or self._setup.darks is not darks:
                self._setup = Setup.of(self._recipe, self._steps, darks)
            setup = self._setup
            waiting = [self._workers.submit(setup, frames[i : i + size]) for i in range(0, len(frames), size)]
        parts = [result() for result in waiting]
        joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Cleaned)}
        return Cleaned(**joined)
