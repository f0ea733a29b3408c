"""Arguments that do not fit, refused in one line: which names may be meant, what else is expected.

Python's own TypeError does not say it: the first not before 3.13 and where a function passes on what it is given, the
second nowhere.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from .errors import SettingsError
from .settings import MOST_HINTS, Settings, alike

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Settings)

SHORTEST_BEGINNING = 3
"""Letters of a name from which on its rest is guessed."""
SELF = "self"
"""What nobody passes."""


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


def refuse_misfit(owner: str, signature: inspect.Signature, given: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Raise a SettingsError if arguments lack or are too many."""
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        told = [_told(each) for name, each in signature.parameters.items() if name != SELF]
        raise SettingsError(f"{owner}(): {error}; expected {owner}{inspect.Signature(told)}") from None


class _LeftOut:
    """A default that is not shown."""

    def __repr__(self) -> str:
        return ""


def _told(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return an argument that is shown as ``name``, or as ``name=`` where it may be left out."""
    default = parameter.default if parameter.default is inspect.Parameter.empty else _LeftOut()
    return parameter.replace(annotation=inspect.Parameter.empty, default=default)


def keywords_of(function: Callable[..., object]) -> list[str]:
    """Return the names of the arguments that a function takes by name."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in inspect.signature(function).parameters.values() if each.kind in by_name]


def checks_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function, plan or ``__init__``: arguments that it does not know, or lacks, are a SettingsError.

    Signature and docstring stay; a plan stays a generator function, by which Bluesky's queueserver knows plans.
    """
    owner = function.__qualname__.removesuffix(".__init__")
    signature = inspect.signature(function)
    known = [name for name in keywords_of(function) if name != SELF]

    def check(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        refuse_unknown(owner, keywords, known)
        refuse_misfit(owner, signature, arguments, keywords)

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def plan(*arguments: P.args, **keywords: P.kwargs) -> Generator[Any, Any, Any]:
            check(arguments, keywords)
            return (yield from function(*arguments, **keywords))

        return cast(Callable[P, R], plan)

    @functools.wraps(function)
    def checked(*arguments: P.args, **keywords: P.kwargs) -> R:
        check(arguments, keywords)
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
