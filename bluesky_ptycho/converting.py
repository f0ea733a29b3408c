"""Take a stored run home in a format that other programs read: what ``bluesky-ptycho convert`` does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .callbacks.frame_reader import FrameReader
from .catalog import Catalog
from .errors import PtychoError, SettingsError
from .figure.display import lit_pixels, phase_arc, phase_from, scanned_box, without_phase_ramp
from .frames import Snapshot
from .given import as_path, check_switches
from .io.clean_cxi import CleanCxiWriter
from .io.cxi import write_result_cxi
from .io.nxs import CleanNxsWriter
from .io.patterns import open_patterns
from .io.ptyd_writer import PtydWriter
from .io.raw_cxi import RawCxiWriter
from .io.tiff import write_tiff
from .keywords import checks_arguments
from .output_file import check_output
from .preprocess import PreprocessSettings
from .raw_scan import RawScan, read_intake, stored_scan
from .raw_to_cxi import write_clean_cxi
from .spelling import spelled
from .stored_scan import StoredScan, find_scan
from .terminal import ProgressLine
from .words import counted

logger = logging.getLogger("bluesky_ptycho")

STAGES = ("raw", "clean", "result")
FORMATS = ("cxi", "ptyd", "nxs", "tiff")
DEFAULT_STAGES = {"cxi": "clean", "ptyd": "clean", "nxs": "clean", "tiff": "result"}
POINTS_AT_ONCE = 16
PATTERNS_AT_ONCE = 64
"""Patterns in a chunk of a ``.ptyd`` file; bounds the memory."""

_SENSELESS = {
    ("raw", "ptyd"): "PtyPy reconstructs what a .ptyd file holds, and raw frames are no patterns yet",
    ("raw", "tiff"): "frames are too many for a picture",
    ("clean", "tiff"): "patterns are too many for a picture",
    ("result", "ptyd"): "a .ptyd file holds patterns",
    ("result", "nxs"): "NXcxi_ptycho describes a measurement, not what was made of it",
}


@checks_arguments
def convert(
    uid: int | str,
    catalog: Catalog | str | Path,
    to: str,
    output: str | Path,
    *,
    stage: str | None = None,
    settings: PreprocessSettings | None = None,
    progress: bool = True,
) -> str:
    """Write what a run measured, or what was made of it, to a file; it appears whole or not at all.

    Parameters
    ----------
    uid : int or str
        As for ``catalog[uid]``: of a scan, or of one of its reconstructions.
    catalog : Catalog, path or address
    to : {"cxi", "nxs", "ptyd", "tiff"}
        Format; see ``docs/files.md`` for what is in it.
    output : path
        One that is there is replaced.
    stage : {"raw", "clean", "result"}, optional
        Frames as the camera gave them, patterns in photons, or object and probe of the reconstruction (`uid`'s own, or
        the newest of the scan). By default "result" for TIFF, else "clean".
    settings : PreprocessSettings, optional
        How frames become patterns.
    progress : bool
        Show a progress bar.

    Returns
    -------
    str
        What was written, in a line.

    Raises
    ------
    SettingsError
        If format or stage are not known, or do not go together.
    NotFoundError
        If there is no such run, or no reconstruction of it.
    PtychoError
        If `output` is no place to write to, or the frames cannot be read or cleaned.
    OSError
        If the file cannot be written.
    """
    check_switches("convert", progress=progress)
    stage = check(to, stage)
    output = as_path("output", output)
    check_output(output, option="output")
    if not isinstance(catalog, Catalog):
        from .catalog import open_catalog

        with open_catalog(catalog, create=False) as opened:
            return convert(uid, opened, to, output, stage=stage, settings=settings, progress=progress)
    found = find_scan(uid, catalog)
    if stage == "result":
        if found.has_image and found.note:
            logger.warning("%s", found.note)
        return _write_result(found, to, output)
    raw_uid = found.raw.metadata["start"]["uid"]
    settings = settings or PreprocessSettings()
    with stored_scan(raw_uid, catalog, settings) as scan:
        if stage == "raw":
            return _write_raw(scan, catalog, output, to, progress)
        if to == "ptyd":
            return _write_ptyd(scan, output, settings, progress)
        writer = CleanNxsWriter if to == "nxs" else CleanCxiWriter
        return write_clean_cxi(scan, output, settings, progress=progress, writer=writer).describe()


def check(to: str, stage: str | None) -> str:
    """Return the stage that is meant; raise :class:`SettingsError` if format and stage make no sense."""
    if to not in FORMATS:
        raise SettingsError(f"format is {to!r}; expected one of {', '.join(FORMATS)}")
    stage = stage or DEFAULT_STAGES[to]
    if stage not in STAGES:
        raise SettingsError(f"stage is {stage!r}; expected one of {', '.join(STAGES)}")
    if (stage, to) in _SENSELESS:
        fitting = " or ".join(format_ for format_ in FORMATS if (stage, format_) not in _SENSELESS)
        raise SettingsError(
            f"{spelled('stage')} {stage!r} cannot become {to!r}: {_SENSELESS[stage, to]}; "
            f"expected {spelled('to=', '--to ')}{fitting}"
        )
    return stage


def _write_result(found: StoredScan, to: str, output: Path) -> str:
    snapshot, start = found.snapshot(), found.raw.metadata["start"]
    sample = str(start.get("sample_name", ""))
    rows, columns = snapshot.object.shape
    if to == "cxi":
        versions = found.result.metadata["start"].get("versions", {}) if found.result is not None else {}
        write_result_cxi(
            output, snapshot, sample_name=sample, raw_uid=start["uid"], versions=versions, stxm=found.transmission
        )
        modes = len(snapshot.probe)
        return f"object of {rows} × {columns} pixels and {counted(modes, 'probe mode')}"
    _write_pictures(found, snapshot, output)
    return f"phase and amplitude of {rows} × {columns} pixels"


def _write_pictures(found: StoredScan, snapshot: Snapshot, output: Path) -> None:
    """Write phase and amplitude as numbers; NaN where no light has been: what stands there is noise."""
    start, inner = found.raw.metadata["start"], scanned_box(snapshot)
    flat, lit = without_phase_ramp(snapshot.object, inner), lit_pixels(snapshot.coverage)
    beginning, _ = phase_arc(flat[inner])
    images = {"phase": phase_from(flat, beginning), "amplitude": np.abs(flat)}
    told = {
        "raw_uid": start["uid"],
        "sample_name": str(start.get("sample_name", "")),
        "pixel_m": list(snapshot.canvas.pixel_m),
        "origin_m": list(snapshot.canvas.origin_m),
        "rows": "highest stage y first",
        "phase": "radian, without its ramp",
        "NaN": "where no light has been",
    }
    masked = {name: np.where(lit, image, np.nan) for name, image in images.items()}
    write_tiff(output, masked, snapshot.canvas.pixel_m, told)


def _write_raw(scan: RawScan, catalog: Catalog, output: Path, to: str, progress: bool) -> str:
    """Write the frames that can be read, and the darks that serve them."""
    lost = 0
    first, _ = scan.read(scan.points[:1])
    dtype = first.dtype if len(first) else np.dtype(np.uint16)
    with (
        RawCxiWriter(output, scan.plan, dtype, title=scan.title, raw_uid=scan.uid, nexus=to == "nxs") as writer,
        ProgressLine(len(scan.points), "copying", "point", enabled=progress) as line,
    ):
        for start in range(0, len(scan.points), POINTS_AT_ONCE):
            asked = scan.points[start : start + POINTS_AT_ONCE]
            frames, problems = scan.read(asked)
            lost += len(problems)
            if len(frames):
                writer.append(frames, np.array([p.position_m for i, p in enumerate(asked) if i not in problems]))
            line.show(start + len(asked), "")
        if not writer.n_frames:
            raise PtychoError(f"none of the {len(scan.points)} scan points can be read")
        n_darks = 0
        for darks in () if scan.darks.uid is None else dark_frames(scan.darks.uid, catalog):
            writer.append_darks(darks)
            n_darks += len(darks)
        unread = f", {counted(lost, 'point')} could not be read" if lost else ""
        n = writer.n_frames // scan.plan.frames_per_point
        taken = f"{counted(writer.n_frames, 'raw frame')} of {counted(n, 'scan point')}"
        return f"{taken}, and {counted(n_darks, 'dark point')}{unread}"


def dark_frames(uid: str, catalog: Catalog) -> Iterator[NDArray[Any]]:
    """Yield the dark frames ``(n, K, H, W)`` of a run, a few at a time, those that can be read."""
    intake = read_intake(uid, catalog)
    with FrameReader(intake.source(dark=True), patience_s=0.0) as reader:
        while points := intake.take_darks(POINTS_AT_ONCE):
            rows = np.array([p.row for p in points], dtype=np.intp)
            frames, _ = reader.read_good(rows, intake.plan.frames_per_point)
            if len(frames):
                yield frames


def _write_ptyd(scan: RawScan, output: Path, settings: PreprocessSettings, progress: bool) -> str:
    """Write patterns by way of a CXI file: which of them are too dim is known when all have been seen."""
    aside = output.with_name(f".{output.name}.cxi")
    try:
        written = write_clean_cxi(scan, aside, settings, progress=progress)
        with (
            open_patterns(aside) as patterns,
            PtydWriter(output, patterns.geometry, patterns.n, label=scan.title, light=scan.plan.illumination) as writer,
        ):
            for first in range(0, patterns.n, PATTERNS_AT_ONCE):
                last = min(first + PATTERNS_AT_ONCE, patterns.n)
                writer.append(*patterns.read(first, last), patterns.positions_m[first:last])
        return written.describe()
    finally:
        aside.unlink(missing_ok=True)
