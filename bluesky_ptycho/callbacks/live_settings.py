"""Settings of a live reconstruction: preprocessing, solver and hand-over in one frozen object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..keywords import refuses_unknown_settings
from ..knobs import AnalysisSettings
from ..recon.memory import bytes_of
from ..registry import names_as_stored
from ..settings import documented, setting


@documented
@refuses_unknown_settings
@dataclass(frozen=True)
class LiveSettings(AnalysisSettings):
    """How a run is analysed while it is measured; recorded whole in the result run."""

    group: ClassVar[str | None] = ""

    backend: str = setting("auto", "Array backend of preprocessing and solver.", choices=("auto", "numpy", "cupy"))
    first_probe: str = setting(
        "plan",
        "Where the probe starts: from the plan's zone plate, or from the last good result of the same geometry.",
        choices=("plan", "last"),
    )
    passes: int = setting(
        40,
        "How often each frame is used, on average: while frames come as far as time allows, the rest after the last.",
        low=1,
        high=10**6,
    )
    chunk: int = setting(16, "Scan points read and preprocessed at once.", low=1, high=4096)
    progress_interval_s: float = setting(1.0, "Time between progress messages.", low=0.05, unit="s")
    snapshot_interval_s: float = setting(3.0, "Time between snapshots for the sinks.", low=0.05, unit="s")
    patience_s: float = setting(10.0, "How long to wait for announced rows to appear in the file.", low=0.0, unit="s")
    sink_patience_s: float = setting(60.0, "How long the end of a run waits for a sink.", low=0.0, unit="s")
    checkpoint_interval_s: float = setting(10.0, "Least time between checkpoints.", low=0.0, unit="s")
    watchdog_s: float = setting(
        120.0,
        "How long the process of the analysis may give no sign of life, at least; then it is replaced.",
        low=1.0,
        unit="s",
    )
    frame_roots: tuple[str, ...] = setting(
        (),
        "Directories that frames may lie below; without any, those that the catalog reads, or all if it is elsewhere.",
    )
    memory_budget: str | int | None = setting(
        None, 'Memory that the reconstruction may take: bytes, or "2 GB"; frames beyond it lie on the disk.'
    )
    frc: bool = setting(True, "Whether the final result carries the FRC of two half data sets.")

    def __post_init__(self) -> None:
        if isinstance(self.memory_budget, int) and not isinstance(self.memory_budget, bool):
            object.__setattr__(self, "memory_budget", str(self.memory_budget))
        super().__post_init__()
        bytes_of(self.memory_budget)

    @classmethod
    def from_stored(cls, values: Mapping[str, Any]) -> Self:
        """Make settings of what was stored; algorithms and steps may be of plug-ins that are not enabled here."""
        with names_as_stored():
            return cls.from_mapping(values)
