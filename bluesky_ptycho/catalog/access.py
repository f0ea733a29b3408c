"""Open a catalog, or put one's own client in the place of one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Self

from ..errors import NotFoundError, PtychoError
from ..geometry import Geometry
from ..given import as_path, check_switches, check_type, one_or_many
from ..keywords import checks_arguments
from ..scan_plan import ScanPlan
from ..words import counted
from . import embedded
from .backup import DocumentCallable, keeping
from .embedded import PROCESSED, RAW
from .lookup import find_run
from .profiles import state_directory
from .remote import connect, require_answer, without_keys
from .tree import beside, new_container_of_runs, plain_at, sibling
from .turns import Turns


@checks_arguments
def open_catalog(
    target: str | Path | None = None,
    *,
    frames: Iterable[str | Path] | str | Path = (),
    results_dir: str | Path | None = None,
    create: bool = True,
) -> Catalog:
    """Open a catalog of scans and reconstructions.

    Parameters
    ----------
    target : path or str, optional
        A directory (the catalog on disk inside this process), the ``http(s)://`` address of a tiled server or of a
        container on one, or the name of a tiled/databroker profile (a directory of that name goes first).
        None takes :func:`~bluesky_ptycho.catalog.default_target`.
    frames : path, or iterable of paths
        Directories outside the catalog's own that hold frames; remembered in the catalog.
        Only for a directory: a server decides itself what it reads.
    results_dir : path, optional
        Where the HDF5 files of reconstructions go. Default ``<directory>/results``; with a server it has no default,
        and must be a directory that the server may read.
    create : bool
        Make the directory's catalog if there is none (never that of the last command).

    Raises
    ------
    NotFoundError
        If there is no such directory, profile or default.
    PtychoError
        If an argument is of no use, `target` is empty, the directory cannot be used or the server cannot be reached.
    """
    from .profiles import default_target, is_profile, missing_default

    # Of anything else a directory would be made that is called by what it looks like.
    check_type("catalog", target, (str, Path, NoneType), "a directory, an http address, a profile, or None")
    frames = one_or_many("frames", frames, lambda path: isinstance(path, (str, Path)), "directories")
    check_switches("open_catalog", create=create)
    text = default_target() if target is None else str(target)
    if not text.strip():  # it would be the working directory
        raise PtychoError(f"catalog is {text!r}; expected a directory, an http address or a profile")
    results = None if results_dir is None else as_path("results_dir", results_dir).expanduser().resolve()
    if text.startswith(("http://", "https://")):
        # Without the query, which may hold a key.
        return Catalog.wrap(connect(text, uri=True), results_dir=results, name=text.partition("?")[0])
    directory = Path(text).expanduser().resolve()
    if not isinstance(target, Path) and not directory.is_dir() and "/" not in text and is_profile(text):
        return Catalog.wrap(connect(text, uri=False), results_dir=results, name=text)
    if target is None and not embedded.is_catalog(directory):
        raise NotFoundError(missing_default(text))
    if directory.exists() and not directory.is_dir():
        raise PtychoError(f"catalog {text!r} is a file; expected a catalog's directory, an http address or a profile")
    if not create and not embedded.is_catalog(directory):
        raise NotFoundError(f"catalog {text!r} is neither a directory with a catalog, an http address nor a profile")
    return _open_directory(directory, frames, results)


class Catalog:
    """Scans and their reconstructions; made by :func:`open_catalog` or :meth:`wrap`.

    ``catalog[-1]`` is the last scan, ``catalog[uid]`` or ``catalog[scan_id]`` any run;
    ``catalog.search(sample="gold", since="12h")`` yields scans, newest first.

    Parameters
    ----------
    raw : tiled client
        Container of the scans.
    results_dir : Path or None
        Directory of the reconstructions' HDF5 files.
    name : str
        How messages call it.
    backup_dir : Path, optional
        Where the documents of runs are kept until the server has taken them: ``unwritten`` in the catalog's
        directory, or where that is not on this machine, in the user's state directory.
    """

    def __init__(self, raw: Any, *, results_dir: Path | None, name: str, backup_dir: Path | None = None) -> None:
        self.raw = raw
        self.name = name
        directory = embedded.directory_of(raw)
        self.backup_dir = backup_dir or (directory or state_directory()) / "unwritten"
        self._results_dir = results_dir
        self._processed: Any = None
        self._turns = Turns(directory)

    @classmethod
    def wrap(cls, client: Any, *, results_dir: Path | str | None = None, name: str | None = None) -> Self:
        """Return a catalog around a session's own client.

        Parameters
        ----------
        client : Catalog or tiled client
            A catalog is returned as it is. Else a container of Bluesky runs (``databroker.from_profile(...)``), or one
            that has it as child ``raw``. Reconstructions go beside it into ``processed``, or into a child
            ``processed`` where the client is the server's root.
        results_dir : path, optional
            See :func:`open_catalog`.

        Raises
        ------
        PtychoError
            If `client` is not a container of Bluesky runs.
        """
        if isinstance(client, cls):
            return client
        from bluesky_tiled_plugins import CatalogOfBlueskyRuns
        from tiled.client.container import Container

        if isinstance(client, Container) and not isinstance(client, CatalogOfBlueskyRuns) and RAW in client:
            client = client[RAW]
        if not isinstance(client, CatalogOfBlueskyRuns):
            what = f"{type(client).__module__}.{type(client).__name__}"
            expected = "a tiled container of Bluesky runs, or what open_catalog gives"
            raise PtychoError(f"catalog is a {what}; expected {expected}")
        results = None if results_dir is None else Path(results_dir)
        return cls(client, results_dir=results, name=name or str(client.uri))

    def __getitem__(self, key: int | str) -> Any:
        """Return a run: by uid, its beginning, scan number, or -1 for the last scan.

        Raises
        ------
        NotFoundError
            If there is no such run, or several.
        """
        try:
            return find_run(self.raw, self.processed, key)
        except NotFoundError as error:
            raise NotFoundError(f"{error} (catalog {self.name})") from None

    def __len__(self) -> int:
        # tiled's clients remember a length for a second; a fresh one asks, so that a scan counts at once.
        return len(self.raw.new_variation())

    def search(self, **what: Any) -> Iterator[Any]:
        """Yield the scans, newest first, that :func:`make_search` describes: ``search(sample="gold", since="12h")``."""
        from .search import make_search

        return make_search(**what).scans(self)

    def last_scan_id(self) -> int:
        """Return the number of the last scan, 0 if there is none or it has no number."""
        return int(self[-1].metadata["start"].get("scan_id") or 0) if len(self) else 0

    def __repr__(self) -> str:
        try:
            scans = counted(len(self), "scan")
        except Exception:  # a server that is gone, or refuses: whoever looks at a session must not fail
            scans = "it cannot be asked now"
        return f"<Catalog {self.name}: {scans}>"

    @property
    def processed(self) -> Any | None:
        """Container of the reconstructions; None as long as there is none."""
        if self._processed is None:
            self._processed = sibling(self.raw, PROCESSED)
        return self._processed

    @property
    def results_dir(self) -> Path:
        """Directory of the reconstructions' HDF5 files."""
        return self._results_dir or self._storage("results")

    @property
    def frames_dir(self) -> Path:
        """Directory within the catalog where frames may go, if they have no other place."""
        return self._storage("frames")

    def _storage(self, part: str) -> Path:
        roots = embedded.readable_roots(self.raw) or []
        for root in roots:
            if os.access(root, os.W_OK):
                return root / part
        raise PtychoError(
            f"catalog {self.name} has no {part} directory of its own that can be written to; give one that its "
            f"server may read{' as results_dir=' if part == 'results' else ''}"
        )

    @property
    def readable_roots(self) -> list[Path]:
        """Directories below which frames may lie; empty where the server is elsewhere."""
        return embedded.readable_roots(self.raw) or []

    def require_readable(self, directory: str | Path) -> None:
        """Refuse a directory whose files the catalog could register but never read.

        Raises
        ------
        PtychoError
            If the server runs in this process and may not read `directory`. What a server
            elsewhere may read cannot be asked.
        """
        path = Path(directory).expanduser().resolve()
        roots = self.readable_roots
        if roots and not any(path.is_relative_to(root.resolve()) for root in roots):
            shown = ", ".join(map(str, roots))
            raise PtychoError(
                f"frames directory {path} cannot be read back by catalog {self.name}; "
                f"expected a directory under {shown}, or open the catalog with frames=[...]"
            )

    def find_darks(self, uid: int | str) -> Any | None:
        """Return the dark models of a run, one for each exposure; None if it has none or is unknown."""
        try:
            run = self[uid]
        except NotFoundError:
            return None
        from .darks import darks_of_run

        return darks_of_run(run)

    def nearest_darks(self, plan: ScanPlan, before_s: float) -> tuple[str, Any] | None:
        """Return uid and dark models of the last scan before a time whose darks serve `plan`: see `darks`."""
        from .darks import nearest_darks

        return nearest_darks(self.raw, plan, before_s)

    def last_probe(self, geometry: Geometry, before_s: float) -> Any | None:
        """Return the newest good result's probe, of `geometry` if there is one: see `probes.last_probe`."""
        from .probes import last_probe

        return None if self.processed is None else last_probe(self.processed, geometry, before_s)

    def raw_writer(self, *, tell: bool = False, **options: Any) -> DocumentCallable:
        """Return a callable that stores scans and never raises; subscribe it first. See `writer.run_writer`.

        With `tell` it logs no refusal and raises :class:`PtychoError` after a run that the catalog did not take.
        """
        return keeping(
            self.backup_dir, lambda: self.writer_into(self.raw, **options), self.name, tell=tell, warn=not tell
        )

    def result_writer(self, **options: Any) -> DocumentCallable:
        """Return a callable that stores reconstructions; it raises :class:`PtychoError` after a run that was kept."""

        def make() -> DocumentCallable:
            self.require_results()
            return self.writer_into(self.processed, **options)

        return keeping(self.backup_dir, make, self.name, tell=True)

    def writer_into(self, container: Any, **options: Any) -> DocumentCallable:
        """Return a callable that stores runs in `container` and raises what the server refuses."""
        from .writer import run_writer

        require_answer(self.raw)
        return self._in_turn(run_writer(container, **options))

    def require_results(self) -> None:
        """Make sure that reconstructions can be stored.

        Raises
        ------
        PtychoError
            If the server does not let us write there, or may not read `results_dir`.
        """
        self.require_readable(self.results_dir)
        try:
            require_answer(self.raw)
            if self.processed is None:
                new_container_of_runs(self.raw.context, beside(self.raw), PROCESSED)
        except Exception as refused:
            raise PtychoError(
                f"catalog {self.name} refuses a container {PROCESSED!r}: {without_keys(str(refused))}"
            ) from None

    def _in_turn(self, writer: DocumentCallable) -> DocumentCallable:
        """Return `writer` such that scans and results are never written at the same moment.

        They come from two threads and perhaps from another session on the same directory. A document
        takes some ten ms at most.
        """

        def write(name: str, doc: Mapping[str, Any]) -> None:
            with self._turns.taken():
                writer(name, doc)

        return write

    def close(self) -> None:
        """End the in-process server or the connection; the clients cannot be used any more."""
        self.raw.context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _open_directory(directory: Path, frames: Iterable[str | Path], results: Path | None) -> Catalog:
    outside = [*frames, *([] if results is None else [results])]
    readable = embedded.prepare(directory, outside)
    with Turns(directory).taken():  # two sessions may make the same new catalog
        try:
            embedded.make_database(directory)
            embedded.let_readers_be(directory)
            context = embedded.open_app(embedded.server_config(directory, readable))
        except Exception as failed:
            raise PtychoError(f"catalog in {directory} cannot be opened: {failed}") from failed
        root = plain_at(context, [])
        for name in (RAW, PROCESSED):
            if name not in root:
                new_container_of_runs(context, [], name)
    return Catalog(
        root[RAW],
        results_dir=results or directory / "results",
        name=str(directory),
    )
