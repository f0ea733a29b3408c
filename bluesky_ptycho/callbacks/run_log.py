"""A log file for each run: what the loggers of this package say in the threads of its analysis."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Self

logger = logging.getLogger("bluesky_ptycho")

FORMAT = "%(asctime)s %(levelname)s %(message)s"
MOST_WAITING = 1000
"""Records that are kept until the file is there."""

TOLD = {"told": True}
"""Marks a record that is for the file alone."""

_run: ContextVar[RunLog | None] = ContextVar("bluesky_ptycho run", default=None)


class _Console(logging.Handler):
    """Does what :mod:`logging` does where nobody has set it up, which the handler of a run would keep it from."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning, unless there are handlers beside those of runs."""
        beside = [*logger.handlers, *(logging.root.handlers if logger.propagate else ())]
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and all(isinstance(h, (RunLog, _Console)) for h in beside):
            last.handle(record)


_console = _Console()
_attaching = threading.Lock()


class RunLog(logging.Handler):
    """Takes the records of one run while it is entered; they go to a file once there is one.

    A record belongs to the run in whose context it was made: that of the thread which has entered this log, and of
    threads that were given a copy of its context.

    Attributes
    ----------
    path : Path or None
        The file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self.addFilter(lambda record: _run.get() is self)
        self._waiting: deque[logging.LogRecord] = deque(maxlen=MOST_WAITING)
        self._file: logging.FileHandler | None = None
        self.path: Path | None = None

    def __enter__(self) -> Self:
        _run.set(self)
        with _attaching:
            logger.addHandler(_console)
            logger.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _attaching:
            logger.removeHandler(self)
            if not any(isinstance(handler, RunLog) for handler in logger.handlers):
                logger.removeHandler(_console)
        self.close()
        _run.set(None)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Count what this thread says as the run's, whatever else it does."""
        token = _run.set(self)
        try:
            yield
        finally:
            _run.reset(token)

    def open(self, path: Path) -> Path | None:
        """Write to `path` what was said so far and what comes; return it, None if it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = logging.FileHandler(path, mode="x", encoding="utf-8")
        except OSError as error:
            logger.warning("the log of this run cannot be written: %s", error)
            return None
        file.setFormatter(self.formatter)
        file.handleError = self.handleError  # type: ignore[method-assign]
        with self.lock:  # type: ignore[union-attr]
            while self._waiting:
                file.emit(self._waiting.popleft())
            self._file, self.path = file, path
        return path

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it until there is a file."""
        if self._file is None:
            self._waiting.append(record)
        else:
            self._file.emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Pass over what cannot be written: a full disk has enough to complain of."""

    def tell(self, text: str, error: BaseException | None = None) -> None:
        """Write a line that is for this file alone, whatever level the loggers have."""
        about = None if error is None else (type(error), error, error.__traceback__)
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), about, extra=TOLD)
        with self.active():
            self.handle(record)

    def close(self) -> None:
        """Close the file."""
        with self.lock:  # type: ignore[union-attr]
            file, self._file = self._file, None
            self._waiting.clear()  # a traceback holds the solver
        if file is not None:
            file.close()
        super().close()
