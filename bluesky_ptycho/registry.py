"""Named tables of detectors, preprocessing steps, algorithms and sinks.

One class and the four tables that the package is extended through: adding an algorithm or a
step means one function in one file under one decorator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from .errors import NotFoundError, SettingsError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping that is filled by its :meth:`register` decorator.

    Parameters
    ----------
    kind : str
        What the table holds ("algorithm"); used in error messages.

    Examples
    --------
    >>> shapes = Registry("shape")
    >>> @shapes.register("round")
    ... def circle(): ...
    >>> list(shapes)
    ['round']
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
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
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(sorted(self._entries)) or "none"
            raise NotFoundError(f"{self.kind} {name!r} is not known; known: {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


detectors: Registry[Any] = Registry("detector")
"""How raw frames of a kind of detector are read: entries of `preprocess.layouts`, by the layout's name."""

preprocessing_steps: Registry[Callable[..., Any]] = Registry("preprocessing step")
algorithms: Registry[Callable[..., Any]] = Registry("algorithm")
sinks: Registry[Callable[..., Any]] = Registry("sink")
"""Called without arguments, an entry gives a sink for `callbacks.LivePtycho`."""
