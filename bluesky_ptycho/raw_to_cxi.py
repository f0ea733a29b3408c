"""Turn raw frames into a CXI file of clean ones, chunk by chunk: what ``bluesky-ptycho preprocess`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .callbacks.dark_choice import refuse_unfit
from .callbacks.document_keys import Point
from .callbacks.frame_verdicts import FrameVerdicts, count_kinds, wrong_in_themselves
from .callbacks.position_checks import PositionChecks
from .callbacks.updates import in_ranges
from .errors import MetadataError, PtychoError, SettingsError
from .figure import save_explanation_png
from .frames import CleanFrames
from .io import CleanCxiWriter
from .preprocess import Pipeline, PreprocessSettings, centred, correct_positions, make_pipeline
from .raw_scan import RawScan
from .recon.probe_guess import refine_on_mean, zone_plate_probe
from .spelling import spelled
from .terminal import ProgressLine
from .versions import software_versions
from .words import counted

CHUNK = 16
"""Scan points read and cleaned at once; bounds the memory."""


@dataclass(frozen=True)
class CleanScan:
    """What was written.

    Parameters
    ----------
    n_points, n_frames : int
        Scan points that there were; patterns in the file.
    rejected : dict of int to str
        Scan point → reason, for those that have none.
    shape : tuple of int
        Of a pattern.
    dark_corrected : bool
    dark_note, centre_note : str
        What there is to be said of the darks, and of a centre that was not found; empty where all is well.
    """

    n_points: int
    n_frames: int
    rejected: dict[int, str]
    shape: tuple[int, int]
    dark_corrected: bool
    dark_note: str
    centre_note: str = ""

    def describe(self) -> str:
        """Say it in a line."""
        ny, nx = self.shape
        kinds = ", ".join(f"{kind} {n}" for kind, n in count_kinds(self.rejected).items())
        lost = f", {len(self.rejected)} rejected ({kinds})" if self.rejected else ""
        darks = f", {'' if self.dark_corrected else 'not '}dark corrected: {self.dark_note}" if self.dark_note else ""
        centre = f", {self.centre_note}" if self.centre_note else ""
        points = counted(self.n_points, "scan point")
        return f"{counted(self.n_frames, 'pattern')} of {ny} × {nx} from {points}{lost}{darks}{centre}"


def write_clean_cxi(
    scan: RawScan,
    output: Path,
    settings: PreprocessSettings | None = None,
    *,
    explain: int | None = None,
    progress: bool = True,
    writer: type[CleanCxiWriter] = CleanCxiWriter,
) -> CleanScan:
    """Clean all frames of a scan and write them; the file appears whole or not at all.

    Parameters
    ----------
    scan : RawScan
    output : Path
        CXI file; one that is there is replaced.
    settings : PreprocessSettings, optional
    explain : int, optional
        Scan point (its `seq_num`, from 1), whose steps are drawn to :func:`picture_beside` `output`.
    progress : bool
        Show a progress bar.
    writer : type
        What makes the file.

    Raises
    ------
    SettingsError
        If there is no such scan point.
    PtychoError
        If the frames cannot be cleaned, or none of them can be used.
    """
    settings = settings or PreprocessSettings()
    explained = _point(scan, explain)
    if settings.strict_darks:
        refuse_unfit(scan.darks)
    settings, centre_note = _centred(scan, settings)
    with make_pipeline(scan.plan, settings) as pipeline:
        if explained is not None:
            _draw_steps(scan, pipeline, explained, output)
        with writer(output, pipeline.geometry, title=scan.title, raw_uid=scan.uid) as file:
            verdicts, dark_corrected = _clean(scan, pipeline, file, progress)
            file.drop(verdicts.rejected)
            if not file.n_frames:
                reasons = "; ".join(sorted(set(verdicts.rejected.values()))[:3])
                raise PtychoError(f"none of the {len(scan.points)} scan points can be used: {reasons}")
            _write_darks(scan, file)
            _write_illumination(scan, pipeline, file)
            file.write_zone_plate(scan.plan.illumination)
            file.write_process(
                settings=settings.to_dict(),
                steps=pipeline.steps,
                versions=software_versions(),
                rejected=verdicts.rejected,
                dark_corrected=dark_corrected,
            )
            return CleanScan(
                len(scan.points), file.n_frames, dict(verdicts.rejected), pipeline.geometry.shape, dark_corrected,
                scan.darks.message or (pipeline.dark_problem if pipeline.needs_darks else None) or "", centre_note,
            )  # fmt: skip


def _centred(scan: RawScan, settings: PreprocessSettings) -> tuple[PreprocessSettings, str]:
    """Return the settings with the first frames' centre of mass, if they ask for it; or what speaks against it."""
    n = settings.centre_frames
    if not n or settings.optical_centre is not None:
        return settings, ""
    frames, _ = scan.read(scan.points[:n])
    if not len(frames):
        return settings, f"none of the first {n} frames can be read: the optical centre stays the array's"
    try:
        return centred(scan.plan, settings, frames, scan.darks.darks), ""
    except MetadataError as error:
        return settings, f"{error}: the optical centre stays the array's"


