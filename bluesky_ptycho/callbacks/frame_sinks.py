"""Sinks that write the clean frames of a scan to files while it runs, for programs that reconstruct them too."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..frames import Batch
from ..io.nxs import CleanNxsWriter
from ..io.ptyd_writer import GrowingPtyd
from ..registry import sinks
from ..versions import software_versions
from .file_sinks import DIRECTORY, scan_directory
from .updates import Update

FRAMES_IN_PART = 64
FLUSH_S = 5.0
"""A part of a ``.ptyd`` file is written when it has so many frames, or after this time."""

Frames = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]
"""PtyPy's files have no place for weights between 0 and 1."""


def frames_of(batch: Batch) -> Frames:
    """Return photons and masks ``(n, ny, nx)``, positions ``(n, 2)`` and scan points ``(n,)`` of a batch."""
    mask = np.broadcast_to(batch.mask, batch.amplitude.shape)
    return np.square(batch.amplitude), mask, batch.positions_m, batch.seq_nums


@dataclass
class _Growing:
    """A ``.ptyd`` file, and the batches that are not in it yet."""

    file: GrowingPtyd
    waiting: list[Frames] = field(default_factory=list)
    flushed_at: float = field(default_factory=time.monotonic)

    def add(self, frames: Frames) -> None:
        self.waiting.append(frames)
        n = sum(len(seq_nums) for *_, seq_nums in self.waiting)
        if n >= FRAMES_IN_PART or time.monotonic() - self.flushed_at >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            photons, mask, positions_m, seq_nums = (np.concatenate(parts) for parts in zip(*self.waiting, strict=True))
            # One scan point may have come twice; the last one counts.
            last = {number: row for row, number in enumerate(seq_nums.tolist())}
            rows = sorted(last.values())
            self.file.append(photons[rows], mask[rows], positions_m[rows], seq_nums[rows])
        self.waiting, self.flushed_at = [], time.monotonic()


@sinks.register("ptyd")
class PtydSink:
    """Write ``patterns.ptyd`` into the scan's directory, which PtyPy may read while the scan runs.

    Each chunk is a file beside it that must stay with it; ``bluesky-ptycho convert --to ptyd`` makes a file in one
    piece. At the end frames that turned out to be bad are taken out.

    Parameters
    ----------
    directory : path
        The scans' directories are made in it.
    """

    name = "ptyd"
    wants_frames = True

    def __init__(self, directory: str | Path = DIRECTORY) -> None:
        self._root = Path(directory).expanduser().absolute()
        self._open: dict[str, _Growing] = {}

    def __call__(self, update: Update) -> None:
        """Take frames, or finish the file.

        Raises
        ------
        OSError
            If a file cannot be written; what is there stays, and is whole.
        MetadataError
            If the patterns are not square.
        """
        uid = update.start["uid"]
        if update.kind == "frames" and update.frames is not None:
            if uid not in self._open:
                path = scan_directory(self._root, update.start) / "patterns.ptyd"
                label = str(update.start.get("sample_name", ""))
                self._open[uid] = _Growing(GrowingPtyd(path, update.geometry, update.plan.n_points, label=label))
            self._open[uid].add(frames_of(update.frames))
        elif update.kind == "final" and uid in self._open:
            growing = self._open.pop(uid)
            growing.flush()
            growing.file.finish(update.rejected)


@sinks.register("nxs")
class NxsSink:
    """Write the frames that were used as ``patterns.nxs`` into the scan's directory, with the probe that was found.

    The file (NXcxi_ptycho, which readers of CXI open too) grows under another name and appears at the end.

    Parameters
    ----------
    directory : path
        The scans' directories are made in it.
    """

    name = "nxs"
    wants_frames = True

    def __init__(self, directory: str | Path = DIRECTORY) -> None:
        self._root = Path(directory).expanduser().absolute()
        self._open: dict[str, CleanNxsWriter] = {}

    def __call__(self, update: Update) -> None:
        """Take frames, or finish the file; nothing stays if no frame was used.

        Raises
        ------
        OSError
            If it cannot be written; no partial file stays.
        """
        uid = update.start["uid"]
        try:
            if update.kind == "frames" and update.frames is not None:
                if uid not in self._open:
                    path = scan_directory(self._root, update.start) / "patterns.nxs"
                    sample = str(update.start.get("sample_name", ""))
                    self._open[uid] = CleanNxsWriter(path, update.geometry, title=sample, raw_uid=uid)
                self._open[uid].append(*frames_of(update.frames), weight=update.frames.weight)
            elif update.kind == "final" and uid in self._open:
                _finish(self._open[uid], update)
                self._open.pop(uid).close()
        except BaseException:
            if uid in self._open:
                self._open.pop(uid).discard()
            raise


def _finish(writer: CleanNxsWriter, update: Update) -> None:
    writer.drop(update.rejected)
    writer.write_zone_plate(update.plan.illumination)
    if update.snapshot is not None:
        writer.write_illumination(update.snapshot.probe[0])
    writer.write_process(
        settings=update.settings,
        steps=update.settings.get("preprocess", {}).get("steps") or (),
        versions=software_versions(),
        rejected=update.rejected,
        dark_corrected=update.dark_corrected,
    )
