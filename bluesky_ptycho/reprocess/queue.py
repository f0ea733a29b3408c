"""Stored runs waiting to be reconstructed again: the most urgent first."""

from __future__ import annotations

import enum
import heapq
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from ..callbacks import LiveSettings
from ..callbacks.arguments import check_settings
from ..catalog import Catalog
from ..errors import PtychoError, in_a_line
from ..given import check_can, check_changes, check_count, check_switches, check_type, check_whole
from ..keywords import checks_arguments
from ..stored_scan import describe
from ..waiting import wait_awake
from .cluster import Cluster
from .requests import Access, Request, make_request
from .work import Done, reconstruct_again


class State(enum.StrEnum):
    """What has become of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job:
    """A run in the queue; made by :meth:`ReconQueue.submit`, changed by the queue alone.

    Attributes
    ----------
    request : Request
    number, priority : int
        Place in the order of submission; the greater the priority, the earlier.
    state : State
    passes : int
        Done of ``request.n_passes``.
    text : str
        How it is going, or why it failed.
    result_uid : str or None
        The result run.
    figures : mapping
        Those of its stop document.
    """

    def __init__(self, number: int, request: Request, priority: int, changed: threading.Condition) -> None:
        self.number, self.request, self.priority = number, request, priority
        self.state = State.WAITING
        self.passes, self.text = 0, ""
        self.result_uid: str | None = None
        self.figures: Mapping[str, Any] = {}
        self._changed = changed
        self._cancel = threading.Event()

    @property
    def percent(self) -> float:
        """How much of the work is done, 0 to 100."""
        return 100.0 if self.state is State.DONE else min(99.0, 100.0 * self.passes / self.request.n_passes)

    @property
    def is_over(self) -> bool:
        """Whether it waits and runs no more."""
        return self.state not in (State.WAITING, State.RUNNING)

    def cancel(self) -> None:
        """Let it never begin, or end with what it has."""
        with self._changed:
            self._cancel.set()
            if self.state is State.WAITING:
                self.state = State.CANCELLED
                self._changed.notify_all()

    @property
    def is_cancelled(self) -> bool:
        """Whether it is to end, or never to begin."""
        return self._cancel.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it neither waits nor runs; tell whether that is so."""
        with self._changed:
            return wait_awake(lambda seconds: self._changed.wait_for(lambda: self.is_over, seconds), timeout)

    def __repr__(self) -> str:
        return f"<{self.request.describe()}: {self.describe()}>"

    def describe(self) -> str:
        """Say in a few words what has become of it."""
        if self.state is State.WAITING:
            return f"waiting, priority {self.priority}"
        if self.state is State.RUNNING:
            return f"{self.percent:.0f} %, {self.text or 'starting'}"
        result = f", result {self.result_uid[:8]}" if self.result_uid else ""
        if self.state is State.DONE:
            return f"done, {describe(self.figures)}{result}"
        return f"{self.state}{f': {self.text}' if self.text else ''}{result}"


