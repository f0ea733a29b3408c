"""The few figures that every command leaves in ``summary.json``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .whole_file import write_whole


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
    propagation : {"far", "near"} or None
    focus_to_sample_m : float or None
        As in :class:`~bluesky_ptycho.geometry.Geometry`.
    input_file : str or None
        File of the measurement, where it is no run of a catalog.
    settings_given : dict or None
        Settings of the solver that were asked for and are not the defaults; ``result.cxi`` holds all of them.
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
    propagation: str | None = None
    focus_to_sample_m: float | None = None
    input_file: str | None = None
    settings_given: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all keys; numbers that are not finite become None, which JSON can hold."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }

    def write(self, path: Path | str) -> None:
        """Write JSON; the file appears whole or not at all."""
        write_whole(path, (json.dumps(self.to_dict(), indent=2) + "\n").encode())

    def describe(self, limit_m: float | None = None) -> str:
        """Say in a line how good the reconstruction is.

        Parameters
        ----------
        limit_m : float, optional
            Half pitch that the pixels allow, the last ring of the FRC.
        """
        known = self.to_dict()
        parts = [f"resolution {resolution_text(self.frc_resolution_m, limit_m) or 'unknown'}"]
        if known["residual"] is not None:
            parts.append(f"residual {self.residual:.4g}")
        if known["object_nrmse"] is not None:
            parts.append(f"error {self.object_nrmse:.3g} against the known object")
        if known["frames_lost"] is not None:
            parts.append(f"{self.frames_lost} of {self.n_frames} frames lost")
        if known["seconds_after_last_frame"] is not None:
            parts.append(f"done {self.seconds_after_last_frame:.1f} s after the last frame")
        return ", ".join(parts)


def resolution_text(resolution_m: float | None, limit_m: float | None = None) -> str:
    """Return a resolution in words; empty where it is not known.

    Parameters
    ----------
    resolution_m : float or None
        Half pitch in m; None or NaN where the FRC never was above its criterion, or was not made.
    limit_m : float, optional
        Half pitch that the pixels allow: an FRC that stays above its criterion says no more than that
        the resolution is not coarser.
    """
    if resolution_m is None or not math.isfinite(resolution_m):
        return ""
    text = f"{resolution_m * 1e9:.1f} nm"
    at_limit = limit_m is not None and resolution_m <= limit_m * (1 + 1e-6)
    return f"{text} or finer (pixel limit)" if at_limit else text
