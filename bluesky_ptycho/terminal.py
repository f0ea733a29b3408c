"""How far a piece of work is, told to a person: a bar at a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

LINE_INTERVAL_S = 10.0
"""Least time between lines where there is no terminal: a log file, a pipe, a notebook."""
LEAST_SECONDS_OF_A_RATE = 1.0


class ProgressLine:
    """Tell how far something is.

    Log messages that come in between stand on lines of their own.

    Parameters
    ----------
    total : int
        How much there is to do.
    label, unit : str
        What is done, and what of: "rendering frames", "frame".
    file : text stream, optional
        Standard error by default.
    leave : bool
        Whether a finished bar stays on the terminal.
    interval_s : float
        Least time in s between lines where `file` is no terminal.
    enabled : bool
        False tells nothing.
    """

    def __init__(
        self,
        total: int,
        label: str,
        unit: str,
        *,
        file: TextIO | None = None,
        leave: bool = True,
        interval_s: float = LINE_INTERVAL_S,
        enabled: bool = True,
    ) -> None:
        self._file, self._standard = sys.stderr if file is None else file, file is None
        self._total, self._label, self._unit = total, label, unit
        self._interval_s, self._enabled = interval_s, enabled and not _quiet.is_set()
        self._n, self._text = 0, ""
        self._written: tuple[int, str] | None = None
        self._begun = self._shown_at = time.monotonic()
        self._bar: Any = None
        self._drawing = threading.RLock()  # a prompt ends the bar from another thread
        if self._enabled and self._file.isatty():
            self._bar = tqdm(total=total, desc=label, unit=unit, file=self._file, leave=leave, dynamic_ncols=True)
            self._above = _AboveBar(self._bar)
            self._shown_at = -math.inf  # the first words are shown at once
            self._cells = _cells()
            if self._cells is not None:
                self._cells.register("post_run_cell", self._end_bar)

    def show(self, n: int, text: str = "") -> None:
        """Tell that `n` of the total are done, with more in words."""
        with self._drawing:
            now = time.monotonic()
            self._leave_to_prompt()
            if self._bar is not None:
                self._set_bar(n, text)
                if text != self._text or now - self._shown_at >= self._bar.mininterval:
                    self._bar.refresh()
                    self._shown_at = now
            elif self._enabled and now - self._shown_at >= self._interval_s:
                self._write_line(n, text)
                self._shown_at = now
            self._n, self._text = n, text

    def close(self, n: int | None = None, text: str | None = None) -> None:
        """Tell the last state, that of the last :meth:`show` unless given, and end."""
        with self._drawing:
            n, text = self._n if n is None else n, self._text if text is None else text
            self._leave_to_prompt()
            if self._bar is not None:
                self._set_bar(n, text)
                self._end_bar()
            elif self._enabled and self._written != (n, text):
                self._write_line(n, text, ended=True)

    def _leave_to_prompt(self) -> None:
        """Leave the terminal to a prompt that waits there, as IPython's does with a standard error of its own.

        The bar stays as it was last drawn; what is left to tell is told in lines, which such a prompt lets stand above.
        """
        if not self._standard or sys.stderr is self._file:
            return
        self._file = sys.stderr
        if self._bar is not None:
            self._bar.fp = io.StringIO()
            self._bar.sp = self._bar.status_printer(self._bar.fp)
            self._end_bar()

    def _end_bar(self, result: object = None) -> None:
        """End the bar's line, before a prompt is drawn there; what is left to tell is told in lines."""
        with self._drawing:
            bar, self._bar = self._bar, None
            if bar is None:
                return
            self._shown_at = time.monotonic()
            self._above.remove()
            if self._cells is not None:
                self._cells.unregister("post_run_cell", self._end_bar)
            with contextlib.suppress(OSError, ValueError):  # the terminal is lost
                bar.close()

    def _set_bar(self, n: int, text: str) -> None:
        self._bar.n = n
        self._bar.set_postfix_str(text, refresh=False)

    def _write_line(self, n: int, text: str, *, ended: bool = False) -> None:
        seconds = time.monotonic() - self._begun
        parts = [f"{self._label}: {n}/{self._total}", f"{seconds:.0f} s"]
        if not ended and 0 < n < self._total and seconds >= LEAST_SECONDS_OF_A_RATE:
            parts += [f"{n / seconds:.3g} {self._unit}/s", f"{max(1.0, seconds / n * (self._total - n)):.0f} s left"]
        print(", ".join([*parts, text] if text else parts), file=self._file, flush=True)
        self._written = (n, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cells() -> Any:
    """Return the events of the IPython session that runs here, None where there is none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return None if shell is None else shell.events


def printable(text: object, most: int = 60) -> str:
    """Return `text` as it may be shown anywhere: one line of at most `most` characters, none of which does anything."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)[: 16 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def announce(text: str) -> None:
    """Print a line for the person at the terminal, if there is one: a lost terminal must not end a scan.

    Not a word of it where all is quiet.
    """
    if _quiet.is_set():
        return
    with contextlib.suppress(OSError, ValueError):
        print(text, flush=True)  # noqa: T201


_quiet = threading.Event()


@contextlib.contextmanager
def quietly(really: bool = True) -> Iterator[None]:
    """Show no progress and say nothing while it lasts; what is printed in answer to a command is printed still."""
    before = _quiet.is_set()
    if really:
        _quiet.set()
    try:
        yield
    finally:
        if not before:
            _quiet.clear()


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line to `file`, above the bars that are there; not a word of it where all is quiet.

    Standard output is the default.
    """
    if not _quiet.is_set():
        file = sys.stdout if file is None else file
        tqdm.write(text, file=file)
        file.flush()


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Tell Python's warnings while it lasts as lines on standard error, without the place in the code they come from.

    Which are shown is left to Python's filters.
    """

    def tell(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        say(" ".join(str(message).split()), file=sys.stderr)

    before, warnings.showwarning = warnings.showwarning, tell
    try:
        yield
    finally:
        warnings.showwarning = before


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """Let Ctrl-C be the ordinary end of what is done here, and say on standard error that it has been heard."""
    try:
        yield
    except KeyboardInterrupt:
        say("ended", file=sys.stderr)


class _AboveBar(logging.Filter):
    """Wipes a bar off its line before a log message is written there; the bar's next update draws it again."""

    def __init__(self, bar: Any) -> None:
        super().__init__()
        self._bar = bar
        self._handlers = [*logging.getLogger().handlers, *([logging.lastResort] if logging.lastResort else [])]
        for handler in self._handlers:
            handler.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Wipe the bar; every record passes."""
        with contextlib.suppress(OSError, ValueError):  # the terminal is lost: whoever logs is not to blame
            self._bar.clear()
        return True

    def remove(self) -> None:
        """Leave the handlers as they were."""
        for handler in self._handlers:
            handler.removeFilter(self)
