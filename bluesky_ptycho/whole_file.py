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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


MARGIN_BYTES = 2**26
"""Free space that stays beyond what is about to be written, for what HDF5 holds back."""


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
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
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
