"""Keyword arguments that nobody knows, refused in one line that says which may be meant.

Python's own TypeError does not say it, before 3.13 and where a function passes on what it is given.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterable
from typing import Any, ParamSpec, TypeVar, cast

from .errors import SettingsError
from .settings import MOST_HINTS, Settings, alike

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Settings)

SHORTEST_BEGINNING = 3
"""Letters of a name from which on its rest is guessed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean figure?"``, of what begins like `name`, else is like it; empty where nothing is."""
    known = list(known)
    begun = [each for each in known if len(name) >= SHORTEST_BEGINNING and each.startswith(name)]
    meant = (begun or alike(name, known))[:MOST_HINTS]
    return f"did you mean {' or '.join(meant)}?" if meant else ""


def hint_or_all(name: str, known: Iterable[str]) -> str:
    """Return which of the names `known` may be meant by `name`, or all where none is like it."""
    known = list(known)
    return did_you_mean(name, known) or f"known: {', '.join(known)}"


def refuse_unknown(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise a SettingsError if one of the names of arguments that are `given` is not `known`."""
    known = list(known)
    for name in given:
        if name not in known:
            raise SettingsError(f"{owner} has no argument {name!r}; {hint_or_all(name, known)}")


def keywords_of(function: Callable[..., object]) -> list[str]:
    """Return the names of the arguments that a function takes by name."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in inspect.signature(function).parameters.values() if each.kind in by_name]


def refuses_unknown(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function, plan or ``__init__``: a keyword that it does not know is a SettingsError.

    Signature and docstring stay; a plan stays a generator function, by which Bluesky's queueserver knows plans.
    """
    known = keywords_of(function)
    owner = function.__qualname__.removesuffix(".__init__")
    known = known[1:] if function.__name__ == "__init__" else known

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def plan(*arguments: P.args, **keywords: P.kwargs) -> Generator[Any, Any, Any]:
            refuse_unknown(owner, keywords, known)
            return (yield from function(*arguments, **keywords))

        return cast(Callable[P, R], plan)

    @functools.wraps(function)
    def checked(*arguments: P.args, **keywords: P.kwargs) -> R:
        refuse_unknown(owner, keywords, known)
        return function(*arguments, **keywords)

    return checked


def refuses_unknown_settings(cls: type[S]) -> type[S]:
    """Decorate a settings class: ``SolverSettings(mode=2)`` is refused as ``from_mapping({"mode": 2})`` is."""
    init = cls.__init__

    @functools.wraps(init)
    def checked(self: Settings, *arguments: Any, **values: Any) -> None:
        cls.refuse_unknown(values)
        init(self, *arguments, **values)

    cls.__init__ = checked  # type: ignore[assignment]
    return cls
