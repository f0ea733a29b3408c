"""What is asked for when a stored run is to be reconstructed again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..callbacks import LiveSettings
from ..callbacks.document_keys import read_plan
from ..catalog.changed import changes_text
from ..errors import NotFoundError, SettingsError
from ..preprocess import check_images
from ..preprocess.grid import make_grid
from ..preprocess.mask import Mask
from ..replay import access_tags
from ..terminal import printable


@dataclass(frozen=True)
class Access:
    """To whom a run belongs, which its results carry on.

    Parameters
    ----------
    data_session : str
    proposal : str
        As JSON: facilities store a number, a name or a mapping.
    tags : tuple of str
        Access tags of the catalog's server, sorted.
    """

    data_session: str
    proposal: str
    tags: tuple[str, ...]

    @classmethod
    def of(cls, run: Any) -> Access:
        """Return the access of a stored run."""
        start = run.metadata["start"]
        proposal = start.get("proposal")
        return cls(
            str(start.get("data_session") or ""),
            "" if proposal is None else json.dumps(proposal, sort_keys=True, default=str),
            tuple(sorted(map(str, access_tags(run)))),
        )

    def __str__(self) -> str:
        parts = {"data_session": self.data_session, "proposal": self.proposal, "access tags": ", ".join(self.tags)}
        return ", ".join(f"{name} {value}" for name, value in parts.items() if value) or "no proposal"


@dataclass(frozen=True)
class Request:
    """A stored run and how it is to be reconstructed; may be sent to another process.

    Parameters
    ----------
    raw_uid : str
    title : str
        How messages call the scan.
    settings : LiveSettings
    note : mapping
        What the result's start document holds under :data:`bluesky_ptycho.catalog.changed.START_KEY`.
    access : Access
    """

    raw_uid: str
    title: str
    settings: LiveSettings
    note: Mapping[str, Any]
    access: Access

    @property
    def n_passes(self) -> int:
        """Passes that the work is worth: those of the whole, the tail, and the two half data sets."""
        settings = self.settings
        halves = settings.solver.frc_passes if settings.frc else 0
        return settings.passes + settings.solver.tail_passes + halves

    def describe(self) -> str:
        """Name the scan and the first few settings that differ from those of its first result."""
        how = changes_text(self.note)
        return f"{self.title} ({self.raw_uid[:8]}){f' with {how}' if how else ''}"


def make_request(
    uid: int | str, catalog: Any, changes: Mapping[str, Any], settings: LiveSettings | None = None
) -> Request:
    """Find the run and what changes.

    Parameters
    ----------
    uid : int or str
        Of a scan or of a result, as for ``catalog[uid]``; a result stands for its scan, done as it was but for
        `changes`.
    catalog : Catalog
    changes : mapping
        Dotted names ("solver.modes") and values.
    settings : LiveSettings, optional
        What is changed; by default the settings of the named result, of the scan's first result that did not
        fail, or the usual ones.

    Raises
    ------
    NotFoundError
        If there is no such run, or it is no ptychography scan.
    SettingsError
        If a change is refused, as a mask that does not fit the frames, or the stored settings are of no use to this
        version.
    """
    run = named = catalog[uid]
    raw_uid = named.metadata["start"].get("raw_uid")
    if raw_uid is not None:
        run = catalog[raw_uid]
    start = run.metadata["start"]
    plan = read_plan(start)
    if plan is None:
        raise NotFoundError(f"run {start['uid']} carries no ptychography scan")
    first = first_result(catalog, start["uid"])
    if settings is None:
        base = named if raw_uid is not None else first
        settings = LiveSettings() if base is None else stored_settings(base)
    # Made anew, so that stored names of algorithms and steps that are not replaced must be known here.
    settings = LiveSettings.from_mapping(settings.with_changes(**changes).to_dict())
    given = changes.get("preprocess.mask")
    if isinstance(given, Mask):  # it knows its file, which settings do not keep
        given.bad_in(make_grid(plan, settings.preprocess).image_shape)
    check_images(plan, settings.preprocess)
    note: dict[str, Any] = {}
    if first is not None:
        before = first.metadata["start"]
        changed = [_as_it_was(first, c) for c in differences(before.get("settings", {}), settings.to_dict())]
        note = {"first_result": before["uid"], "settings_changed": changed}
    title = printable(f"scan {start.get('scan_id', '?')} {start.get('sample_name', '')}")
    return Request(start["uid"], title, settings, note, Access.of(run))


def first_result(catalog: Any, raw_uid: str) -> Any | None:
    """Return the oldest result run of a scan that has not failed, one with an image if there is any; else None.

    What failed may have failed for its settings; an interrupted scan's result has done as it was told.
    """
    from ..catalog.newest import holds_image
    from ..catalog.search import results_of

    ends = ("success", "abort")
    results = results_of(catalog, [raw_uid])
    good = [run for run in results if (run.metadata.get("stop") or {}).get("exit_status") in ends]
    return next(filter(holds_image, good), next(iter(good), None))


def stored_settings(result: Any) -> LiveSettings:
    """Return the settings that a result was made with.

    Raises
    ------
    SettingsError
        If this version knows or allows them no longer.
    """
    start = result.metadata["start"]
    try:
        return LiveSettings.from_stored(start.get("settings", {}))
    except SettingsError as error:
        raise SettingsError(
            f"settings of result {start['uid'][:8]} are of another version ({error}); expected settings to start from "
            "(--settings FILE, or settings=LiveSettings())"
        ) from error


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name, old and new value of each setting that differs, as JSON can hold them.

    Names are dotted, in a list, since keys of a start document may hold no dot.
    """
    old, new = dict(_flat(before)), dict(_flat(after))
    names = [*old, *(name for name in new if name not in old)]
    return [{"name": n, "from": old.get(n), "to": new.get(n)} for n in names if old.get(n) != new.get(n)]


def _as_it_was(result: Any, change: dict[str, Any]) -> dict[str, Any]:
    """Return a change from the value that was in force in `result`, where what was set left it to the solver."""
    if change["name"] != "solver.modes" or change["from"] is not None:
        return change
    try:
        modes = int(result["primary"]["probe"].shape[1])
    except (KeyError, IndexError):  # it failed before it had a probe
        return change
    return {**change, "from": modes}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value
