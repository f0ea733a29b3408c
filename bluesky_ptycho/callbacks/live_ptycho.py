"""The callback that turns the documents of a scan into an image while it runs."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from event_model import NoFiller, RunRouter

from ..errors import PtychoError, SettingsError
from ..given import check_changes, check_seconds, check_switches
from ..keywords import keywords_of, refuse_unknown
from ..knobs import Change, Control, Request, turned
from ..preprocess import check_images
from ..scan_plan import ScanPlan
from ..terminal import printable
from ..waiting import join_awake
from . import file_sinks, frame_sinks, progress_bar  # noqa: F401  (they fill the registry)
from .analysis import Analysis
from .arguments import as_script, check_catalog, check_helpers, check_settings, find_sinks
from .checkpoints import Checkpoints, Claims
from .child.parent import ChildAnalysis
from .dark_store import DarkStore
from .document_keys import read_plan
from .found_plan import OwnKeys
from .hooks import Hooks, OnDone
from .intake import Intake
from .leaving import close_at_exit
from .live_settings import LiveSettings
from .not_taken import NotTaken
from .notes import Incidents, logger
from .outcome import Outcome
from .own_keys import translator
from .result_catalog import Answers, ResultCatalog
from .results import ResultRun
from .run_log import RunLog
from .status import CLOSED, NOTHING_YET, Status, describe_status
from .updates import Progress, Sink

if TYPE_CHECKING:
    from .live_figure import LivePtychoFigure

LONGEST_LINE = 300
"""Characters of a line about a scan, whose names anybody may have given."""

KEPT_OUTCOMES = 4
"""Outcomes that a session remembers, with images that may be large; older ones are in the catalog."""


class LivePtycho:
    """Reconstruct every ptychography scan whose documents come by.

    Subscribe it to a RunEngine, give it to one plan, or replay a stored run through it: the
    result is the same. Runs that carry no scan plan of ours, and result runs, are left alone.
    Nothing that goes wrong in here reaches the RunEngine.

    Parameters
    ----------
    settings : LiveSettings, optional
        How scans are reconstructed; the defaults unless given.
    catalog : Catalog, optional
        Where results are stored as runs of their own.
    sinks : callable or str, or iterable of them, optional
        A name is looked up in the registry of sinks ("progress_bar", "png", "cxi"). Each is called with every
        :class:`~bluesky_ptycho.callbacks.updates.Update` of every run, in a thread of its own.
    accept : callable, optional
        ``accept(start, plan) -> bool`` narrows the runs that are taken. A run for which it returns
        :class:`~bluesky_ptycho.callbacks.not_taken.NotTaken` is left out with a line that says why.
    on_close : callable, optional
        Called once by :meth:`close`, after the last analysis: closes what was opened for this callback alone.
    on_old_darks : callable, optional
        ``on_old_darks(plan, uid)`` is told when the darks of run `uid` no longer fit the camera;
        ``plans.dark_records(detector).forget(uid)`` makes the next scan take new ones.
    on_done : callable or iterable of callable
        Each is called with the :class:`Outcome` of every finished run, stored if there is a catalog, in a thread of its
        own, for which :meth:`close` waits and :meth:`wait` does not. One that raises is reported, and harms nobody.
    control : Control, optional
        Knobs, a :class:`~bluesky_ptycho.devices.ReconControl`, say, that change the running analysis and those to come.
        They show `settings` at once; :meth:`close` lets go of them.
    script : iterable of Change
        Changes of an earlier result, as :func:`~bluesky_ptycho.replay.recorded_changes` finds them, that each run is
        to make again.
    strict : bool
        For tests: :meth:`wait` and :meth:`close` raise what else is only stored and reported: failures of sinks, of
        documents, of the end. Scans are never harmed.
    process : bool
        Analyse each run in a process of its own, so that a crash of the analysis, of a GPU's driver or for want of
        memory does not end this one; it is started again and goes on from its last checkpoint.
    resume : bool
        Go on from the checkpoint that an earlier session has left of a run; see :func:`bluesky_ptycho.resume`.
    executor : executor, optional
        Whose workers clean the frames, as :func:`~bluesky_ptycho.preprocess.make_pipeline` takes it; it is not
        shut down. Threads of this process without it.
    frames_key, position_keys, dark_stream, energy, distance, pixel, ...
        Names of data keys, and what documents do not tell, as :class:`~bluesky_ptycho.callbacks.found_plan.OwnKeys`
        takes them: then scans of other plans, with other detectors, are taken as well (``docs/my-detector.md``).

    Raises
    ------
    SettingsError, NotFoundError
        If an argument is of no use, or a sink is not known.

    Examples
    --------
    >>> live = LivePtycho(catalog=catalog)                                    # doctest: +SKIP
    >>> RE.subscribe(live)                                                    # doctest: +SKIP
    >>> RE(ptycho_scan(fccd, stage.y, stage.x, width=2, height=2, step=0.1, exposure=0.1))  # doctest: +SKIP
    >>> live.wait().snapshot.object                                           # doctest: +SKIP
    """

    def __init__(
        self,
        settings: LiveSettings | None = None,
        *,
        catalog: ResultCatalog | None = None,
        sinks: Iterable[Sink | str] | Sink | str = (),
        accept: Callable[[Mapping[str, Any], ScanPlan], bool | NotTaken] | None = None,
        on_close: Callable[[], None] | None = None,
        on_old_darks: Callable[[ScanPlan, str], None] | None = None,
        executor: Any = None,
        on_done: OnDone | Iterable[OnDone] = (),
        control: Control | None = None,
        script: Iterable[Change] | Change = (),
        strict: bool = False,
        process: bool = False,
        resume: bool = False,
        frames_key: str | None = None,
        position_keys: tuple[str, str] | None = None,
        **facts: Any,
    ) -> None:
        refuse_unknown("LivePtycho", facts, self.keywords())
        check_settings(settings)
        check_catalog(catalog)
        check_switches("LivePtycho", strict=strict, process=process, resume=resume)
        check_helpers(
            accept=accept,
            on_close=on_close,
            on_old_darks=on_old_darks,
            executor=executor,
            control=control,
        )
        if process and executor is not None:
            raise SettingsError("LivePtycho: executor is given with process=True; expected one of them")
        self._translated = translator(frames_key, position_keys, facts)
        self.settings = settings or LiveSettings()
        self.sinks = find_sinks(sinks)
        self._catalog = catalog
        self._accept = accept
        self._on_close = on_close
        self._executor = executor
        self._answers = Answers(catalog)
        self._dark_store = DarkStore(
            self._answers.find_darks, find_nearest=self._answers.nearest_darks, on_retired=on_old_darks
        )
        self._process, self._resume = process, resume
        self._running: OrderedDict[str, Analysis | ChildAnalysis] = OrderedDict()
        self._ending: list[Analysis | ChildAnalysis] = []
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self._lock = threading.RLock()
        self._router = RunRouter([self._factory], filler_class=NoFiller)
        self._closed, self._retired = False, False
        self._left_out = ""
        self._strict = strict
        self._incidents = Incidents()
        self._hooks = Hooks(on_done, self._incidents.report)
        no_checkpoints = partial(self._incidents.report, "keeping checkpoints")
        self._claims = Claims(self._answers.checkpoints_dir, no_checkpoints, temporary=process)
        self.token: Any = None
        self._control, self._script, self._paused = control, as_script(script), False
        if control is not None:
            control.connect(self.settings, self.request)
        close_at_exit(self)

    @classmethod
    def keywords(cls) -> list[str]:
        """Return the names of all arguments, with those of keys and facts."""
        return list(dict.fromkeys([*keywords_of(cls), *keywords_of(OwnKeys)]))

    # -- documents ----------------------------------------------------------------------------

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document; never raises."""
        try:
            with self._lock:
                repeated = name == "start" and doc.get("uid") in self._running  # subscribed twice
                if not (self._closed or repeated):
                    for told, document in self._translated(name, doc):
                        self._router(told, dict(document))
        except (Exception, SystemExit) as error:
            self._incidents.report(f"live ptychography missed a {name} document", error)

    def _factory(self, name: str, start: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """Make the pipeline of one run, or none where the run is not ours or cannot be analysed."""
        try:
            plan = read_plan(start)
            if plan is None or self._retired or not self._takes(start, plan):
                return [], []
            check_images(plan, self.settings.preprocess)  # what is refused stores no failed result
            analysis, taker = self._make_analysis(start, plan)
        except (Exception, SystemExit) as error:
            self._claims.release(str(start.get("uid")), done=False)
            # Raised, it would leave the run in the router, and every document of it would fail.
            told = f"scan {start.get('scan_id', '?')} is not reconstructed live"
            self._incidents.report(f"start of {start.get('uid')}", error, told=told)
            return [], []
        self._running[start["uid"]] = analysis
        self._left_out = ""
        if self._paused:
            analysis.request({"paused": True})
        analysis.start()
        return [taker], []

    def _takes(self, start: Mapping[str, Any], plan: ScanPlan) -> bool:
        verdict = self._accept is None or self._accept(start, plan)
        if isinstance(verdict, NotTaken):
            self._left_out = printable(f"scan {start.get('scan_id', '?')} is not taken: {verdict.reason}", LONGEST_LINE)
            logger.warning("%s", self._left_out)
        return bool(verdict)

    def _make_analysis(self, start: Mapping[str, Any], plan: ScanPlan) -> tuple[Analysis | ChildAnalysis, Any]:
        """Return the analysis of a run, and what takes its documents."""
        lock = self._claims.take(start["uid"])
        settings, roots, log = self.settings, self.settings.frame_roots or self._answers.frame_roots(), RunLog()
        common = (settings, self._run_sinks(log), self._dark_store, self._done, self._answers.last_probe)
        more: Any = {"log": log, "script": self._script}
        if self._process:
            assert lock is not None  # there is always a temporary place
            child = ChildAnalysis(start, plan, *common, roots, lock.checkpoint, resume=self._resume, **more)
            return child, child
        intake = Intake(start, plan, settings.patience_s, roots)
        path, resumed = None if lock is None else lock.checkpoint, None
        checkpoints = Checkpoints(path, start["uid"], settings.to_dict(), settings.checkpoint_interval_s)
        if lock is not None and self._resume:
            resumed = lock.read()
        more |= {"checkpoints": checkpoints, "resumed": resumed}
        return Analysis(intake, *common, self._executor, **more), intake

    def _run_sinks(self, log: RunLog) -> list[Sink]:
        if self._catalog is None:
            return list(self.sinks)
        try:
            stored = ResultRun(self._catalog.result_writer(), self._catalog.results_dir, log)
        except Exception as error:
            self._incidents.report("storing results", error)
            return list(self.sinks)
        return [*self.sinks, stored]

    def _done(self, outcome: Outcome) -> None:
        stored = ResultRun.name not in outcome.sink_errors
        self._claims.release(outcome.raw_uid, done=stored and outcome.error is None)
        with self._lock:
            self._outcomes[outcome.raw_uid] = outcome
            while len(self._outcomes) > KEPT_OUTCOMES:
                self._outcomes.popitem(last=False)
            done = self._running.pop(outcome.raw_uid, None)
            if done is not None:  # it gives its memory back yet, for which whoever waits for it waits too
                self._ending.append(done)
        self._forget_ended()
        self._hooks(outcome)

    def _forget_ended(self) -> None:
        with self._lock:
            self._ending = [analysis for analysis in self._ending if analysis.is_alive()]

    def request(self, request: Request) -> None:
        """Change the settings of the analysis that runs, and of those to come.

        Parameters
        ----------
        request : mapping
            Dotted names and values, ``{"solver.modes": 3}``; ``{"paused": True}``, ``{"paused": False}`` or
            ``{"reset": True}``.

        Raises
        ------
        SettingsError, NotFoundError
            If the request, a name or a value is refused; nothing has changed then. What an analysis finds that it
            cannot do in the midst of a scan is among its messages, and it goes on as before.
        """
        check_changes("request", request)
        with self._lock:
            self.settings = turned(self.settings, request)
            self._paused = bool(request.get("paused", self._paused))
            for analysis in self._running.values():
                analysis.request(request)

    # -- answers ------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """Wait until every run seen so far is done; return the newest outcome.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Raises
        ------
        TimeoutError
            If an analysis is still working after `timeout`.
        PtychoError
            If the newest analysis failed; its cause is chained. If the newest scan was not taken, so that the newest
            outcome is another scan's. With `strict` also if anything else failed.
        """
        check_seconds("timeout", timeout, or_none=True)
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            running, left_out = [*self._ending, *self._running.values()], self._left_out
        for analysis in running:
            join_awake(analysis, None if deadline is None else max(0.0, deadline - time.monotonic()))
            if analysis.is_alive():
                raise TimeoutError(f"{analysis.name} is still working after {timeout} s: {self.status()}")
        self._forget_ended()
        if left_out:
            raise PtychoError(left_out)
        outcome = self.result
        if outcome is not None and outcome.error is not None:
            raise PtychoError(f"the analysis of run {outcome.raw_uid} failed: {outcome.error}") from outcome.error
        self._raise_if_strict()
        return outcome

    @property
    def errors(self) -> dict[str, BaseException]:
        """What went wrong in this session beside the analyses themselves, whose errors are in their outcomes."""
        with self._lock:
            sinks = {
                f"sink {name} of {outcome.raw_uid}": error
                for outcome in self._outcomes.values()
                for name, error in outcome.sink_errors.items()
            }
        return {**self._incidents, **sinks}

    def _raise_if_strict(self) -> None:
        if self._strict and (errors := self.errors):
            what, error = next(iter(errors.items()))
            raise PtychoError(f"{what}: {error} ({len(errors)} in all)") from error

    @property
    def result(self) -> Outcome | None:
        """Outcome of the run that was finished last; None before the first."""
        with self._lock:
            return next(reversed(self._outcomes.values()), None)

    @property
    def under_way(self) -> tuple[str, ...]:
        """Raw uids of the runs whose analyses are not done yet."""
        with self._lock:
            return tuple(self._running)

    def outcome(self, raw_uid: str) -> Outcome | None:
        """Return the outcome of a raw run, None while it is not done."""
        with self._lock:
            return self._outcomes.get(raw_uid)

    def progress(self) -> Progress | None:
        """Return the counters of the newest run; None before the first."""
        with self._lock:
            analysis = next(reversed(self._running.values()), None)
        if analysis is not None:
            return analysis.progress()
        return None if self.result is None else self.result.progress

    def status(self) -> Status:
        """Say in a sentence what is going on; IPython and Jupyter show more."""
        with self._lock:
            analysis, outcome = next(reversed(self._running.values()), None), self.result
            left_out, closed = self._left_out, self._closed
        if analysis is not None:
            more = (left_out,) if left_out else ()
            said = describe_status(analysis.start_doc, analysis.progress(), [*analysis.messages, *more])
        elif left_out or outcome is None:
            said = Status(left_out or NOTHING_YET)
        else:
            update = outcome.update
            said = describe_status(update.start, update.progress, update.messages, exit_status=update.exit_status)
        return Status(f"{said}; {CLOSED}", said.facts, said.messages) if closed else said

    def __repr__(self) -> str:
        return f"<LivePtycho {self.status()}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        self.status()._repr_pretty_(printer, cycle)

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()

    def show(self, backend: str = "auto", **options: Any) -> LivePtychoFigure:
        """Show the last result, and every scan that begins from now on.

        Parameters
        ----------
        backend : {"auto", "window", "notebook", "png", "web"}
        **options
            `directory`, `host`, `port`, `token` and `knobs`, as :class:`LivePtychoFigure` takes them.

        Raises
        ------
        SettingsError, PtychoError
            If an argument is of no use, or the figure cannot be shown or written.
        """
        from .live_figure import LivePtychoFigure

        figure = LivePtychoFigure(backend, **options)
        if (outcome := self.result) is not None:
            try:
                figure(outcome.update)
            except OSError as error:
                raise PtychoError(f"the live figure cannot be written: {error}") from error
        self.sinks.append(figure)
        return figure

    @property
    def control(self) -> Control | None:
        """The knobs that its settings follow."""
        return self._control

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more documents: it was closed."""
        return self._closed

    def retire(self) -> None:
        """Take no more scans; those under way go on, and :meth:`close` ends them."""
        with self._lock:
            self._retired = True

    def hurry(self) -> None:
        """Ask the running analyses to end with what they have: no more passes, no FRC."""
        with self._lock:
            running = list(self._running.values())
        for analysis in running:
            analysis.cancel()

    def close(self, timeout: float | None = 60.0) -> None:
        """Take no more documents, and wait for what is under way; runs still open end with what they have."""
        check_seconds("timeout", timeout, or_none=True)
        if self._control is not None:
            self._control.disconnect(self.request)
        with self._lock:
            self._closed = True
            running = [*self._ending, *self._running.values()]
        for analysis in running:
            if analysis.is_open:
                analysis.cancel()
        for analysis in running:
            if analysis.is_alive():
                join_awake(analysis, timeout)
            if isinstance(analysis, ChildAnalysis) and analysis.is_alive():
                analysis.abandon()
                join_awake(analysis, timeout)
        self._forget_ended()
        self._claims.close()
        self._hooks.wait(timeout)
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            try:
                on_close()
            except (Exception, SystemExit) as error:
                self._incidents.report("closing", error)
        self._raise_if_strict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
