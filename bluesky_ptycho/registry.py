"""Named tables of detectors, preprocessing steps, algorithms and sinks.

One class and the four tables that the package is extended through: adding an algorithm or a
step means one function in one file under one decorator. Other distributions extend them by entry
points, once they are enabled by name (:func:`enable_plugins`); of those only what is asked for is ever imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any, Generic, TypeVar

from .errors import NotFoundError, PtychoError, SettingsError
from .keywords import did_you_mean

T = TypeVar("T")

_enabled: dict[str, str] = {}


def enable_plugins(*distributions: str) -> None:
    """Let installed distributions extend this process's tables by their entry points; without it none can.

    Parameters
    ----------
    *distributions : str
        Names of distributions ("beamline-steps"). A result lists them with their versions.

    Raises
    ------
    NotFoundError
        If one is not installed.
    """
    for name in distributions:
        try:
            _enabled[_normal(name)] = version(name)
        except (PackageNotFoundError, ValueError):
            raise NotFoundError(f"plug-in {name!r} is not installed") from None


def enabled_plugins() -> dict[str, str]:
    """Return the enabled distributions with their versions."""
    return dict(_enabled)


_as_stored: ContextVar[bool] = ContextVar("as_stored", default=False)


@contextmanager
def names_as_stored() -> Iterator[None]:
    """Let settings that are made meanwhile name what nothing here offers.

    A stored result may name an algorithm or a step of a plug-in that is not enabled any more; it can still be read.
    """
    token = _as_stored.set(True)
    try:
        yield
    finally:
        _as_stored.reset(token)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping that is filled by its :meth:`register` decorator, and by entry points where it has a group.

    Iteration and length tell what is registered; an entry point counts once it was asked for.

    Parameters
    ----------
    kind : str
        What the table holds ("algorithm"); used in error messages.
    group : str, optional
        Group of the entry points that other distributions offer entries by.

    Examples
    --------
    >>> shapes = Registry("shape")
    >>> @shapes.register("round")
    ... def circle(): ...
    >>> list(shapes)
    ['round']
    """

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters its argument under `name`.

        Raises
        ------
        SettingsError
            If another object is registered under `name` already.
        """

        def enter(entry: T) -> T:
            if self._entries.setdefault(name, entry) is not entry:
                raise SettingsError(f"{self.kind} {name!r} is registered already")
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        """Return the entry called `name`; one of an entry point is imported now.

        Raises
        ------
        NotFoundError
            If there is none, or only a distribution offers it that is not enabled.
        PtychoError
            If an entry point of that name cannot be loaded, or several distributions offer it.
        """
        if name not in self._entries:
            self._load(name)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or any(point.name == name for point in self._offered())

    def require(self, name: str) -> None:
        """Refuse a name that a setting gives and nothing offers, as a look-up does; what it names is not imported.

        Nothing is refused of settings that are read as they were stored (:func:`names_as_stored`).

        Raises
        ------
        NotFoundError
            If there is no such entry.
        """
        if name not in self and not _as_stored.get():
            self[name]

    def _offered(self, *, enabled: bool = True) -> list[EntryPoint]:
        found = [] if self.group is None else list(entry_points(group=self.group))
        return [point for point in found if (_distribution(point) in _enabled) == enabled]

    def _load(self, name: str) -> None:
        offered = self._offered()
        found = {point.value: point for point in offered if point.name == name}
        if not found:
            off = [point for point in self._offered(enabled=False) if point.name == name]
            if off:
                raise NotFoundError(
                    f"{self.kind} {name!r} is offered by {_owner(off[0])}, which is not enabled; "
                    f"enable_plugins({_distribution(off[0])!r}), or --plugin {_distribution(off[0])}, would let it run"
                )
            known = sorted({*self._entries, *(point.name for point in offered)})
            meant = did_you_mean(name, known)
            raise NotFoundError(
                f"{self.kind} {name!r} is not known{meant and f'; {meant}'}; known: {', '.join(known) or 'none'}"
            )
        owners = " and ".join(sorted(_owner(point) for point in found.values()))
        if len(found) > 1:
            raise PtychoError(f"{self.kind} {name!r} is offered by {owners}; expected one of them to be installed")
        try:
            (entry,) = (point.load() for point in found.values())
        except Exception as error:  # whatever somebody else's module does when it is imported
            raise PtychoError(
                f"{self.kind} {name!r} of {owners} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        # A module that registers its function itself has done so by now.
        self._entries.setdefault(name, entry)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _distribution(point: EntryPoint) -> str:
    return "" if point.dist is None else _normal(point.dist.name)


def _owner(point: EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"


detectors: Registry[Any] = Registry("detector", "bluesky_ptycho.detectors")
"""How raw frames of a kind of detector are read: entries of `preprocess.layouts`, by the layout's name."""

preprocessing_steps: Registry[Callable[..., Any]] = Registry("preprocessing step", "bluesky_ptycho.preprocessing_steps")
algorithms: Registry[Callable[..., Any]] = Registry("algorithm", "bluesky_ptycho.algorithms")
sinks: Registry[Callable[..., Any]] = Registry("sink", "bluesky_ptycho.sinks")
"""Called without arguments, an entry gives a sink for `callbacks.LivePtycho`."""
