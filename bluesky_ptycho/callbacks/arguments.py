"""What a callback is given, refused at once where it is of no use: later nothing may reach the RunEngine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import refused
from ..registry import sinks as named_sinks
from .live_settings import LiveSettings
from .updates import Sink


def check_settings(settings: object) -> None:
    """Raise a SettingsError if `settings` are neither None nor LiveSettings."""
    if settings is not None and not isinstance(settings, LiveSettings):
        raise refused("LivePtycho: settings", settings, "LiveSettings, or None (from_mapping takes a dict)")


def check_catalog(catalog: object) -> None:
    """Raise a SettingsError if `catalog` is neither None nor takes results."""
    if catalog is not None and not callable(getattr(catalog, "result_writer", None)):
        raise refused("LivePtycho: catalog", catalog, "a Catalog, as open_catalog gives it, or None")


def check_switches(**switches: object) -> None:
    """Raise a SettingsError if one is neither True nor False."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise refused(f"LivePtycho: {name}", value, "True or False")


def find_sinks(sinks: Iterable[Sink | str] | Sink | str) -> list[Sink]:
    """Return sinks, those that are named from the registry; one alone may be given without a list.

    Raises
    ------
    SettingsError
        If one is no name and cannot be called.
    NotFoundError
        If a name is not known.
    """
    given: Any = [sinks] if isinstance(sinks, str) or callable(sinks) else sinks
    if not isinstance(given, Iterable):
        raise refused("LivePtycho: sinks", sinks, "names of sinks, or functions that take an Update")
    given = list(given)
    for sink in given:
        if not (isinstance(sink, str) or callable(sink)):
            raise refused("LivePtycho: sinks", sink, "names of sinks, or functions that take an Update")
    return [named_sinks[sink]() if isinstance(sink, str) else sink for sink in given]