class ReconQueue:
    """Reconstruct stored runs again, with other settings, each result beside the others of its scan.

    Parameters
    ----------
    catalog : Catalog, tiled client
        Holds the runs and takes the results.
    workers : int, optional
        Runs at the same time: 1 by default, or as many as `client` has workers.
    client : distributed.Client, optional
        Work is sent to its cluster, whose workers open the catalog by its name.
    across_proposals : bool
        Take runs of several proposals (data session, access tags). Without it the first run's are the queue's, and
        others are refused. A result is always stored under the access of its own run.

    Raises
    ------
    SettingsError
        If an argument is of no use.

    Examples
    --------
    >>> with ReconQueue(catalog) as queue:                                       # doctest: +SKIP
    ...     queue.submit(-1, {"solver.modes": 3}, priority=5)
    ...     queue.submit(-2, {"solver.modes": 3})
    ...     queue.wait()
    """

    @checks_arguments
    def __init__(
        self, catalog: Any, *, workers: int | None = None, client: Any = None, across_proposals: bool = False
    ) -> None:
        check_switches("ReconQueue", across_proposals=across_proposals)
        if workers is not None:
            check_count("workers", workers, 1)
        if client is not None:
            check_can("client", client, ["scheduler_info", "submit"], "a distributed.Client, or None")
        self._catalog = Catalog.wrap(catalog)
        self._catalog.require_results()
        cluster = None if client is None else Cluster(client, self._catalog.name)
        n_workers = workers or (1 if cluster is None else cluster.n_workers)
        self._work: Callable[..., Done] = cluster or self._work_here
        self._across = across_proposals
        self._access: Access | None = None
        self._jobs: list[Job] = []
        self._waiting: list[tuple[int, int, Job]] = []
        self._changed = threading.Condition()
        self._executor = ThreadPoolExecutor(n_workers, thread_name_prefix="reprocess")

    @checks_arguments
    def submit(
        self,
        uid: int | str,
        changes: Mapping[str, Any] | None = None,
        *,
        settings: LiveSettings | None = None,
        priority: int = 0,
    ) -> Job:
        """Add a run; see :meth:`submit_all`."""
        return self.submit_all([uid], changes, settings=settings, priority=priority)[0]

    @checks_arguments
    def submit_all(
        self,
        uids: Iterable[int | str],
        changes: Mapping[str, Any] | None = None,
        *,
        settings: LiveSettings | None = None,
        priority: int = 0,
    ) -> list[Job]:
        """Add runs, all of them or, where one is refused, none.

        Parameters
        ----------
        uids : iterable of int or str
            Of scans, or of results, which stand for their scans.
        changes : mapping, optional
            Dotted names and values: ``{"solver.modes": 3}``.
        settings : LiveSettings, optional
            What is changed; by default the settings of the result named, of the scan's first result, or the usual
            ones.
        priority : int
            Jobs with more go first; among equals the one that came first.

        Raises
        ------
        NotFoundError, SettingsError
            As :func:`~bluesky_ptycho.reprocess.requests.make_request` does.
        PtychoError
            If a run belongs to another proposal than those before it.
        """
        check_type("uids", uids, Iterable, "uids of scans or results")
        check_changes("changes", {} if changes is None else changes)
        check_settings(settings, "ReconQueue")
        check_whole("priority", priority)
        requests = [make_request(uid, self._catalog, changes or {}, settings) for uid in uids]
        with self._changed:
            access = self._access
            for request in requests:
                access = access or request.access
                if not self._across:
                    _refuse_crossing(request, access)
            self._access = access
            jobs = [Job(len(self._jobs) + i, r, priority, self._changed) for i, r in enumerate(requests)]
            self._jobs += jobs
            for job in jobs:
                heapq.heappush(self._waiting, (-priority, job.number, job))
        for _ in jobs:
            self._executor.submit(self._run_next)
        return jobs

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs, in the order in which they came."""
        return tuple(self._jobs)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no job waits or runs; tell whether that is so."""
        with self._changed:
            return wait_awake(lambda seconds: self._changed.wait_for(self._is_idle, seconds), timeout)

    def _is_idle(self) -> bool:
        return all(job.is_over for job in self._jobs)

    def cancel(self) -> None:
        """Cancel all jobs: those that wait never begin, those that run end with what they have."""
        for job in self._jobs:
            job.cancel()

    def close(self) -> None:
        """Cancel what is not done and wait until it has ended."""
        self.cancel()
        self.wait()  # which hears Ctrl-C; the executor does not
        self._executor.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- in the executor's threads ------------------------------------------------------------

    def _run_next(self) -> None:
        with self._changed:
            _, _, job = heapq.heappop(self._waiting)
            if job.is_cancelled:
                return
            job.state = State.RUNNING
            self._changed.notify_all()

        def tell(passes: int, text: str) -> None:
            job.passes, job.text = passes, text

        done: Done | None = None
        try:
            done = self._work(job.request, job.priority, tell, lambda: job.is_cancelled)
            problem = done.reason if done.status == "fail" else ""
        except (Exception, SystemExit) as error:  # of whatever worker, network or file: the other jobs go on
            problem = in_a_line(error)
        with self._changed:
            _conclude(job, done, problem)
            self._changed.notify_all()

    def _work_here(self, request: Request, priority: int, tell: Any, cancelled: Callable[[], bool]) -> Done:
        return reconstruct_again(self._catalog, request, tell, cancelled)


def _refuse_crossing(request: Request, access: Access) -> None:
    if request.access != access:
        raise PtychoError(
            f"{request.title} ({request.raw_uid[:8]}) belongs to {request.access}, another run to {access}; expected "
            "runs of one proposal, or across_proposals=True (--across-proposals)"
        )


def _conclude(job: Job, done: Done | None, problem: str) -> None:
    if done is not None:
        job.result_uid, job.figures = done.result_uid, done.figures
    job.text = problem
    job.state = State.CANCELLED if job.is_cancelled else State.FAILED if problem else State.DONE
