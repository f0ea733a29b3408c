"""What a file or a stored run holds, ready to be drawn: what ``bluesky-ptycho show`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import MetadataError
from .figure.frame_sheet import FrameRoll
from .foreign import open_foreign
from .frames import Snapshot
from .io import hdf5
from .io.cxi import read_result_cxi
from .io.patterns import open_patterns
from .io.raw_cxi import read_raw_facts
from .preprocess import PreprocessSettings
from .raw_scan import stored_scan
from .spelling import spelled
from .stored_scan import find_scan

logger = logging.getLogger("bluesky_ptycho")

IMAGE = "entry_1/image_1/data"
Frame = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Shown:
    """A reconstruction to be drawn: what it is called, and the run whose frames it is made of, if that is known."""

    title: str
    snapshot: Snapshot
    stxm: NDArray[np.float32] | None = None
    raw_uid: str = ""


def find_result(name: str, catalog: Callable[[], Any]) -> Shown | None:
    """Return the reconstruction that a file or a run holds; None where it holds frames alone.

    Parameters
    ----------
    name : str
        A file, or as for ``catalog[uid]``.
    catalog : callable
        Gives the catalog, and is asked only for runs.

    Raises
    ------
    NotFoundError, MetadataError
        If there is neither, or the file cannot be used.
    """
    path = Path(name)
    if path.is_file():
        with hdf5.open_for_reading(path) as file:
            if hdf5.find_dataset(file, IMAGE) is None:
                return None
            uid = hdf5.find_dataset(file, "entry_1/experiment_identifier")
            raw_uid = "" if uid is None or uid.shape else bytes(uid[()]).decode(errors="replace")
        return Shown(name, read_result_cxi(path), raw_uid=raw_uid)
    found = find_scan(name, catalog())
    if found.note:
        logger.warning("%s", found.note)
    if not found.has_image:
        return None
    start = found.raw.metadata["start"]
    title = f"scan {start.get('scan_id', '')} {start.get('sample_name', '')}, result {_uid(found.result)[:8]}"
    return Shown(title, found.snapshot(), found.transmission, start["uid"])


def compared_note(first: Shown, second: Shown) -> str:
    """Return what is to be known of a comparison of two results: those of the same frames share their noise."""
    same = first.raw_uid and first.raw_uid == second.raw_uid
    return "the same frames: how alike, not how sharp" if same else ""


@contextmanager
def open_frames(name: str, catalog: Callable[[], Any]) -> Iterator[FrameRoll]:
    """Give the frames that a file or a run holds: patterns, or raw ones.

    Parameters
    ----------
    name, catalog
        As for :func:`find_result`.

    Raises
    ------
    NotFoundError, MetadataError
        If there are none.
    """
    path = Path(name)
    if not path.is_file():
        raw = find_scan(name, catalog()).raw.metadata["start"]
        with stored_scan(raw["uid"], catalog(), PreprocessSettings()) as scan:
            positions = np.array([p.position_m for p in scan.points], dtype=np.float64)
            title = f"scan {raw.get('scan_id', '')} {scan.title}, raw frames"

            def read_stored(points: Sequence[int]) -> list[Frame | None]:
                frames, problems = scan.read([scan.points[i] for i in points])
                rest = iter(frames)
                return [None if i in problems else next(rest).astype(np.float32) for i in range(len(points))]

            yield FrameRoll(title, False, positions, read_stored)
        return
    if read_raw_facts(path) is not None:
        with open_foreign(path) as foreign:
            assert foreign.plan.positions_m is not None
            yield FrameRoll(
                f"{path.name}, raw frames", False, foreign.plan.positions_m,
                lambda points: [foreign.read(i, i + 1)[0].astype(np.float32) for i in points],
            )  # fmt: skip
        return
    with open_patterns(path) as patterns:

        def read_pattern(point: int) -> Frame:
            photons, mask = patterns.read(point, point + 1)
            return np.where(mask[0], photons[0], np.float32(np.nan))

        yield FrameRoll(path.name, True, patterns.positions_m, lambda points: [read_pattern(i) for i in points])


def chosen_points(text: str | None, roll: FrameRoll, most: int) -> list[int]:
    """Return the scan points, from 0, that a person names as "5", "5,9" or "40-51", or `most` all over the scan.

    Raises
    ------
    MetadataError
        If there are no such points, or they are more than `most`.
    """
    from .figure.frame_sheet import spread

    if text is None:
        return [int(i) for i in spread(roll.n, most)]
    try:
        ranges = [_range(part, roll.n) for part in text.split(",")]
    except ValueError:
        ranges = []
    points = list(chain.from_iterable(ranges)) if sum(map(len, ranges)) <= most else []
    if not points:
        raise MetadataError(
            f"{spelled('points')} are {text!r}; expected 1 to {most} of the points 1 to {roll.n}, as 5,9 or 40-51"
        )
    return points


def _range(text: str, n: int) -> range:
    """Return the points, from 0, of "5" or "40-51"; raise ValueError if they are none of the points 1 to `n`."""
    first, _, last = text.partition("-")
    points = range(int(first) - 1, int(last or first))
    if not 0 <= points.start < points.stop <= n:
        raise ValueError(text)
    return points


def _uid(run: Any) -> str:
    return str(run.metadata["start"]["uid"])
