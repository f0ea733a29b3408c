"""Which algorithm makes which pass: "mpie:30,lsqml:50"."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingsError
from ..registry import algorithms


@dataclass(frozen=True)
class Stage:
    """An algorithm and the passes that it makes; None is all that are left."""

    name: str
    passes: int | None


@dataclass(frozen=True)
class Schedule:
    """Stages, one after the other.

    While frames still arrive the first stage goes on, however many passes there is time for. Passes are counted from
    the one that finds all planned frames; those made before count for the first stage only. The tail that follows the
    scan's end belongs to the last stage.
    """

    stages: tuple[Stage, ...]

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read ``NAME[:PASSES],…``.

        Raises
        ------
        SettingsError
            On an empty entry or passes that are no positive number, or missing before the last stage.
        NotFoundError
            If there is no such algorithm.
        """
        stages = _stages(text)
        for stage in stages:
            algorithms[stage.name]
        return cls(stages)

    @property
    def total(self) -> int | None:
        """Passes of all stages; None where the last goes on."""
        counts = [stage.passes for stage in self.stages]
        return None if counts[-1] is None else sum(count or 0 for count in counts)

    @property
    def before_last(self) -> int:
        """Passes of all stages but the last."""
        return sum(stage.passes or 0 for stage in self.stages[:-1])

    def at(self, before: int, since: int, *, complete: bool, tail: bool) -> str:
        """Return the algorithm of the next pass, after passes `before` and `since` all planned frames were there."""
        if tail:
            return self.stages[-1].name
        left = since if complete else 0
        for stage in self.stages:
            earlier = before if stage is self.stages[0] else 0
            own = None if stage.passes is None else max(0, stage.passes - earlier)
            if own is None or left < own or not complete:
                return stage.name
            left -= own
        return self.stages[-1].name


def check_schedule(text: str) -> None:
    """Refuse what :meth:`Schedule.parse` refuses, without importing an algorithm of a plug-in."""
    for stage in _stages(text):
        algorithms.require(stage.name)


def _stages(text: str) -> tuple[Stage, ...]:
    entries = [entry.strip() for entry in text.split(",")]
    stages = []
    for i, entry in enumerate(entries):
        name, colon, count = (part.strip() for part in entry.partition(":"))
        last = i == len(entries) - 1
        if not name or (colon and not (count.isdecimal() and int(count) > 0)) or not (colon or last):
            raise SettingsError(
                f"schedule is {text!r}; expected NAME:PASSES,NAME:PASSES,… with a positive number of passes for "
                "each algorithm, which the last may lack"
            )
        stages.append(Stage(name, int(count) if colon else None))
    return tuple(stages)
