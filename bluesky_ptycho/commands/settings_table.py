"""All settings with value, unit, allowed values and meaning, as their declarations tell them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SettingsError
from ..settings import Settings, as_text
from .set_option import meant

WIDTH = 110


@dataclass(frozen=True)
class Entry:
    """A setting.

    Parameters
    ----------
    name : str
        With dots, as ``"solver.modes"``.
    value, default
        As JSON can hold them.
    unit : str
        Empty where it has none.
    expected : str
        Which values it takes, in words.
    meaning : str
    knob : str or None
        Other name of it, that of the knob that turns it while a scan runs.
    """

    name: str
    value: Any
    default: Any
    unit: str
    expected: str
    meaning: str
    knob: str | None

    @property
    def group(self) -> str:
        """What stands before the last dot; empty where there is none."""
        return self.name.rpartition(".")[0]

    @property
    def last(self) -> str:
        """What stands behind the last dot."""
        return self.name.rpartition(".")[2]


def list_entries(settings: Settings, knobs: Mapping[str, str], beginning: str = "") -> list[Entry]:
    """Return the settings, in the order of their declarations, whose name or last part has a beginning.

    Parameters
    ----------
    settings : Settings
        Whose values are shown.
    knobs : mapping
        Dotted names of settings by other names that they have; these are searched too.
    beginning : str
        A full name finds that setting alone.

    Raises
    ------
    SettingsError
        If there is none, with names like it.
    """
    others = {name: knob for knob, name in knobs.items()}
    defaults, told = type(settings)().to_dict(), settings.to_dict()
    entries = []
    for name in settings.names():
        field = settings.field_of(name)
        entries.append(
            Entry(
                name,
                _at(told, name),
                _at(defaults, name),
                field.metadata["unit"],
                settings.expected(name),
                field.metadata["doc"],
                others.get(name),
            )
        )
    exact = knobs.get(beginning, beginning)
    found = [entry for entry in entries if exact in (entry.name, entry.last)] or [
        entry
        for entry in entries
        if any(each.startswith(beginning) for each in (entry.name, entry.last, entry.knob or ""))
    ]
    if not found:
        groups = dict.fromkeys(name.rpartition(".")[0] for name in (*settings.names(), *knobs) if "." in name)
        known = [*settings.names(), *knobs, *groups]
        raise SettingsError(f"no setting is called {beginning!r} or begins so; {meant(beginning, known)}")
    return found


def _at(values: Mapping[str, Any], name: str) -> Any:
    found: Any = values
    for part in name.split("."):
        found = found[part]
    return found


def as_list(entries: Iterable[Entry]) -> str:
    """Return the settings to be read by a person, group by group."""
    blocks = []
    for group, members in _grouped(entries).items():
        blocks.append(f"{group or 'of the run'}:")
        for entry in members:
            note = "" if entry.value == entry.default else f"; default {as_text(entry.default) or '(empty)'}"
            knob = f"; also {entry.knob}" if entry.knob else ""
            blocks.append(f"  {entry.name} = {as_text(entry.value) or '(empty)'}   ({_wanted(entry)}{note}{knob})")
            blocks.append(textwrap.fill(entry.meaning, WIDTH, initial_indent="      ", subsequent_indent="      "))
    return "\n".join(blocks)


def as_json(entries: Iterable[Entry]) -> str:
    """Return the settings for programs, a list of objects."""
    names = ("name", "value", "default", "unit", "expected", "meaning", "knob")
    return json.dumps([{name: getattr(entry, name) for name in names} for entry in entries], indent=2)


def as_toml(entries: Iterable[Entry]) -> str:
    """Return a settings file, where what has its default is commented out."""
    lines = [
        "# Settings for bluesky-ptycho --settings FILE. What begins with # has its default: remove the # and change it."
    ]
    for group, members in _grouped(entries).items():
        lines += ["", f"[{group}]"] if group else []
        for entry in members:
            told = f"{entry.meaning} ({_wanted(entry)})"
            lines += ["", textwrap.fill(told, WIDTH, initial_indent="# ", subsequent_indent="# ")]
            # JSON writes numbers, texts, lists and switches as TOML does, but TOML has no word for none.
            value = "" if entry.value is None else f" {json.dumps(entry.value)}"
            mark = "#" if entry.value == entry.default or entry.value is None else ""
            lines.append(f"{mark}{entry.last} ={value}")
    return "\n".join(lines)


def _wanted(entry: Entry) -> str:
    return f"{entry.expected}{f', in {entry.unit}' if entry.unit else ''}"


def _grouped(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return entries by group, those without one first, where a TOML file needs them."""
    groups: dict[str, list[Entry]] = {"": []}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    return {group: members for group, members in groups.items() if members}
