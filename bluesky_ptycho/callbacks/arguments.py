"""What a callback is given, refused at once where it is of no use: later nothing may reach the RunEngine."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import refused
from ..given import check_callable, check_can, one_or_many
from ..knobs import Change
from ..registry import sinks as named_sinks
from .live_settings import LiveSettings
from .updates import Sink


def check_settings(settings: object, owner: str = "LivePtycho") -> None:
    """Raise a SettingsError if `settings` are neither None nor LiveSettings."""
    if settings is not None and not isinstance(settings, LiveSettings):
        raise refused(f"{owner}: settings", settings, "LiveSettings, or None (from_mapping takes a dict)")


def check_catalog(catalog: object) -> None:
    """Raise a SettingsError if `catalog` is neither None nor takes results."""
    if catalog is not None and not callable(getattr(catalog, "result_writer", None)):
        raise refused("LivePtycho: catalog", catalog, "a Catalog, as open_catalog gives it, or None")


def find_sinks(sinks: Iterable[Sink | str] | Sink | str) -> list[Sink]:
    """Return sinks, those that are named from the registry; one alone may be given without a list.

    Raises
    ------
    SettingsError
        If one is no name and cannot be called.
    NotFoundError
        If a name is not known.
    """
    given = one_or_many(
        "LivePtycho: sinks",
        sinks,
        lambda sink: isinstance(sink, str) or callable(sink),
        "names of sinks, or functions that take an Update",
    )
    return [named_sinks[sink]() if isinstance(sink, str) else sink for sink in given]


def check_helpers(*, accept: object, on_close: object, on_old_darks: object, executor: object, control: object) -> None:
    """Raise a SettingsError if something that is called later cannot be called."""
    takes = {
        "accept": (accept, "a function of (start, plan) that tells whether a run is taken, or None"),
        "on_close": (on_close, "a function without arguments, or None"),
        "on_old_darks": (on_old_darks, "a function of (plan, uid), or None"),
    }
    for name, (value, expected) in takes.items():
        if value is not None:
            check_callable(f"LivePtycho: {name}", value, expected)
    if executor is not None:
        check_can("LivePtycho: executor", executor, ["submit"], "one like those of concurrent.futures, or None")
    if control is not None:
        check_can("LivePtycho: control", control, ["connect", "disconnect"], "a ReconControl, or None")


def as_script(changes: Iterable[Change] | Change) -> tuple[Change, ...]:
    """Return the changes of a script; raise a SettingsError if one is none."""
    expected = "Changes, as replay.recorded_changes gives them"
    return tuple(one_or_many("LivePtycho: script", changes, lambda change: isinstance(change, Change), expected))