def _point(scan: RawScan, seq_num: int | None) -> Point | None:
    """Return the scan point of a number, None where none is given."""
    points = {point.seq_num: point for point in scan.points}
    if seq_num is not None and seq_num not in points:
        known = in_ranges(sorted(points))
        raise SettingsError(f"{spelled('explain')} is {seq_num}; expected one of the scan points {known}")
    return None if seq_num is None else points[seq_num]


def _draw_steps(scan: RawScan, pipeline: Pipeline, point: Point, output: Path) -> None:
    """Draw what each step makes of a scan point beside the output."""
    n = point.seq_num
    frames, problems = scan.read([point])
    if problems:
        raise MetadataError(f"{spelled('explain')} is {n}; this scan point is {problems[0]}")
    told = pipeline.explain(frames[0], scan.darks.darks)
    save_explanation_png(picture_beside(output, n), told, title=f"{scan.title or output.stem}, point {n}")


def picture_beside(output: Path, point: int) -> Path:
    """Return where the picture of a scan point's steps goes."""
    return output.with_name(f"{output.stem}.point{point}.png")


def _clean(scan: RawScan, pipeline: Pipeline, writer: CleanCxiWriter, progress: bool) -> tuple[FrameVerdicts, bool]:
    """Write all frames that nothing speaks against; return the verdicts on all, and whether darks were taken off."""
    # Positions of a file of its own are the plan's.
    positions = PositionChecks(scan.plan) if scan.uid else None
    verdicts, dark_corrected = FrameVerdicts(pipeline.settings.min_relative_flux, positions), scan.darks.fitting
    with ProgressLine(len(scan.points), "preprocessing", "point", enabled=progress) as line:
        line.show(0, "warming up")
        pipeline.warm_up()
        for first in range(0, len(scan.points), CHUNK):
            asked = scan.points[first : first + CHUNK]
            frames, problems = scan.read(asked)
            readable = [p for i, p in enumerate(asked) if i not in problems]
            lost = [p for i, p in enumerate(asked) if i in problems]
            reasons = {len(readable) + i: reason for i, reason in enumerate(problems.values())}
            flux = np.zeros(0)
            if readable:
                clean = pipeline(frames, scan.darks.darks)
                dark_corrected &= clean.dark_corrected
                reasons |= wrong_in_themselves(readable, clean.rejected, scan.plan.extent_m)
                flux = clean.flux
                # What is dim beside the others is known for good when all have been seen.
                _append(writer, readable, clean, [i for i in range(len(readable)) if i not in reasons], pipeline)
            verdicts.judge([*readable, *lost], reasons, flux)
            line.show(first + len(asked), f"rejected {len(verdicts.rejected)}" if verdicts.rejected else "")
    return verdicts, dark_corrected


def _append(
    writer: CleanCxiWriter, points: Sequence[Point], clean: CleanFrames, rows: list[int], pipeline: Pipeline
) -> None:
    positions = np.array([points[i].position_m for i in rows], dtype=np.float64).reshape(-1, 2)
    positions = correct_positions(positions, pipeline.settings.position_matrix)
    seq_nums = np.array([points[i].seq_num for i in rows], dtype=np.int64)
    weight = None if clean.weight is None else clean.weight[rows]
    writer.append(clean.photons[rows], clean.mask[rows], positions, seq_nums, weight)


def _write_illumination(scan: RawScan, pipeline: Pipeline, writer: CleanCxiWriter) -> None:
    """Write a first guess of the probe where the zone plate is known."""
    if scan.plan.illumination is None:
        return
    mean = writer.mean_photons
    plate = zone_plate_probe(scan.plan.illumination, pipeline.geometry, float(np.nansum(mean)))
    writer.write_illumination(refine_on_mean(plate, np.sqrt(np.maximum(mean, 0))))


def _write_darks(scan: RawScan, writer: CleanCxiWriter) -> None:
    if scan.darks.darks is None:
        return
    fields: dict[str, Any] = {
        name: [getattr(d, name) for d in scan.darks.darks] for name in ("mean", "sigma", "n", "exposure_s")
    }
    writer.write_darks(np.stack(fields["mean"]), np.stack(fields["sigma"]), fields["n"], fields["exposure_s"])
