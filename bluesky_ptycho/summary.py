"""The few figures that every command leaves in ``summary.json``."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Figures of a reconstruction; None where unknown.

    Parameters
    ----------
    raw_uid, result_uid : str or None
        Run of the measurement; run of this result.
    n_frames : int or None
        Scan points measured.
    scan_seconds : float or None
        Duration of the scan itself.
    seconds_after_last_frame : float or None
        From the last frame to the final result.
    iterations : int or None
        Passes over the frames.
    residual : float or None
        R = Σ(√I − |Ψ|)² / ΣI of the final state over all frames and valid pixels.
    object_nrmse : float or None
        Error against the known object of a simulation.
    frc_resolution_m : float or None
        Half pitch in m at the 1/2-bit crossing of the FRC of two half data sets.
    frames_lost : int or None
        Scan points measured that neither reached the solver nor were rejected for a reason.
    """

    raw_uid: str | None = None
    result_uid: str | None = None
    n_frames: int | None = None
    scan_seconds: float | None = None
    seconds_after_last_frame: float | None = None
    iterations: int | None = None
    residual: float | None = None
    object_nrmse: float | None = None
    frc_resolution_m: float | None = None
    frames_lost: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all keys; numbers that are not finite become None, which JSON can hold."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }

    def write(self, path: Path | str) -> None:
        """Write JSON; the file appears whole or not at all."""
        path = Path(path)
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        aside.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        os.replace(aside, path)
