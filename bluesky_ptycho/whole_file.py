"""Files that appear whole or not at all: made in memory, written aside, renamed.

HDF5 must not meet a full disk: when it cannot write what it holds back, closing the file ends the process with a
segmentation fault (seen with h5py 3.14, HDF5 1.14).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import h5py


MARGIN_BYTES = 2**26
"""Free space that stays beyond what is about to be written, for what HDF5 holds back."""


def name_aside(path: Path) -> Path:
    """Return where the file at `path` is made before it takes its place."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def require_room(path: Path, n_bytes: int) -> None:
    """Refuse to write `n_bytes` to a file at `path` that grows on the disk.

    Raises
    ------
    OSError
        If they, and a margin, are not free there: ENOSPC, as the disk itself would say too late.
    """
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes + MARGIN_BYTES:
        problem = (
            f"{os.strerror(errno.ENOSPC)}: {free / 1e6:.0f} MB free, expected {(n_bytes + MARGIN_BYTES) / 1e6:.0f}"
        )
        raise OSError(errno.ENOSPC, problem, str(path))


def write_whole(path: Path | str, content: bytes | memoryview) -> None:
    """Put `content` in the place of `path` at once, and on the disk before that.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays, and no partial file is left.
    """
    path = Path(path)
    aside = name_aside(path)
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


@contextlib.contextmanager
def whole_hdf5(path: Path | str) -> Iterator[h5py.File]:
    """Give an HDF5 file in memory, which is written to `path` where the block ends well.

    Raises
    ------
    OSError
        As :func:`write_whole` does.
    """
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        yield file
    write_whole(path, image.getbuffer())


class GrowingHdf5:
    """Base of what writes a large HDF5 file in pieces; it appears whole when the ``with`` block ends, or not at all.

    Parameters
    ----------
    path : Path
        Where it is to appear.
    """

    def __init__(self, path: Path | str) -> None:
        import h5py

        self._path = Path(path)
        self._aside = name_aside(self._path)
        self._file = h5py.File(self._aside, "w")

    @contextlib.contextmanager
    def _discarded_on_error(self) -> Iterator[h5py.File]:
        try:
            yield self._file
        except BaseException:
            self.discard()
            raise

    def _finish(self) -> None:
        """Write what comes after the last piece."""

    def close(self) -> None:
        """Finish the file and put it in its place."""
        with self._discarded_on_error():
            self._finish()
            self._file.close()
            os.replace(self._aside, self._path)

    def discard(self) -> None:
        """Close and delete what is not in its place."""
        try:
            with contextlib.suppress(OSError, RuntimeError):  # on a full disk; what led here says so
                self._file.close()
        finally:
            self._aside.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()


def whole_figure(path: Path | str, figure: Any, dpi: float) -> None:
    """Write a matplotlib figure as PNG.

    Raises
    ------
    OSError
        As :func:`write_whole` does.
    """
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dpi)
    write_whole(path, image.getbuffer())
