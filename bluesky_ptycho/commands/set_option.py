"""The option ``--set NAME=VALUE`` of commands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..errors import SettingsError
from ..settings import MOST_HINTS, Settings, alike

LISTED = "bluesky-ptycho settings lists all"


def read_set(
    texts: Iterable[str],
    owner: type[Settings],
    aliases: Mapping[str, str] | None = None,
    more: str = "",
) -> dict[str, Any]:
    """Return names and values of texts like ``"binning=4"``, for :meth:`Settings.with_changes`.

    The last part of a dotted name will do where one setting alone has it: ``"slices=2"``.

    Parameters
    ----------
    texts : iterable of str
        What followed each ``--set``.
    owner : type
        Whose settings they are.
    aliases : mapping, optional
        Other names that settings have.
    more : str
        Which names there are beside those without a dot, for an error.

    Raises
    ------
    SettingsError
        On a text without a name or a value, a setting named twice, or an unknown name, with names like it.
    """
    known = {name: name for name in owner.names()} | dict(aliases or {})
    named: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise SettingsError(f"--set is {text!r}; expected NAME=VALUE")
        name = name.removeprefix(f"{owner.group}.") if owner.group else name  # as other commands call it
        if "." not in name and name not in known and len(same := _ending(name, owner)) == 1:
            name = same[0]
        if name not in known and owner.group and ("." in name or not alike(name, known)):
            raise SettingsError(  # there are too many of one group for a line
                f"--set {name} is no setting that this command takes; expected one of those that "
                f"'bluesky-ptycho settings {owner.group}' lists"
            )
        if name not in known:
            raise SettingsError(f"--set {name} is no setting; {meant(name, known, more)} ({LISTED})")
        if known[name] in named:
            raise SettingsError(
                f"--set {known[name]} is given as {named[known[name]]} and as {value}; expected it once"
            )
        named[known[name]] = value
    return owner.read_changes(f"{name}={value}" for name, value in named.items())


def with_options(given: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what options of their own say, None where they are not given, and what ``--set`` does.

    Raises
    ------
    SettingsError
        If both say something of one setting.
    """
    told = {name: value for name, value in given.items() if value is not None}
    for name in told.keys() & changes.keys():
        raise SettingsError(f"--set {name}={changes[name]} is given with an option for it; expected one of them")
    return told | dict(changes)


def _ending(name: str, owner: type[Settings]) -> list[str]:
    """Return the dotted names of settings whose last part is `name`."""
    return [each for each in owner.names() if each.endswith(f".{name}")]


def meant(name: str, known: Collection[str], more: str = "") -> str:
    """Return which names a wrong one is like, by their last parts; else those that it stands among."""
    group, _, last = name.rpartition(".")
    ends = {each.rpartition(".")[2] for each in known}
    close = alike(name, known)
    among = [each for each in known if "." in each and each.rpartition(".")[0] == group]
    if among and last not in ends:  # a likeness in another group is none
        close = [each for each in close if each in among]
    beside = [each for each in close if each in among]
    settings = [each for each in close if not each.startswith("recon.")]
    if meant := beside or settings or close:
        return f"did you mean {' or '.join(meant[:MOST_HINTS])}?"
    if among:
        return f"expected {', '.join(among)}"
    return f"expected {', '.join([*(each for each in known if '.' not in each), *([more] if more else [])])}"
