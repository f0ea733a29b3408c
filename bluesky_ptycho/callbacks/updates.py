"""What a live run tells its sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..frames import Batch, Snapshot
from ..geometry import Geometry
from ..scan_plan import ScanPlan

if TYPE_CHECKING:
    from ..knobs import Change


@dataclass(frozen=True)
class Progress:
    """Counters of a run at one moment.

    `taken` counts scan points announced by events, `used` those the solver has, `rejected`
    those flagged as bad, `kinds` how many for which reason; `lag` are points taken that are neither used
    nor rejected yet and `lag_s` is the age of the oldest of them in seconds. `residual` is NaN before the
    first pass. `dark_drift` tells how far the camera's levels are from its darks, in σ of these, NaN where that
    is not known. `skipped` counts the snapshots that a busy sink was not shown, because newer ones replaced them.
    `phase` is "warming up" until the solver can take frames, "live" while the scan runs, then "finishing"; "paused"
    while somebody holds the passes back. `settings_version` counts the changes of settings so far. `half_passes` are
    those over the two half data sets of the Fourier ring correlation, which are not among the `iteration`.
    """

    planned: int
    taken: int = 0
    used: int = 0
    rejected: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    lag: int = 0
    lag_s: float = 0.0
    iteration: int = 0
    residual: float = float("nan")
    dark_drift: float = float("nan")
    skipped: int = 0
    elapsed_s: float = 0.0
    phase: Literal["warming up", "live", "paused", "finishing"] = "live"
    settings_version: int = 0
    half_passes: int = 0


@dataclass(frozen=True)
class Update:
    """One message to the sinks of a run.

    Parameters
    ----------
    kind : {"start", "progress", "snapshot", "frames", "final"}
        A run sends one "start", any number of "progress" and "snapshot", and one "final". Sinks that have an attribute
        ``wants_frames`` that is true get all "frames", too: none is skipped, and the analysis, though never the
        scan, waits for a sink that is some of them behind.
    start : mapping
        Start document of the raw run.
    plan, geometry : ScanPlan, Geometry
        What will be measured; geometry of the solver's patterns.
    settings : mapping
        All settings of the reconstruction, as JSON can hold them.
    progress : Progress
    snapshot : Snapshot or None
        With "snapshot", and with "final" if anything was measured.
    stxm : ndarray (rows, cols) float32 or None
        Low-resolution transmission map on the snapshot's canvas grid; with every snapshot.
    newest_point : int or None
        Scan point of the newest frame, used or rejected; with every snapshot, as the next two.
    newest_raw : ndarray (K, H, W) or None
        Its raw frames, one for each exposure.
    newest_clean : ndarray (ny, nx) float32 or None
        Its photons, NaN where the mask leaves a pixel out.
    frames : Batch or None
        With "frames": what the solver has just been given. A scan point may come again, and takes the place of what
        came before; "final" tells in `rejected` which ones turned out to be bad.
    exit_status, reason : str
        With "final": "success", "abort" or "fail", and why.
    rejected : mapping of int to str
        Scan point → reason: a kind of :data:`~bluesky_ptycho.callbacks.frame_verdicts.KINDS`, a colon, details.
    missing : tuple of int
        With "final": points of the run that were neither used nor rejected, because event or frame never came.
    dark_corrected : bool
        False if frames were used without a fitting dark.
    dark_uid : str or None
        Run whose darks are used.
    probe_uid : str or None
        Result run whose probe the solver started from.
    messages : tuple of str
        Warnings of the run so far.
    changes : tuple of Change
        Changes of the settings so far; the newest is in `settings`.
    result_uid : str or None
        Result run that this is read from; None for what a live run tells itself.
    """

    kind: Literal["start", "progress", "snapshot", "frames", "final"]
    start: Mapping[str, Any]
    plan: ScanPlan
    geometry: Geometry
    settings: Mapping[str, Any]
    progress: Progress
    snapshot: Snapshot | None = None
    stxm: NDArray[np.float32] | None = None
    newest_point: int | None = None
    newest_raw: NDArray[Any] | None = None
    newest_clean: NDArray[np.float32] | None = None
    frames: Batch | None = None
    exit_status: str = ""
    reason: str = ""
    rejected: Mapping[int, str] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    dark_corrected: bool = True
    dark_uid: str | None = None
    probe_uid: str | None = None
    messages: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    result_uid: str | None = None


Sink = Callable[[Update], None]
"""A sink is any callable that takes an :class:`Update`; it runs in a thread of its own, one for each run."""


def in_ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as a person writes them: "3, 7-9"."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ends)
