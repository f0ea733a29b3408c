"""When a run's checkpoint is written, by whom, and when it goes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ..file_lock import take_lock
from ..io.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ..versions import software_versions

DIRECTORY = "checkpoints"
"""Beside the results."""

MOST_OF_TIME = 0.03
"""Share of the time that checkpoints may take: the interval grows where writing one takes longer."""


class RunLock:
    """Held by the session that reconstructs a run; the system frees it if the session dies.

    Parameters
    ----------
    directory : Path
        That of the checkpoints; made if absent.
    raw_uid : str
    """

    def __init__(self, directory: Path, raw_uid: str) -> None:
        self.path = directory / f"{raw_uid}.lock"
        self.checkpoint = directory / f"{raw_uid}.h5"
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Take it; False if somebody else has it.

        Raises
        ------
        OSError
            If the directory cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab")
        if take_lock(file):
            self._file = file
            return True
        file.close()
        return False

    @property
    def is_mine(self) -> bool:
        """Whether it is held."""
        return self._file is not None

    def read(self) -> Checkpoint | None:
        """Return the checkpoint of the run, None if there is none.

        Raises
        ------
        MetadataError
            If it cannot be used, or belongs to another run.
        """
        return read_checkpoint(self.checkpoint) if self.checkpoint.exists() else None

    def release(self, *, done: bool) -> None:
        """Let go; where the run is `done` nothing is left to resume, and its files are removed."""
        if self._file is None:
            return
        if done:
            self.checkpoint.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        self._file.close()
        self._file = None


def left_behind(directory: Path) -> list[RunLock]:
    """Return the runs that no living session reconstructs and that were not finished, the newest first."""
    found = [RunLock(directory, path.stem) for path in directory.glob("*.lock")]
    free = []
    for lock in found:
        if lock.take():
            lock.release(done=False)
            free.append(lock)
    return sorted(free, key=_last_sign, reverse=True)


def _last_sign(lock: RunLock) -> float:
    return max(path.stat().st_mtime for path in (lock.path, lock.checkpoint) if path.exists())


class Claims:
    """The runs that a session reconstructs, each claimed by its lock.

    Parameters
    ----------
    directory : callable
        Returns where checkpoints go, None if nowhere; asked when a run begins.
    on_error : callable
        Takes what is wrong with that place.
    temporary : bool
        Whether there must be a place, if need be one that lasts as long as the session.
    """

    def __init__(
        self, directory: Callable[[], Path | None], on_error: Callable[[Exception], None], *, temporary: bool = False
    ) -> None:
        self._directory, self._on_error = directory, on_error
        self._needed = temporary
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._locks: dict[str, RunLock] = {}

    def take(self, raw_uid: str) -> RunLock | None:
        """Return the lock of a run; None where another session has it, or there is no place for checkpoints."""
        lock = self._take_lasting(raw_uid)
        if lock is None and self._needed:
            self._temporary = self._temporary or tempfile.TemporaryDirectory(prefix="ptycho-checkpoints-")
            lock = RunLock(Path(self._temporary.name), raw_uid)
            lock.take()
        if lock is not None:
            self._locks[raw_uid] = lock
        return lock

    def _take_lasting(self, raw_uid: str) -> RunLock | None:
        try:
            directory = self._directory()
            lock = None if directory is None else RunLock(directory, raw_uid)
            return lock if lock is not None and lock.take() else None
        except Exception as error:  # a catalog that names no directory, or one that cannot be written
            self._on_error(error)
            return None

    def release(self, raw_uid: str, *, done: bool) -> None:
        """Let go of a run; one that is `done` leaves nothing behind."""
        lock = self._locks.pop(raw_uid, None)
        if lock is not None:
            lock.release(done=done)

    def close(self) -> None:
        """Remove the temporary place, if there was one."""
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None


class Checkpoints:
    """Write the checkpoint of one run now and then.

    Parameters
    ----------
    path : Path or None
        None writes nothing.
    raw_uid : str
    settings : mapping
        All settings of the reconstruction; may be replaced.
    interval_s : float
        Least time between two; longer where writing takes more than a few hundredths of the time.
    clock : callable
        Monotonic time in s.
    """

    def __init__(
        self,
        path: Path | None,
        raw_uid: str,
        settings: Mapping[str, Any],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._raw_uid, self.settings = path, raw_uid, settings
        self._interval_s = interval_s
        self._clock = clock
        self._due = clock() + interval_s
        self.seconds = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return self._path is not None and self._clock() >= self._due

    def write(self, take: Callable[[], Mapping[str, Any]], visits: int) -> None:
        """Write what `take` gives, the state of the solver; `visits` is how often it visited a frame.

        Raises
        ------
        OSError
            If it cannot be written; the one before stays, and none is due for a while.
        """
        if self._path is None:
            return
        begun = self._clock()
        try:
            arrays = take()
            write_checkpoint(
                self._path,
                Checkpoint(self._raw_uid, arrays, self.settings, visits, time.time(), software_versions()),
            )
        finally:
            now = self._clock()
            self.seconds = now - begun
            self._due = now + max(self._interval_s, self.seconds / MOST_OF_TIME)

    def discard(self) -> None:
        """Remove what was written: it is no longer where the reconstruction is."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
