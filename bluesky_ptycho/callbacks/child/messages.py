"""What parent and child tell each other, to and from what a channel carries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ...frames import Batch, Snapshot
from ...geometry import Canvas, Geometry
from ...knobs import Change
from ...preprocess import DarkModel
from ..dark_store import Darks
from ..first_probe import LastProbe
from ..updates import Progress, Update

COMMON = ("start", "plan", "geometry", "settings")
"""Fields of an update that both ends know."""


def fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, not those within them."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def pack_update(update: Update) -> dict[str, Any]:
    """Return `update` without the fields that the parent knows."""
    packed = {name: value for name, value in fields_of(update).items() if name not in COMMON}
    packed["progress"] = fields_of(update.progress)
    packed["snapshot"] = pack_snapshot(update.snapshot)
    packed["frames"] = None if update.frames is None else fields_of(update.frames)
    packed["changes"] = [fields_of(change) for change in update.changes]
    return packed


def unpack_update(packed: Mapping[str, Any], **common: Any) -> Update:
    """Return the update that `packed` tells of, with the fields of :data:`COMMON`."""
    values = dict(packed)
    values["progress"] = Progress(**values["progress"])
    values["snapshot"] = unpack_snapshot(values["snapshot"], common["geometry"])
    values["frames"] = None if values["frames"] is None else Batch(**values["frames"])
    values["rejected"] = {int(point): reason for point, reason in values["rejected"].items()}
    values["changes"] = unpack_changes(values["changes"])
    for name in ("missing", "messages"):
        values[name] = tuple(values[name])
    return Update(**common, **values)


def unpack_changes(packed: Sequence[Mapping[str, Any]]) -> tuple[Change, ...]:
    """Return the changes of the settings that `packed` tells of."""
    return tuple(Change(**fields) for fields in packed)


def pack_snapshot(snapshot: Snapshot | None) -> dict[str, Any] | None:
    """Return `snapshot` without its geometry."""
    if snapshot is None:
        return None
    packed = {name: value for name, value in fields_of(snapshot).items() if name != "geometry"}
    return {**packed, "canvas": fields_of(snapshot.canvas)}


def unpack_snapshot(packed: Mapping[str, Any] | None, geometry: Geometry) -> Snapshot | None:
    """Return the snapshot that `packed` tells of."""
    if packed is None:
        return None
    canvas = Canvas(**{name: tuple(values) for name, values in packed["canvas"].items()})
    return Snapshot(**{**packed, "canvas": canvas, "geometry": geometry})


def pack_darks(darks: Darks | None) -> list[dict[str, Any]] | None:
    """Return dark models as their fields."""
    return None if darks is None else [fields_of(dark) for dark in darks]


def unpack_darks(packed: list[dict[str, Any]] | None) -> Darks | None:
    """Return the dark models that `packed` tells of."""
    return None if packed is None else tuple(DarkModel(**fields) for fields in packed)


def pack_probe(probe: LastProbe | None) -> dict[str, Any] | None:
    """Return a probe of the catalog, read."""
    if probe is None:
        return None
    packed = {"uid": probe.uid, "geometry": probe.geometry.to_dict(), "modes": probe.read()}
    return {**packed, "data_session": probe.data_session}


def unpack_probe(packed: dict[str, Any] | None) -> LastProbe | None:
    """Return the probe that `packed` tells of."""
    if packed is None:
        return None
    return LastProbe(
        packed["uid"], Geometry.from_dict(packed["geometry"]), lambda: packed["modes"], packed["data_session"]
    )
