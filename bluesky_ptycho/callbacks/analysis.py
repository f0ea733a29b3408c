"""The analysis thread of one run: frames in, passes in between, sinks told."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..frames import Snapshot
from ..geometry import Canvas
from ..io.checkpoint import Checkpoint
from ..knobs import Change, Request
from ..preprocess import output_geometry
from ..recon import IncrementalSolver
from ..recon.fallback import FallbackSolver
from .accounts import accounts
from .checkpoints import Checkpoints
from .dark_store import DarkStore
from .first_probe import FindProbe, FirstProbe, choose_first_probe
from .frame_supply import FrameSupply
from .intake import Intake
from .lanes import Lanes
from .live_settings import LiveSettings
from .notes import Notes
from .outcome import Outcome
from .plan_checks import doubts, refuse_endless_object
from .run_log import RunLog
from .solving import Solving
from .steering import Steering
from .updates import Progress, Sink, Update


class Analysis(threading.Thread):
    """Reconstruct one run from its :class:`~bluesky_ptycho.callbacks.intake.Intake`.

    Parameters
    ----------
    intake : Intake
        Documents of the run.
    settings : LiveSettings
    sinks : sequence of Sink
        Each has a thread of its own; one that raises is left out from then on, the others are not harmed.
    dark_store : DarkStore
        Darks of other runs.
    on_done : callable
        Called with the :class:`Outcome` when all is done.
    find_probe : callable, optional
        As :func:`~bluesky_ptycho.callbacks.first_probe.choose_first_probe` takes it.
    executor : executor, optional
        As :func:`~bluesky_ptycho.preprocess.make_pipeline` takes it.
    checkpoints : Checkpoints, optional
        Where the state is kept.
    resumed : Checkpoint, optional
        What to go on from.
    beat : callable, optional
        Called again and again as long as the analysis is alive, also while it waits.
    log : RunLog, optional
        Of this run.
    script, applied : sequence of Change
        As :class:`~bluesky_ptycho.callbacks.steering.Steering` takes them.

    Attributes
    ----------
    steering : Steering
        The settings in force, and the changes made so far.
    """

    def __init__(
        self,
        intake: Intake,
        settings: LiveSettings,
        sinks: Sequence[Sink],
        dark_store: DarkStore,
        on_done: Callable[[Outcome], None],
        find_probe: FindProbe = lambda geometry, before_s: None,
        executor: Any = None,
        checkpoints: Checkpoints | None = None,
        resumed: Checkpoint | None = None,
        beat: Callable[[], None] = lambda: None,
        log: RunLog | None = None,
        script: Sequence[Change] = (),
        applied: Sequence[Change] = (),
    ) -> None:
        super().__init__(name=f"ptycho-{intake.start['uid'][:8]}", daemon=True)
        self._intake = intake
        self._settings = settings
        self._notes = Notes(intake.start, log)
        self._lanes = Lanes(sinks, self.name, settings.sink_patience_s, self._sink_failed)
        self._on_done = on_done
        self._geometry = output_geometry(intake.plan, settings.preprocess)
        self._supply = FrameSupply(intake, settings, dark_store, self._notes.add, executor)
        self._find_probe = find_probe
        self._first_probe = FirstProbe()
        self._solver: IncrementalSolver | None = None
        self._solving = Solving(settings, self._notes, checkpoints, resumed, beat)
        self.steering = Steering(settings, self._notes, script, applied)
        self._beat = beat
        self._at_last_frame: Snapshot | None = None
        self._last_sent = {"progress": 0.0, "snapshot": time.monotonic()}
        self._cancelled = threading.Event()

    @property
    def is_open(self) -> bool:
        """Whether the run's stop document has not come yet."""
        return self._intake.stop is None

    @property
    def start_doc(self) -> Mapping[str, Any]:
        """Start document of the run."""
        return self._intake.start

    @property
    def messages(self) -> tuple[str, ...]:
        """What the user was told so far."""
        return self._notes.messages

    def cancel(self) -> None:
        """Ask the analysis to finish with what it has."""
        self._cancelled.set()

    def request(self, request: Request) -> None:
        """Ask for other settings, a pause or a new start; it is done between two passes."""
        self.steering.request(request)

    def progress(self) -> Progress:
        """Return the counters of this moment; safe from any thread."""
        taken, waiting, lag_s = self._intake.counts()
        solver, kinds = self._solver, self._supply.verdicts.kinds
        return Progress(
            planned=self._intake.plan.n_points,
            taken=taken,
            used=0 if solver is None else solver.n_frames,
            rejected=sum(kinds.values()),
            kinds=kinds,
            lag=waiting,
            lag_s=lag_s,
            iteration=0 if solver is None else solver.iteration,
            residual=self._solving.residual,
            dark_drift=self._supply.dark_drift,
            skipped=self._lanes.skipped,
            elapsed_s=time.monotonic() - self._intake.started_at,
            phase=self._phase(),
            settings_version=self.steering.version,
            half_passes=self._solving.half_passes,
        )

    def _phase(self) -> Any:
        if self._solver is None:
            return "warming up"
        return "finishing" if not self.is_open else "paused" if self.steering.paused else "live"

    # -- the thread ---------------------------------------------------------------------------

    def run(self) -> None:
        """Work until the run has stopped and everything is solved and stored."""
        with self._notes.log:
            self._notes.log.tell(f"{self._intake.plan.n_points} points are planned in run {self._intake.start['uid']}")
            self._work()

    def _work(self) -> None:
        error: Exception | SystemExit | None = None
        snapshot: Snapshot | None = None
        try:
            snapshot = self._analyse()
        except (Exception, SystemExit) as caught:  # somebody's step may even call sys.exit()
            error = caught
            self._notes.failed("analysis", caught)
            snapshot = self._rescue()
        finally:
            self._notes.attempt("closing the frames", self._supply.close)
            self._conclude(snapshot, error)
            if self._solver is not None:
                self._notes.attempt("closing the solver", self._solver.close)
            self._solver = None  # its frames are large, and reference cycles let this object live on for a while
            if error is not None:
                traceback.clear_frames(error.__traceback__)  # the outcome keeps the error, which would keep the solver

    def _analyse(self) -> Snapshot | None:
        self._lanes.start()
        self._send("start")
        solver = self._set_up()
        self._work_while_running(solver)
        return self._finish(solver)

    def _set_up(self) -> IncrementalSolver:
        """Compile and plan everything before the first frame needs it."""
        for doubt in doubts(self._intake.plan):
            self._notes.add(doubt)
        refuse_endless_object(self._intake.plan, self._geometry)
        self._supply.set_up()
        settings = self._settings
        if settings.first_probe == "last":
            self._take_last_probe()
        solver: Any = FallbackSolver(
            self._intake.plan, self._geometry, settings.solver, settings.backend, self._notes.add,
            probe=self._first_probe.modes, memory_budget=settings.memory_budget,
        )  # fmt: skip
        solver.warm_up()
        self._solver = solver
        return solver

    def _take_last_probe(self) -> None:
        intake = self._intake
        session = intake.start.get("data_session")
        self._first_probe = choose_first_probe(self._find_probe, self._geometry, float(intake.start["time"]), session)
        if self._first_probe.objection:
            zone_plate = intake.plan.illumination is not None and self._geometry.propagation == "far"
            start = "zone plate" if zone_plate else "mean pattern"
            self._notes.add(f"{self._first_probe.objection}: the probe starts from the {start}")

    def _work_while_running(self, solver: IncrementalSolver) -> None:
        """Use frames as they come and iterate over those that are there in between."""
        intake, solving, supply, steering = self._intake, self._solving, self._supply, self.steering
        while not self._cancelled.is_set():
            self._beat()
            stopped = intake.stop is not None
            if intake.problem is not None:
                raise intake.problem
            if not solving.is_resuming:
                steering.obey(solver, supply, solving)
            held = steering.frames_until_next(solver) == 0 and not solving.is_resuming and not supply.is_rereading
            consumed = not held and self._consume(solver)
            if solving.is_resuming:
                solving.resume(solver, intake, supply, news=consumed, over=stopped)
            if stopped and not consumed and not held:
                return
            ready = (held or not stopped) and not (solving.is_resuming or steering.paused or supply.is_rereading)
            if ready and solving.wants_pass(solver) and not solving.halves_are_due(solver):
                solving.iterate(solver)
            elif ready and solving.wants_halves(solver):
                solving.step_halves(solver)
            elif not consumed:
                intake.wait(timeout=0.2)
            self._maybe_send(solver)

    def _consume(self, solver: IncrementalSolver) -> bool:
        """Hand the next frames to the solver; False if nothing was ready."""
        supply = self._supply.take(None if self._solving.is_resuming else self.steering.frames_until_next(solver))
        if supply is None:
            return False
        if supply.withdrawn:
            solver.remove(supply.withdrawn)
        if supply.batch is not None:
            solver.add(supply.batch)
            if self._lanes.want_frames:
                self._lanes.send(self._update("frames", frames=supply.batch))
        return True

    # -- the end ------------------------------------------------------------------------------

    def _finish(self, solver: IncrementalSolver) -> Snapshot | None:
        if not solver.n_frames:
            return None
        solving = self._solving
        solver.complete()
        self._at_last_frame = self._snapshot(solver)
        solving.save(solver)
        self._send("progress")
        self._make_passes(solver)
        self.steering.close()
        if not self._cancelled.is_set():
            solving.finish(solver, self._maybe_tell)
        while solving.wants_halves(solver) and not self._cancelled.is_set():
            solving.step_halves(solver)
            self._maybe_tell()
        frc = self.steering.settings.frc and not self._cancelled.is_set()
        return self._snapshot(solver, frc=frc, exact_residual=True)

    def _snapshot(self, solver: IncrementalSolver, **options: bool) -> Snapshot:
        return replace(solver.snapshot(**options), settings_version=self.steering.version)

    def _make_passes(self, solver: IncrementalSolver) -> None:
        """Make the passes that are left when all frames have come, and the changes that somebody still asks for."""
        solving, supply, steering = self._solving, self._supply, self.steering
        while not self._cancelled.is_set():
            self._beat()
            steering.obey(solver, supply, solving, over=True)
            if supply.is_rereading:
                self._consume(solver)
            elif solving.wants_pass(solver):
                solving.iterate(solver)
            elif not steering.has_more:
                return
            self._maybe_send(solver)

    def _rescue(self) -> Snapshot | None:
        """Return the state after a failure if it can be had."""
        solver = self._solver
        if solver is None or not solver.n_frames:
            return None
        found: Snapshot | None = self._notes.attempt("saving the partial result", lambda: self._snapshot(solver))
        return found

    def _conclude(self, snapshot: Snapshot | None, error: Exception | SystemExit | None) -> None:
        intake = self._intake
        stop = intake.stop or {}
        status, reason = stop.get("exit_status", "abort"), stop.get("reason", "")
        if error is not None:
            status, reason = "fail", f"{type(error).__name__}: {error}"
        elif snapshot is None and status == "success":
            status, reason = "fail", "no frame could be used"
        if snapshot is not None and np.isfinite(snapshot.residual):
            self._solving.residual = snapshot.residual
        missing = self._notes.attempt("listing what is missing", self._supply.missing) or ()
        if error is None:  # where an analysis broke off, what it has not used tells nothing of the scan
            for message in self._notes.attempt("counting what came", lambda: accounts(intake, missing)) or ():
                self._notes.add(message)
        update = self._update("final", snapshot, exit_status=status, reason=reason, missing=missing)
        update = self._lanes.finish(lambda: replace(update, messages=self._notes.messages))
        since = intake.last_frame_at or intake.started_at
        self._on_done(
            Outcome(
                raw_uid=intake.start["uid"],
                result_uid=self._lanes.result_uid,
                update=update,
                at_last_frame=self._at_last_frame,
                seconds_after_last_frame=time.monotonic() - since,
                error=error,
                sink_errors=self._lanes.errors,
            )
        )

    # -- messages -----------------------------------------------------------------------------

    def _maybe_tell(self) -> None:
        now = time.monotonic()
        if now - self._last_sent["progress"] >= self._settings.progress_interval_s:
            self._last_sent["progress"] = now
            self._send("progress")

    def _maybe_send(self, solver: IncrementalSolver) -> None:
        self._maybe_tell()
        now = time.monotonic()
        due = now - self._last_sent["snapshot"] >= self._settings.snapshot_interval_s
        if due and solver.n_frames and len(self._lanes):
            self._last_sent["snapshot"] = now
            self._send("snapshot", self._snapshot(solver))

    def _send(self, kind: Any, snapshot: Snapshot | None = None) -> None:
        self._lanes.send(self._update(kind, snapshot))

    def _update(self, kind: Any, snapshot: Snapshot | None = None, **more: Any) -> Update:
        return Update(
            kind=kind,
            start=self._intake.start,
            plan=self._intake.plan,
            geometry=self._geometry,
            settings=self.steering.settings.to_dict(),
            progress=self.progress(),
            snapshot=snapshot,
            stxm=None if snapshot is None else self._stxm(snapshot.canvas),
            **({} if snapshot is None else self._supply.newest),
            rejected=dict(self._supply.verdicts.rejected),
            dark_corrected=self._supply.dark_corrected,
            dark_uid=self._supply.dark_uid,
            probe_uid=self._first_probe.uid,
            messages=self._notes.messages,
            changes=self.steering.changes,
            **more,
        )

    def _stxm(self, canvas: Canvas) -> Any:
        return self._notes.attempt("the transmission map", lambda: self._supply.stxm(canvas))

    def _sink_failed(self, name: str, error: BaseException) -> None:
        self._notes.failed(f"sink {name}", error)
