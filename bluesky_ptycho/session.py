"""Wire live ptychography into a Bluesky session that exists already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .attached import Wanted, give_way, is_taken_by_any, note_attached, place_of
from .errors import MetadataError
from .given import check_can, check_device, check_switches, check_type, one_or_many
from .keywords import keywords_of, refuse_unknown
from .scan_plan import ScanPlan

if TYPE_CHECKING:
    from .callbacks import LivePtycho, LiveSettings, Sink
    from .callbacks.hooks import OnDone
    from .callbacks.not_taken import NotTaken
    from .knobs import Control


def attach(
    RE: Any,
    catalog: Any = None,
    *,
    detector: Any = None,
    axes: Iterable[Any] | None = None,
    settings: LiveSettings | None = None,
    sinks: Iterable[Sink | str] | Sink | str = (),
    executor: Any = None,
    figure: bool | str = False,
    control: Control | None = None,
    on_done: OnDone | Iterable[OnDone] = (),
    report: bool | str | Path = False,
    beside: bool = False,
    **keys: Any,
) -> LivePtycho:
    """Subscribe a live reconstruction to a RunEngine in one line.

    Parameters
    ----------
    RE : RunEngine
        The session's own.
    catalog : Catalog, tiled client, str, Path or None
        Where the results go. Scans are stored by whatever the session uses already, else by
        ``RE.subscribe(catalog.raw_writer())``: a warning tells if the first one is not there once its result is. A
        catalog that is opened here, from a directory, address or profile, is closed by ``live.close()``.
    detector : device or str, optional
        Only scans with this detector are taken; of another ptychography scan that nothing attached takes, a line says
        why.
    axes : sequence of device or str, optional
        Only scans along these axes ``(y, x)`` are taken, as above.
    settings : LiveSettings, optional
        How scans are reconstructed; the defaults unless given.
    sinks, executor, on_done, control, **keys
        As for :class:`~bluesky_ptycho.callbacks.LivePtycho`.
    figure : bool or str
        Whether the live figure is shown, or in which backend ("window", "notebook", "png", "web"), as
        :class:`~bluesky_ptycho.callbacks.LivePtychoFigure` takes it.
    report : bool, str or Path
        Whether a report is written of each reconstruction once it is stored, or the directory for it; see
        :class:`~bluesky_ptycho.report.ReportAtEnd`.
    beside : bool
        Whether what was attached to `RE` before with the same catalog, and may take the same scans, goes on: then each
        has a result of its own of a scan. Else it is closed, and a scan that it has under way is its last.

    Returns
    -------
    LivePtycho
        The callback; ``live.wait()`` and ``live.result`` give the outcome. Its attribute
        ``token`` unsubscribes it: ``RE.unsubscribe(live.token)``.

    Raises
    ------
    SettingsError, NotFoundError
        If an argument is of no use, or a sink is not known.
    MetadataError
        If `axes` are not two, or `report` is given without a catalog.
    PtychoError
        If no report can be written to the directory for them, or the catalog cannot take results: its server refuses,
        or lies elsewhere and ``Catalog.wrap(client, results_dir=...)`` has not named a directory that it reads.
    """
    from .callbacks import LivePtycho
    from .callbacks.not_taken import NotTaken
    from .catalog import Catalog, open_catalog
    from .plans import dark_records
    from .report import ReportAtEnd
    from .unstored_scan import UnstoredScan

    # What needs no catalog is looked at before one is made.
    refuse_unknown("attach", keys, [*keywords_of(attach), *_passed_on(LivePtycho.keywords())])
    check_can("attach: RE", RE, ["subscribe"], "a RunEngine")
    check_switches("attach", beside=beside)
    hooks = one_or_many("attach: on_done", on_done, callable, "functions that take an Outcome")
    detector_name = None if detector is None else _name("detector", detector)
    if axes is not None:
        check_type("attach: axes", axes, Iterable, "two axes of the stage, (y, x), or None")
    axis_names = None if axes is None else tuple(_name("axes", axis) for axis in axes)
    if axis_names is not None and len(axis_names) != 2:
        raise MetadataError(f"attach: axes are {axis_names}; expected two, (y, x)")

    reports = _report_directory(catalog, report) if report else None
    wanted = Wanted(detector_name, axis_names, keys.get("frames_key"))

    def accept(start: Mapping[str, Any], plan: ScanPlan) -> bool | NotTaken:
        objection = wanted.objection(plan)
        if not objection:
            return True
        # A session may have something attached for each of its detectors: then nothing is amiss.
        return False if is_taken_by_any(RE, plan) else NotTaken(objection)

    def on_old_darks(plan: ScanPlan, uid: str) -> None:
        if detector is not None and not isinstance(detector, str):
            dark_records(detector).forget(uid)

    with ExitStack() as undone:
        close_catalog, spelling = None, "catalog"
        if isinstance(catalog, (str, Path)):
            spelling = f"open_catalog({str(catalog)!r})"
            catalog = undone.enter_context(open_catalog(catalog))
            close_catalog = catalog.close
        elif catalog is not None:
            catalog = Catalog.wrap(catalog)
        if catalog is not None:
            catalog.require_results()  # what cannot take results is refused now, not at the first scan
            hooks.append(UnstoredScan(catalog, spelling))
        if report:
            hooks.append(ReportAtEnd(catalog, reports))
        live = LivePtycho(
            settings,
            catalog=catalog,
            sinks=sinks,
            accept=accept,
            on_close=close_catalog,
            on_old_darks=on_old_darks,
            executor=executor,
            on_done=hooks,
            control=control,
            **keys,
        )
        if figure:
            live.show("auto" if figure is True else figure)
        undone.pop_all()
    address = place_of(catalog)
    if not beside:
        give_way(RE, address, wanted, control)
    live.token = RE.subscribe(live)
    note_attached(live, RE, address, wanted)
    return live


def _passed_on(keywords: Iterable[str]) -> list[str]:
    """Return those of LivePtycho's arguments that `attach` takes; it gives the others itself."""
    return [name for name in keywords if name not in ("accept", "on_close", "on_old_darks")]


def _report_directory(catalog: Any, report: bool | str | Path) -> Path | None:
    """Return the directory that reports are asked for in; None for the usual one."""
    from .report.at_the_end import report_directory

    if catalog is None:
        raise MetadataError("attach: report is asked for without a catalog; expected one that the results go to")
    return None if isinstance(report, bool) else report_directory("attach: report", report)


def _name(argument: str, device: Any) -> str:
    if isinstance(device, str):
        return device
    check_device(f"attach: {argument}", device, "a device, or the name of one")
    return str(device.name)
