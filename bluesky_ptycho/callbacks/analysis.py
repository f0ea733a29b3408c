"""The analysis thread of one run: read, preprocess, solve, tell the sinks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames import Batch, CleanFrames, Snapshot
from ..preprocess import DarkAccumulator, correct_positions, make_pipeline, output_geometry
from ..recon import IncrementalSolver
from ..recon.stxm import stxm_map
from .dark_store import Darks, DarkStore
from .document_keys import Point
from .frame_reader import FrameReader
from .intake import Intake
from .live_settings import LiveSettings
from .outcome import Outcome
from .updates import Progress, Sink, Update

logger = logging.getLogger("bluesky_ptycho")


class Analysis(threading.Thread):
    """Reconstruct one run from its :class:`~bluesky_ptycho.callbacks.intake.Intake`.

    Parameters
    ----------
    intake : Intake
        Documents of the run.
    settings : LiveSettings
    sinks : sequence of Sink
        Told in turn; one that raises is left out from then on, the others are not harmed.
    dark_store : DarkStore
        Darks of other runs.
    on_done : callable
        Called with the :class:`Outcome` when all is done.
    """

    def __init__(
        self,
        intake: Intake,
        settings: LiveSettings,
        sinks: Sequence[Sink],
        dark_store: DarkStore,
        on_done: Callable[[Outcome], None],
    ) -> None:
        super().__init__(name=f"ptycho-{intake.start['uid'][:8]}", daemon=True)
        self._intake = intake
        self._settings = settings
        self._sinks = list(sinks)
        self._dark_store = dark_store
        self._on_done = on_done
        self._geometry = output_geometry(intake.plan, settings.preprocess)
        self._solver: IncrementalSolver | None = None
        self._readers: dict[bool, FrameReader] = {}
        self._accumulators = [DarkAccumulator.for_plan(intake.plan) for _ in intake.plan.exposures_s]
        self._n_darks = 0
        self._darks: Darks | None = None
        self._darks_decided = False
        self._totals: dict[int, tuple[tuple[float, float], float]] = {}
        self._rejected: dict[int, str] = {}
        self._residual = float("nan")
        self._visits = 0
        self._dark_corrected = True
        self._messages: list[str] = []
        self._sink_errors: dict[str, Exception] = {}
        self._at_last_frame: Snapshot | None = None
        self._last_sent = {"progress": 0.0, "snapshot": time.monotonic()}
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the analysis to finish with what it has."""
        self._cancelled.set()

    def progress(self) -> Progress:
        """Return the counters of this moment; safe from any thread."""
        taken, waiting, lag_s = self._intake.counts()
        solver = self._solver
        return Progress(
            planned=self._intake.plan.n_points,
            taken=taken,
            used=0 if solver is None else solver.n_frames,
            rejected=len(self._rejected),
            lag=waiting,
            lag_s=lag_s,
            iteration=0 if solver is None else solver.iteration,
            residual=self._residual,
            elapsed_s=time.monotonic() - self._intake.started_at,
        )

    # -- the thread ---------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the run has stopped and everything is solved and stored."""
        error: Exception | None = None
        snapshot: Snapshot | None = None
        try:
            self._send("start")
            self._set_up()
            self._work_while_running()
            snapshot = self._finish()
        except Exception as caught:
            error = caught
            self._note(f"analysis failed: {type(caught).__name__}: {caught}")
            logger.debug("analysis of %s failed", self._intake.start["uid"], exc_info=caught)
            snapshot = self._rescue()
        finally:
            for reader in self._readers.values():
                reader.close()
            self._conclude(snapshot, error)

    def _set_up(self) -> None:
        """Compile and plan everything before the first frame needs it."""
        plan, settings = self._intake.plan, self._settings
        self._pipeline = make_pipeline(plan, settings.preprocess)
        self._pipeline.warm_up()
        self._solver = IncrementalSolver(plan, self._geometry, settings.solver, backend=settings.backend)
        self._solver.warm_up()

    def _work_while_running(self) -> None:
        """Use frames as they come and iterate over those that are there in between."""
        intake = self._intake
        assert self._solver is not None
        while not self._cancelled.is_set():
            stopped = intake.stop is not None
            if intake.problem is not None:
                raise intake.problem
            consumed = self._consume()
            if stopped and not consumed:
                return
            if self._wants_pass() and not stopped:
                self._iterate()
            elif not consumed:
                intake.wait(timeout=0.2)
            self._maybe_send()

    def _wants_pass(self) -> bool:
        """Whether the frames have not had their passes yet.

        The bound is what makes a live result equal to its replay: both end with the same number of
        visits to each frame, whatever time there was in between, and a slow scan leaves the
        processor to others.
        """
        assert self._solver is not None
        return 0 < self._solver.n_frames and self._visits < self._settings.passes * self._solver.n_frames

    def _iterate(self) -> None:
        assert self._solver is not None
        self._residual = float(self._solver.step(1))
        self._visits += self._solver.n_frames

    def _consume(self) -> bool:
        """Process what is ready; False if nothing was."""
        darks = self._intake.take_darks(self._settings.chunk)
        if darks:
            self._add_darks(darks)
            return True
        points = self._intake.take_points(self._settings.chunk)
        if points:
            self._add_points(points)
            return True
        return False

    # -- frames -------------------------------------------------------------------------------

    def _read(self, points: Sequence[Point], *, dark: bool) -> NDArray[np.uint16]:
        source = self._intake.source(dark=dark)
        reader = self._readers.get(dark)
        if reader is None:
            reader = self._readers[dark] = FrameReader(source, self._settings.patience_s)
        rows = np.array([p.row for p in points], dtype=np.intp)
        return reader.read(rows, self._intake.plan.frames_per_point)

    def _add_darks(self, points: Sequence[Point]) -> None:
        frames = self._read(points, dark=True)
        for k, accumulator in enumerate(self._accumulators):
            accumulator.add(frames[:, k])
        self._n_darks += len(points)

    def _decide_darks(self) -> None:
        """Fix the darks of the run when the first measured frame comes."""
        self._darks_decided = True
        plan, uid = self._intake.plan, self._intake.start["uid"]
        if self._n_darks:
            exposures = zip(self._accumulators, plan.exposures_s, strict=True)
            self._darks = tuple(a.model(exposure) for a, exposure in exposures)
            self._dark_store.put(uid, self._darks)
        elif plan.dark_uid:
            self._darks = self._dark_store.get(plan.dark_uid)
            if self._darks is None:
                self._note(f"darks of run {plan.dark_uid} were not found; going on without dark correction")
        elif self._pipeline.needs_darks:
            self._note("the run has no darks; going on without dark correction")

    def _add_points(self, points: Sequence[Point]) -> None:
        if not self._darks_decided:
            self._decide_darks()
        clean = self._pipeline(self._read(points, dark=False), self._darks)
        self._dark_corrected &= clean.dark_corrected
        self._add_clean(points, clean)

    def _add_clean(self, points: Sequence[Point], clean: CleanFrames) -> None:
        """Hand good frames to the solver; a rejected one also takes back what it replaces."""
        assert self._solver is not None
        reasons = dict(clean.rejected)
        for i, point in enumerate(points):
            if point.position_m is None or not np.isfinite(point.position_m).all():
                reasons.setdefault(i, f"position is {point.position_m}")
        good = [i for i in range(len(points)) if i not in reasons]
        for i, reason in reasons.items():
            seq_num = points[i].seq_num
            self._rejected[seq_num] = reason
            if self._totals.pop(seq_num, None) is not None:
                self._solver.remove([seq_num])
        if not good:
            return
        positions = np.array([points[i].position_m for i in good], dtype=np.float64)
        positions = correct_positions(positions, self._settings.preprocess.position_matrix)
        photons, mask = clean.photons[good], clean.mask[good]
        self._solver.add(
            Batch(
                seq_nums=np.array([points[i].seq_num for i in good], dtype=np.int64),
                positions_m=positions,
                amplitude=np.sqrt(np.maximum(photons, 0)),
                mask=mask,
            )
        )
        totals = np.einsum("nyx,nyx->n", photons, mask, dtype=np.float64)
        for i, position, total in zip(good, positions, totals, strict=True):
            self._rejected.pop(points[i].seq_num, None)
            self._totals[points[i].seq_num] = (tuple(position), float(total))

    # -- the end ------------------------------------------------------------------------------

    def _finish(self) -> Snapshot | None:
        solver = self._solver
        assert solver is not None
        if not solver.n_frames:
            return None
        self._at_last_frame = solver.snapshot()
        while self._wants_pass() and not self._cancelled.is_set():
            self._iterate()
            self._maybe_send()
        if not self._cancelled.is_set():
            solver.finish()
        return solver.snapshot(frc=self._settings.frc, exact_residual=True)

    def _rescue(self) -> Snapshot | None:
        """Return the state after a failure if it can be had."""
        try:
            return self._solver.snapshot() if self._solver is not None and self._solver.n_frames else None
        except Exception as error:
            self._note(f"the partial result is lost: {error}")
            return None

    def _conclude(self, snapshot: Snapshot | None, error: Exception | None) -> None:
        intake = self._intake
        stop = intake.stop or {}
        status, reason = stop.get("exit_status", "abort"), stop.get("reason", "")
        if error is not None:
            status, reason = "fail", f"{type(error).__name__}: {error}"
        elif snapshot is None and status == "success":
            status, reason = "fail", "no frame could be used"
        if snapshot is not None:
            self._residual = snapshot.residual if np.isfinite(snapshot.residual) else self._residual
        update = self._send("final", snapshot, exit_status=status, reason=reason, missing=self._missing())
        since = intake.last_frame_at or intake.started_at
        self._on_done(
            Outcome(
                raw_uid=intake.start["uid"],
                result_uid=next((s.result_uid for s in self._sinks if hasattr(s, "result_uid")), None),
                update=update,
                at_last_frame=self._at_last_frame,
                seconds_after_last_frame=time.monotonic() - since,
                error=error,
                sink_errors=dict(self._sink_errors),
            )
        )

    def _missing(self) -> tuple[int, ...]:
        """Return announced points that were neither used nor rejected."""
        return tuple(sorted(set(self._intake.left_over()) - set(self._rejected)))

    # -- messages -----------------------------------------------------------------------------

    def _note(self, message: str) -> None:
        """Tell the user once and keep the message for the result."""
        if message not in self._messages:
            self._messages.append(message)
            logger.warning("scan %s: %s", self._intake.start.get("scan_id", "?"), message)

    def _maybe_send(self) -> None:
        now, solver = time.monotonic(), self._solver
        if now - self._last_sent["progress"] >= self._settings.progress_interval_s:
            self._last_sent["progress"] = now
            self._send("progress")
        ready = solver is not None and solver.n_frames and self._sinks
        if ready and now - self._last_sent["snapshot"] >= self._settings.snapshot_interval_s:
            self._last_sent["snapshot"] = now
            assert solver is not None
            self._send("snapshot", solver.snapshot())

    def _send(self, kind: Any, snapshot: Snapshot | None = None, **more: Any) -> Update:
        update = Update(
            kind=kind,
            start=self._intake.start,
            plan=self._intake.plan,
            geometry=self._geometry,
            settings=self._settings.to_dict(),
            progress=self.progress(),
            snapshot=snapshot,
            stxm=None if snapshot is None else self._stxm(snapshot),
            rejected=dict(self._rejected),
            dark_corrected=self._dark_corrected,
            messages=tuple(self._messages),
            **more,
        )
        for sink in self._sinks:
            name = getattr(sink, "name", type(sink).__name__)
            if name in self._sink_errors:
                continue
            try:
                sink(update)
            except Exception as error:
                self._sink_errors[name] = error
                self._note(f"sink {name} failed and is left out: {type(error).__name__}: {error}")
        return update

    def _stxm(self, snapshot: Snapshot) -> NDArray[np.float32] | None:
        totals: Mapping[int, tuple[tuple[float, float], float]] = self._totals
        if not totals:
            return None
        positions = np.array([position for position, _ in totals.values()])
        return stxm_map(positions, np.array([total for _, total in totals.values()]), snapshot.canvas)
