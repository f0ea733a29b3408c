"""What a catalog does not take is kept: one file for each run, one line a document, until all of it is stored.

Every document goes to the file first. It is deleted when the catalog has taken the run's stop document; until then,
and for ever if the catalog refuses or the process dies, `restore` can store the run from it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PtychoError, in_a_line
from ..file_lock import take_lock
from ..paths import sanitise
from .remote import without_keys

logger = logging.getLogger("bluesky_ptycho")

SUFFIX = ".jsonl"

PATIENCE_S = 30.0
"""A catalog that has taken longer for one run, and most of the run's time, is left aside for the rest of it."""

DocumentCallable = Callable[[str, Mapping[str, Any]], None]


class KeptRunError(PtychoError):
    """A catalog did not take a run, whose documents are kept: what they refer to is wanted still."""


class RunFile:
    """The documents of one run, as lines ``{"name": ..., "doc": ...}``; locked while the run may still grow.

    Parameters
    ----------
    path : Path
        A file that is there already is replaced.

    Raises
    ------
    OSError
        If it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self.close = weakref.finalize(self, os.close, self._file)
        self.close.atexit = False  # a thread that still writes would write into whatever gets its number next
        take_lock(self._file)
        self._size = 0

    def add(self, name: str, doc: Mapping[str, Any]) -> None:
        """Append a document.

        Raises
        ------
        OSError, TypeError
            If it cannot be written, or not as JSON; the file ends with the document before.
        """
        line = memoryview(json.dumps({"name": name, "doc": doc}, default=_plain).encode() + b"\n")
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size = os.lseek(self._file, 0, os.SEEK_CUR)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"a document holds a {type(value).__name__}, which JSON cannot hold")


def _place(directory: Path, uid: str) -> Path:
    return directory / f"{sanitise(uid)}{SUFFIX}"


def is_kept(directory: Path, uid: str) -> bool:
    """Tell whether `directory` has documents of a run that a catalog has not taken whole, or not yet."""
    return _place(directory, uid).exists()


class KeptRun:
    """Write one run into a file and into the catalog; never raises.

    Parameters
    ----------
    directory : Path
        Where the file goes.
    make_writer : callable
        Returns what writes into the catalog; called with the first document.
    catalog : str
        Name of the catalog, for the command that a message tells.
    warn : bool
        Log a refusal at once; else who reads `refusal` tells of it.

    Attributes
    ----------
    refusal : str
        Why the run is not in the catalog, and what to do about it; empty as long as it is.
    """

    def __init__(
        self, directory: Path, make_writer: Callable[[], DocumentCallable], catalog: str, *, warn: bool = True
    ) -> None:
        self._directory, self._make_writer, self._catalog, self._warn = directory, make_writer, catalog, warn
        self._file: RunFile | None = None
        self._unkept = ""
        self._writer: DocumentCallable | None = None
        self._started = time.monotonic()
        self._spent_s = 0.0
        self.refusal = ""

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document."""
        if not self._unkept:
            self._keep(name, doc)
        if not self.refusal:
            self._write(name, doc)
        if name == "stop" and self._file is not None:
            if not self.refusal:
                self._file.path.unlink(missing_ok=True)
            self._file.close()

    @property
    def kept(self) -> bool:
        """Whether the file holds all documents."""
        return self._file is not None and not self._unkept

    def require_taken(self) -> None:
        """Raise what there is to be said if the catalog did not take the run.

        Raises
        ------
        KeptRunError
            If its documents are kept.
        PtychoError
            If they are not.
        """
        if self.refusal:
            raise (KeptRunError if self.kept else PtychoError)(self.refusal)

    def _keep(self, name: str, doc: Mapping[str, Any]) -> None:
        try:
            if self._file is None:
                self._file = RunFile(_place(self._directory, doc["uid"]))
            self._file.add(name, doc)
        except Exception as error:
            self._unkept = f"{type(error).__name__}: {error}"
            logger.warning("documents cannot be kept in %s: %s", self._directory, self._unkept)

    def _write(self, name: str, doc: Mapping[str, Any]) -> None:
        began = time.monotonic()
        try:
            if self._writer is None:
                self._writer = self._make_writer()
            self._writer(name, doc)
        except Exception as error:
            self._refused(without_keys(in_a_line(error)))
        now = time.monotonic()
        self._spent_s += now - began
        if self._spent_s > max(PATIENCE_S, (now - self._started) / 2) and name != "stop" and not self.refusal:
            self._refused(f"it took {self._spent_s:.0f} s of the run's {now - self._started:.0f} s")

    def _refused(self, reason: str) -> None:
        self._writer = None
        if self._file is None or not self.kept:
            self.refusal = f"catalog {self._catalog} did not take a run, which is not kept either: {reason}"
        else:
            self.refusal = (
                f"catalog {self._catalog} did not take a run ({reason}); its documents are kept: "
                f"bluesky-ptycho restore {self._file.path} --catalog {self._catalog}"
            )
        if self._warn:
            logger.warning("%s", self.refusal)


def keeping(
    directory: Path, make_writer: Callable[[], DocumentCallable], catalog: str, *, tell: bool = False, warn: bool = True
) -> DocumentCallable:
    """Return a writer of any number of runs that keeps what the catalog does not take.

    Parameters
    ----------
    directory, make_writer, catalog, warn
        As for :class:`KeptRun`.
    tell : bool
        Raise as :meth:`KeptRun.require_taken` does after the stop document of a run that the catalog did not take.
        Else nothing is ever raised: a scan goes on without its catalog.
    """
    from event_model import NoFiller, RunRouter

    runs: dict[str, KeptRun] = {}
    router = RunRouter([lambda name, doc: ([_run(doc["uid"])], [])], filler_class=NoFiller)
    one_at_a_time = threading.Lock()

    def _run(uid: str) -> KeptRun:
        return runs.setdefault(uid, KeptRun(directory, make_writer, catalog, warn=warn))

    def write(name: str, doc: Mapping[str, Any]) -> None:
        with one_at_a_time:
            try:
                router(name, dict(doc))
            except Exception as error:  # of a run whose beginning was missed
                logger.warning("catalog %s: a %s document has no run: %r", catalog, name, error)
            run = runs.pop(doc.get("run_start", ""), None) if name == "stop" else None
        if tell and run is not None:
            run.require_taken()

    return write
