"""Which algorithm makes which pass: "mpie:30,lsqml:50", or "rpie:30,lsqml@100:50" with batches of a size."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import SettingsError
from ..registry import algorithms

UNDIVIDED = ("ml", "raar", "dm", "admm")
"""Algorithms that take all frames at once, so that there are no batches to size."""

ENTRY = re.compile(r"([^:@]+?)\s*(?:@\s*(\d{1,7})\s*)?(?::\s*(\d{1,9})\s*)?", re.ASCII)
MOST_FRAMES = 10**6
"""Of a batch, as in the settings."""


@dataclass(frozen=True)
class Stage:
    """An algorithm, and how it works.

    Attributes
    ----------
    name : str
        In the registry.
    passes : int or None
        Those that it makes; None is all that are left.
    batch : int or None
        Fewest frames of a batch, of which there are as many as the frames make; None leaves both to the settings.
    """

    name: str
    passes: int | None
    batch: int | None = None


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
        """Read ``NAME[@FRAMES][:PASSES],…``.

        Raises
        ------
        SettingsError
            On an empty entry, passes or frames of a batch that are no positive number, passes missing before the last
            stage, or batches for an algorithm that takes all frames at once.
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

    def at(self, before: int, since: int, *, complete: bool, tail: bool) -> Stage:
        """Return the stage of the next pass, after passes `before` and `since` all planned frames were there."""
        if tail:
            return self.stages[-1]
        left = since if complete else 0
        for stage in self.stages:
            earlier = before if stage is self.stages[0] else 0
            own = None if stage.passes is None else max(0, stage.passes - earlier)
            if own is None or left < own or not complete:
                return stage
            left -= own
        return self.stages[-1]


def check_schedule(text: str) -> None:
    """Refuse what :meth:`Schedule.parse` refuses, without importing an algorithm of a plug-in."""
    for stage in _stages(text):
        algorithms.require(stage.name)


def _stages(text: str) -> tuple[Stage, ...]:
    entries = [entry.strip() for entry in text.split(",")]
    return tuple(_stage(entry, text, last=i == len(entries) - 1) for i, entry in enumerate(entries))


def _stage(entry: str, text: str, *, last: bool) -> Stage:
    read = ENTRY.fullmatch(entry)
    name, *numbers = read.groups() if read else ("", None, None)
    batch, passes = (None if number is None else int(number) for number in numbers)
    if not name or 0 in (batch, passes) or (batch or 0) > MOST_FRAMES or (passes is None and not last):
        raise SettingsError(
            f"schedule is {text!r}; expected NAME:PASSES,NAME:PASSES,… with a positive number of passes for "
            "each algorithm, which the last may lack, and before it frames of a batch where wanted, 1 to "
            f"{MOST_FRAMES}: NAME@FRAMES:PASSES"
        )
    if batch is not None and name in UNDIVIDED:
        raise SettingsError(f"schedule is {text!r}; expected no @{batch}, as {name} takes all frames at once")
    return Stage(name, passes, batch)
