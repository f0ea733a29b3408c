"""From scan points to clean frames: read, correct with the right darks, reject what is bad."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError, SettingsError
from ..frames import Batch, CleanFrames
from ..geometry import Canvas
from ..preprocess import (
    Pipeline,
    PreprocessSettings,
    centred,
    correct_positions,
    make_pipeline,
    output_geometry,
)
from ..preprocess.fallback import FallbackPipeline
from ..recon.memory import bytes_of
from ..recon.stxm import stxm_map
from .dark_choice import DarkChoice, choose_darks, refuse_unfit
from .dark_store import DarkStore, RunDarks
from .dark_watch import DarkWatch
from .document_keys import Point
from .frame_reader import FrameReader, as_reason
from .frame_verdicts import FrameVerdicts, wrong_in_themselves
from .intake import Intake
from .live_settings import LiveSettings
from .position_checks import PositionChecks

CHUNK_SHARE, COPIES = 0.25, 10
"""Of a memory budget, what may go to frames that are being cleaned; a raw frame takes ten times its own size then."""


@dataclass(frozen=True)
class Supply:
    """What the next points gave: frames for the solver, and frames it must forget again."""

    batch: Batch | None = None
    withdrawn: tuple[int, ...] = ()


class FrameSupply:
    """Clean frames of one run, a chunk at a time.

    Parameters
    ----------
    intake : Intake
        Documents of the run.
    settings : LiveSettings
    dark_store : DarkStore
        Darks of other runs; those of this one are added to it.
    note : callable
        Takes a message for the user.
    executor : executor, optional
        As :func:`~bluesky_ptycho.preprocess.make_pipeline` takes it.

    Attributes
    ----------
    newest : dict
        Fields of an update that show the newest frame; empty before the first.
    """

    def __init__(
        self,
        intake: Intake,
        settings: LiveSettings,
        dark_store: DarkStore,
        note: Callable[[str], None],
        executor: Any = None,
    ) -> None:
        self._intake = intake
        self._settings = settings
        self._dark_store = dark_store
        self._note = note
        self._executor = executor
        self._readers: dict[bool, FrameReader] = {}
        self._own_darks = RunDarks(intake.plan, self._read_darks)
        self._pipeline: FallbackPipeline | None = None
        self._darks: DarkChoice | None = None
        self._dark_watch: DarkWatch | None = None
        self._totals: dict[int, tuple[NDArray[np.float64], float]] = {}
        self._again: list[Point] = []
        self._held: list[Point] = []
        self._cleaned: dict[int, Point] = {}
        self._reread: list[Point] = []
        self._to_centre = _frames_to_centre(settings.preprocess)
        self._found_centre: tuple[float, ...] | None = None
        self._positions = PositionChecks(intake.plan)
        self.verdicts = FrameVerdicts(settings.preprocess.min_relative_flux, self._positions)
        self.dark_corrected = True
        self._chunk = settings.chunk
        if (budget := bytes_of(settings.memory_budget)) is not None and intake.plan.detector is not None:
            point = 2 * intake.plan.frames_per_point * math.prod(intake.plan.detector.shape)
            self._chunk = max(1, min(settings.chunk, int(budget * CHUNK_SHARE / (COPIES * point))))
        self.newest: dict[str, Any] = {}

    def set_up(self) -> None:
        """Compile the preprocessing before the first frame needs it."""
        self._pipeline = self._make_pipeline(self._settings.preprocess)
        self._pipeline.warm_up()
        if self._settings.solver.pixel_weights and not self._intake.plan.merges_exposures:
            self._note("pixel_weights makes no difference: frames of one exposure time have no weights")

    def _make_pipeline(self, settings: PreprocessSettings) -> FallbackPipeline:
        def make(backend: str) -> Pipeline:
            return make_pipeline(self._intake.plan, settings, backend, executor=self._executor)

        return FallbackPipeline(make, self._settings.backend, self._note)

    def take(self, most: int | None = None) -> Supply | None:
        """Process the next points whose frames are on disk, `most` new ones; None if there are none."""
        chunk = self._chunk
        darks = self._intake.take_darks(chunk)
        if darks:
            self._own_darks.add(darks)
            return Supply()
        if self._reread:
            points, self._reread = self._reread[:chunk], self._reread[chunk:]
            points = [p for p in points if self._cleaned[p.seq_num] is p]
            return self._clean(points) if points else Supply()
        points = self._hold_for_centre(self._intake.take_points(chunk if most is None else min(chunk, most)))
        if not points:
            points, self._again = self._again[:chunk], self._again[chunk:]
            points = [p for p in points if self.verdicts.is_current(p)]
        return self._clean(points) if points else None

    @property
    def is_rereading(self) -> bool:
        """Whether frames that were cleaned with other settings wait to be cleaned once more."""
        return bool(self._reread)

    def refuse(self, settings: PreprocessSettings) -> None:
        """Raise a SettingsError if frames cleaned with `settings` would not go with those that the solver has."""
        before, after = (output_geometry(self._intake.plan, s) for s in (self._settings.preprocess, settings))
        if before != after:
            raise SettingsError(f"PreprocessSettings give patterns of {after.shape} pixels; expected {before.shape}")

    def change(self, settings: PreprocessSettings) -> None:
        """Clean frames with other `settings` from now on, and first all those so far once more.

        A centre of mass that was found stays, where `settings` still leave the centre to the frames.
        """
        was, pipeline = self._settings.preprocess, self._pipeline
        self._settings = self._settings.replace(preprocess=settings)
        if settings.optical_centre is None and was.optical_centre is None and self._found_centre is not None:
            settings = settings.replace(optical_centre=self._found_centre)
        self._to_centre = _frames_to_centre(settings)
        self._pipeline = self._make_pipeline(settings)
        if pipeline is not None:
            pipeline.close()
        self.verdicts = FrameVerdicts(settings.min_relative_flux, self._positions)
        self._reread = [self._cleaned[seq_num] for seq_num in sorted(self._cleaned)]

    def stxm(self, canvas: Canvas) -> NDArray[np.float32] | None:
        """Return the scanning transmission image of the frames so far."""
        if not self._totals:
            return None
        positions, totals = zip(*self._totals.values(), strict=True)
        return stxm_map(np.array(positions), np.array(totals), canvas)

    def missing(self) -> tuple[int, ...]:
        """Return the points of the run that are neither used nor rejected, in order: exactly those that were lost."""
        return tuple(n for n in self._intake.expected() if n not in self._totals and n not in self.verdicts.rejected)

    def close(self) -> None:
        """Close the files and end the threads of the preprocessing, each whatever becomes of the others."""
        with ExitStack() as closing:
            if self._pipeline is not None:
                closing.callback(self._pipeline.close)
            for reader in self._readers.values():
                closing.callback(reader.close)

    def _read(self, points: Sequence[Point], *, dark: bool) -> tuple[list[Point], NDArray[Any], dict[int, str]]:
        """Return the points that can be read with their frames ``(n, K, H, W)``, and seq_num → reason of the others."""
        reader = self._readers.get(dark)
        if reader is None:
            reader = self._readers[dark] = FrameReader(self._intake.source(dark=dark), self._settings.patience_s)
        plan = self._intake.plan
        rows = np.array([p.row for p in points], dtype=np.intp)
        frames, problems = reader.read_good(rows, plan.frames_per_point)
        reasons = {points[i].seq_num: as_reason(problem) for i, problem in problems.items()}
        return [p for i, p in enumerate(points) if i not in problems], frames, reasons

    def _read_darks(self, points: Sequence[Point]) -> tuple[list[Point], NDArray[Any]]:
        good, frames, reasons = self._read(points, dark=True)
        for seq_num, reason in reasons.items():
            self._note(f"dark {seq_num} cannot be used: {reason}")
        return good, frames

    def _decide_darks(self, pipeline: FallbackPipeline) -> DarkChoice:
        """Fix the darks of the run when the first measured frame comes."""
        intake, settings = self._intake, self._settings.preprocess
        own = self._own_darks.models()
        if own is not None:
            self._dark_store.put(intake.start["uid"], own, intake.plan)
        choice = choose_darks(
            intake.start, intake.plan, own, self._dark_store, settings.gain, needed=pipeline.needs_darks
        )
        if settings.strict_darks:
            refuse_unfit(choice)
        if choice.message:
            self._note(choice.message)
        if choice.darks is not None and pipeline.needs_darks:
            self._dark_watch = DarkWatch(intake.plan, choice.darks, settings)
        return choice

    def _clean(self, points: Sequence[Point]) -> Supply:
        pipeline = self._pipeline
        assert pipeline is not None  # set_up comes first
        self._cleaned |= {p.seq_num: p for p in points}
        if self._darks is None:
            self._darks = self._decide_darks(pipeline)
        readable, frames, unreadable = self._read(points, dark=False)
        if self._to_centre and readable:
            pipeline = self._pipeline = self._centre(pipeline, frames, self._darks)
        clean = pipeline(frames, self._darks.darks) if readable else None
        if clean is not None:
            self.dark_corrected &= clean.dark_corrected and self._darks.fitting
            self._keep_newest(readable[-1], frames[-1], clean)
            if self._dark_watch is not None and (message := self._dark_watch.look(readable, frames)):
                self._note(message)
                self._dark_store.retire(self._intake.plan, str(self._darks.uid))
        reasons = wrong_in_themselves(readable, {} if clean is None else clean.rejected, self._intake.plan.extent_m)
        lost = [p for p in points if p.seq_num in unreadable]
        flux = np.zeros(0) if clean is None else clean.flux
        judged = reasons | {len(readable) + i: unreadable[p.seq_num] for i, p in enumerate(lost)}
        newly, returned = self.verdicts.judge([*readable, *lost], judged, flux)
        if self._positions.doubt is not None:
            self._note(self._positions.doubt)
        self._again += returned
        # A good frame may have been there: before a rewind, or before it turned out to be dim.
        withdrawn = tuple(sorted(n for n in newly if self._totals.pop(n, None) is not None))
        good = [i for i, p in enumerate(readable) if p.seq_num not in self.verdicts.rejected]
        return Supply(self._batch([readable[i] for i in good], clean, good) if clean and good else None, withdrawn)

    def _keep_newest(self, point: Point, raw: NDArray[Any], clean: CleanFrames) -> None:
        """Keep the last frame of a chunk, good or bad, for whoever wants to see it."""
        photons = np.where(clean.mask[-1], clean.photons[-1], np.float32(np.nan))
        self.newest = {"newest_point": point.seq_num, "newest_raw": raw.copy(), "newest_clean": photons}

    def _hold_for_centre(self, points: list[Point]) -> list[Point]:
        """Keep points back until there are as many as the centre of mass is taken of: always the same number."""
        # Taken anew after a rewind, a point replaces itself.
        points = list({p.seq_num: p for p in [*self._held, *points]}.values())
        enough = len(points) >= min(self._to_centre, self._intake.plan.n_points)
        self._held = [] if enough or self._intake.stop is not None else points
        return [] if self._held else points

    def _centre(self, pipeline: FallbackPipeline, frames: NDArray[Any], darks: DarkChoice) -> FallbackPipeline:
        """Return the pipeline whose optical centre is the centre of mass of the first frames."""
        plan, settings, n = self._intake.plan, self._settings.preprocess, self._to_centre
        self._to_centre = 0
        try:
            settings = centred(plan, settings, frames[:n], darks.darks)
        except MetadataError as error:
            self._note(f"{error}; the optical centre stays the array's")
            return pipeline
        assert settings.optical_centre is not None
        self._found_centre = settings.optical_centre
        row, column = settings.optical_centre
        self._note(
            f"optical centre at row {row:.2f}, column {column:.2f}, the centre of mass of {len(frames[:n])} frames"
        )
        pipeline.close()
        return self._make_pipeline(settings)

    @property
    def dark_uid(self) -> str | None:
        """Run whose darks are used, None as long as there are none."""
        return None if self._darks is None else self._darks.uid

    @property
    def dark_drift(self) -> float:
        """How far the levels are from the darks, in σ of these; NaN where that is not known."""
        return math.nan if self._dark_watch is None else self._dark_watch.drift.level

    def _batch(self, points: Sequence[Point], clean: CleanFrames, rows: list[int]) -> Batch:
        positions = np.array([p.position_m for p in points], dtype=np.float64)
        positions = correct_positions(positions, self._settings.preprocess.position_matrix)
        photons, mask = clean.photons[rows], clean.mask[rows]
        totals = np.einsum("nyx,nyx->n", photons, mask, dtype=np.float64)
        for point, position, total in zip(points, positions, totals, strict=True):
            self._totals[point.seq_num] = (position, float(total))
        seq_nums = np.array([p.seq_num for p in points], dtype=np.int64)
        weight = None if clean.weight is None else clean.weight[rows]
        return Batch(seq_nums, positions, np.sqrt(np.maximum(photons, 0)), mask, weight)


def _frames_to_centre(settings: PreprocessSettings) -> int:
    """Return of how many first frames the optical centre is to be found; 0 where it is given."""
    return 0 if settings.optical_centre is not None else settings.centre_frames or 0
