"""What can be turned while a scan is reconstructed, between the devices that have knobs and the analysis that obeys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from .preprocess import PreprocessSettings
from .recon import SolverSettings
from .recon.schedule import Schedule
from .settings import Settings, setting

Request = Mapping[str, Any]
"""What is asked for: dotted names of :class:`AnalysisSettings`, or names of :class:`Commands`, with values for JSON."""

Listener = Callable[[Request], None]
"""Takes a request at once, or raises what is wrong with it."""


@dataclass(frozen=True)
class AnalysisSettings(Settings):
    """The settings that make an image of frames."""

    group: ClassVar[str | None] = ""

    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    solver: SolverSettings = field(default_factory=SolverSettings)


@dataclass(frozen=True)
class Commands(Settings):
    """What is done to a solver, beside its settings."""

    group: ClassVar[str | None] = ""

    paused: bool = setting(
        False, "Frames are taken and cleaned, but no pass is made until it is false again or the scan ends."
    )
    reset: bool = setting(False, "The solver starts again from the frames it has; falls back to false.")


@dataclass(frozen=True)
class Change:
    """A request that a running analysis has obeyed.

    Parameters
    ----------
    version : int
        1 for the first of a run; what a run starts with is version 0.
    changed : mapping
        The request.
    settings : mapping
        All settings from then on, as JSON can hold them.
    frames_used, iteration : int
        Frames that the solver held, and passes that it had made since it began, when it took effect.
    time : float
        Seconds since 1970.
    """

    version: int
    changed: Request
    settings: Mapping[str, Any]
    frames_used: int
    iteration: int
    time: float


class Control(Protocol):
    """Where somebody turns knobs: :class:`~bluesky_ptycho.devices.ReconControl`."""

    @property
    def name(self) -> str:
        """By which a user knows it."""

    def connect(self, settings: AnalysisSettings, listener: Listener) -> None:
        """Show `settings` on the knobs, and tell `listener` from now on what they are turned to."""

    def disconnect(self, listener: Listener) -> None:
        """Tell `listener` no more."""


S = TypeVar("S", bound=AnalysisSettings)


def turned(settings: S, request: Request) -> S:
    """Return `settings` after `request`, whose commands only are checked.

    Raises
    ------
    SettingsError, NotFoundError
        If a name, a value or an algorithm is not known, or a value is out of range.
    """
    commands = Commands.__dataclass_fields__
    Commands.from_mapping({name: value for name, value in request.items() if name in commands})
    settings = settings.with_changes(**{name: value for name, value in request.items() if name not in commands})
    Schedule.parse(settings.solver.algorithm)
    return settings
