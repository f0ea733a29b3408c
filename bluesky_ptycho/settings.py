"""Frozen settings: validated when made, recorded in every result.

A settings class is a frozen dataclass that derives from :class:`Settings` and declares its
fields with :func:`setting`, so that range, choices, unit and meaning stand in one place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import math
import numbers
import reprlib
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, TypeVar

from .errors import SettingsError

MOST_HINTS = 2
"""Names that an error says may have been meant."""
DOCUMENTED_WIDTH = 110


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    unit: str = "",
) -> Any:
    """Declare a field of a :class:`Settings` class.

    Parameters
    ----------
    default
        Default value (immutable).
    doc : str
        What the setting does, in one sentence.
    low, high : float, optional
        Inclusive bounds of a number.
    choices : tuple, optional
        Allowed values.
    unit : str, optional
        Unit of the value ("s", "photon").
    """
    return dataclasses.field(
        default=default,
        metadata={"doc": doc, "low": low, "high": high, "choices": choices, "unit": unit},
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of all settings classes.

    Raises
    ------
    SettingsError
        On an unknown name, a wrong type, a number out of range or an unknown choice. The
        message names the field, the value and what was expected.
    """

    group: ClassVar[str | None] = None
    """What stands before the dot in the names that users type: "solver" in "solver.modes", empty where nothing does.

    None for settings that nobody types: errors name their class."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, self._checked(field, value, hints[field.name]))

    @classmethod
    def called(cls, name: object) -> str:
        """Return how errors call the setting `name`: as it is typed, with its group."""
        group = cls.__name__ if cls.group is None else cls.group
        return f"{group}.{name}" if group else str(name)

    @classmethod
    def _checked(cls, field: dataclasses.Field[Any], value: Any, hint: Any) -> Any:
        """Return `value` as the type that `hint` asks for, or raise :class:`SettingsError`."""

        def refuse(wrong: Any) -> typing.NoReturn:
            unit = f" {field.metadata['unit']}" if field.metadata.get("unit") and _is_number(wrong) else ""
            told = f"{cls.called(field.name)} is {_as_typed(wrong)}{unit}"
            if isinstance(wrong, float) and not math.isfinite(wrong):
                raise SettingsError(f"{told}; expected a finite number")
            raise SettingsError(f"{told}; expected {cls.expected(field.name)}")

        given, value = value, _as_type(value, hint, refuse)
        low, high, choices = (field.metadata.get(k) for k in ("low", "high", "choices"))
        if value is None:
            return value
        several = isinstance(value, tuple)
        for number, as_given in zip(value, given, strict=True) if several else ((value, given),):
            endless = isinstance(number, float) and not math.isfinite(number)
            below, above = low is not None and number < low, high is not None and number > high
            if (choices is not None and number not in choices) or endless or below or above:
                refuse(as_given if type(as_given) is int else number)
        return value

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Make settings from names and values; unknown names are refused."""
        cls.refuse_unknown(values)
        return cls(**values)

    @classmethod
    def refuse_unknown(cls, names: Iterable[object]) -> None:
        """Raise a SettingsError that says which may be meant, if there is no such setting."""
        known = [f.name for f in dataclasses.fields(cls)]
        for name in names:
            if name not in known:
                close = alike(str(name), dict.fromkeys([*known, *cls.names()]))[:MOST_HINTS]
                hint = f"did you mean {' or '.join(close)}? " if close else ""
                raise SettingsError(f"{cls.called(name)} is no setting; {hint}known: {', '.join(known)}")

    @classmethod
    def read_changes(cls, texts: Iterable[str]) -> dict[str, Any]:
        """Return names and values of texts like ``"binning=4"``, for :meth:`from_mapping`.

        ``none``, ``true`` and ``false`` are what they say, entries of a tuple are separated by commas; what
        cannot be read as the setting's type stays text, which is refused when settings are made of it. Dots reach
        into settings within settings: ``"solver.modes=3"``, for :meth:`with_changes`.

        Raises
        ------
        SettingsError
            On a text without a name or a value, or an unknown name.
        """
        hints = typing.get_type_hints(cls)
        found: dict[str, Any] = {}
        for text in texts:
            name, equals, value = (part.strip() for part in text.partition("="))
            if not (name and equals and value):
                raise SettingsError(f"setting is {text!r}; expected NAME=VALUE")
            part, _, inner = name.partition(".")
            if inner and isinstance(hints.get(part), type) and issubclass(hints[part], Settings):
                changes = hints[part].read_changes([f"{inner}={value}"])
                found |= {f"{part}.{key}": changed for key, changed in changes.items()}
                continue
            if name not in hints:
                cls.from_mapping({name: None})  # refused with the list of known names
            found[name] = _from_text(value, hints[name])
        return found

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all settings, with dots those of settings within."""
        hints = typing.get_type_hints(cls)
        found: list[str] = []
        for field in dataclasses.fields(cls):
            hint = hints[field.name]
            inner = hint.names() if isinstance(hint, type) and issubclass(hint, Settings) else None
            found += [field.name] if inner is None else [f"{field.name}.{name}" for name in inner]
        return found

    def replace(self, **changes: Any) -> Self:
        """Return a copy with `changes`, validated like a new object."""
        return type(self).from_mapping({**self._fields(), **changes})

    def with_changes(self, **changes: Any) -> Self:
        """Return a copy where dotted names (``"solver.modes"``) reach into the parts."""
        own: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            part, _, inner = name.partition(".")
            if inner:
                parts.setdefault(part, {})[inner] = value
            else:
                own[name] = value
        for part, inner_changes in parts.items():
            current = getattr(self, part, None)
            if not isinstance(current, Settings):
                return self.replace(**{part: inner_changes})  # refused with the list of known names
            own[part] = current.replace(**inner_changes)
        return self.replace(**own)

    @classmethod
    def field_of(cls, name: str) -> dataclasses.Field[Any]:
        """Return the field that a dotted name means; its metadata are what :func:`setting` was given."""
        part, _, inner = name.partition(".")
        if inner:
            found: dataclasses.Field[Any] = typing.get_type_hints(cls)[part].field_of(inner)
            return found
        return cls.__dataclass_fields__[part]

    @classmethod
    def expected(cls, name: str) -> str:
        """Return in words which values the setting of a dotted name takes: ``"a number, 0 <= value <= 1"``."""
        part, _, inner = name.partition(".")
        hint = typing.get_type_hints(cls)[part]
        if inner:
            return str(hint.expected(inner))
        field = cls.__dataclass_fields__[part]
        if choices := field.metadata.get("choices"):
            words = f"one of {', '.join(map(as_text, choices))}"
        else:
            words = ", ".join(part for part in (_in_words(_without_none(hint)), allowed(field)) if part)
        return f"{words}, or none" if type(None) in typing.get_args(hint) else words

    def value_of(self, name: str) -> Any:
        """Return the value of the setting that a dotted name means."""
        part, _, inner = name.partition(".")
        value = getattr(self, part)
        return value.value_of(inner) if inner else value

    def _fields(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def to_dict(self) -> dict[str, Any]:
        """Return names and values as JSON can hold them."""
        return {name: _plain(value) for name, value in self._fields().items()}


S = TypeVar("S", bound=Settings)


def documented(cls: type[S]) -> type[S]:
    """Decorate a settings class: its docstring, which ``?`` shows, lists the settings as they are declared."""
    own, raises, errors = inspect.cleandoc(cls.__doc__ or "").partition("\n\nRaises\n")
    lines = [line for field in dataclasses.fields(cls) for line in _described(field, cls.__name__)]
    cls.__doc__ = "\n".join([own, "", "Parameters", "----------", *lines]) + raises + errors
    return cls


def _described(field: dataclasses.Field[Any], owner: str) -> list[str]:
    """Return name, default, unit, what is allowed and meaning of a field, as a docstring lists parameters."""
    told = field.metadata
    if "doc" not in told:  # settings within settings
        return [f"{field.name} : {field.type}", f"    ``{owner}().{field.name}?`` lists them."]
    choices = ", ".join(as_text(each) for each in told["choices"] or ())
    unit = told["unit"] and f"in {told['unit']}"
    facts = (f"default {_as_typed(field.default)}", unit, choices and f"one of {choices}", allowed(field))
    head = f"{field.name} : {', '.join(fact for fact in facts if fact)}"
    return [head, *textwrap.wrap(told["doc"], DOCUMENTED_WIDTH, initial_indent="    ", subsequent_indent="    ")]


def alike(name: str, known: Iterable[str]) -> list[str]:
    """Return those of the dotted names `known` whose last part is like that of `name`, the likest first."""
    known = list(known)
    ends = dict.fromkeys(each.rpartition(".")[2] for each in known)
    like = difflib.get_close_matches(name.rpartition(".")[2], ends, MOST_HINTS, 0.7)
    return [each for end in like for each in known if each.rpartition(".")[2] == end]


def as_text(value: Any) -> str:
    """Return a value as somebody would type it, so that :meth:`Settings.read_changes` reads it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _from_text(text: str, hint: Any) -> Any:
    """Read a value as the type that `hint` asks for; text that is none stays text."""
    arguments = typing.get_args(hint)
    if _is_union(hint):
        if text.lower() == "none" and type(None) in arguments:
            return None
        return _from_text(text, _without_none(hint))
    if typing.get_origin(hint) is tuple:
        return tuple(_from_text(part.strip(), arguments[0]) for part in text.split(",") if part.strip())
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    kinds = {int: (int,), float: (int, float)}.get(hint, ())  # what is refused is shown as it was typed
    for kind in kinds:
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def allowed(field: dataclasses.Field[Any]) -> str:
    """Return what numbers a field takes, in words: ``"0 <= value <= 1"``; empty where any."""
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if low is None and high is None:
        return ""
    least, most = ("" if bound is None else _as_typed(bound) for bound in (low, high))
    return f"{least and f'{least} <= '}value{most and f' <= {most}'}"


def _as_type(value: Any, hint: Any, refuse: Callable[[Any], typing.NoReturn]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        if value is None and type(None) in arguments:
            return None
        return _as_type(value, _without_none(hint), refuse)
    if origin is tuple and isinstance(value, (tuple, list)):
        inner = arguments[0] if arguments else Any
        return tuple(_as_type(v, inner, refuse) for v in value)
    if isinstance(hint, type) and issubclass(hint, Settings) and isinstance(value, Mapping):
        return hint.from_mapping(value)
    if hint is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    if hint is int and (_is_whole(value) or (isinstance(value, float) and value.is_integer())):
        return int(value)
    if hint is Any or (
        isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    ):
        return value
    return refuse(value)


def _as_typed(value: Any) -> str:
    """Return a wrong value in a few letters, a whole number as most people write it, without ``.0``."""
    text = reprlib.repr(value)
    return text.removesuffix(".0") if isinstance(value, float) else text


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _without_none(hint: Any) -> Any:
    """Return the type that a hint asks for of what is not None, the first of several."""
    return next((each for each in typing.get_args(hint) if each is not type(None)), hint) if _is_union(hint) else hint


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _in_words(hint: Any) -> str:
    """Return what values a type stands for, in the words of who writes a settings file."""
    if typing.get_origin(hint) is tuple:
        (inner, *_) = typing.get_args(hint)
        return f"a list, each {_in_words(inner)}"
    if isinstance(hint, type) and issubclass(hint, Settings):
        return "a table of settings"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return words.get(hint, str(hint))
