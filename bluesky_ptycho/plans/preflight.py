"""The check before the shutter opens: pure arithmetic on what is planned and what is there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..errors import PreflightError, SettingsError
from ..geometry import ENERGY_TIMES_WAVELENGTH_EV_M, Canvas, Geometry
from ..recon.memory import reconstruction_bytes
from ..scan_plan import Illumination, ScanPlan

STRICTNESS = ("normal", "strict", "force")

OVERLAP_REFUSED = 0.20
OVERLAP_WARNED = 0.60
"""Linear overlap of neighbouring illuminations below which ptychography gets unreliable."""
SAMPLED_POINTS = 2000
LEAST_STEP = 0.1
"""Pixels of the object from one point to the next below which it is no scan, but a length in the wrong unit."""


@dataclass(frozen=True)
class Resources:
    """What the scan may use.

    Parameters
    ----------
    bytes_per_frame : int
        Of a raw frame on disk.
    seconds_per_point : float
        From one scan point to the next.
    disk_free, memory_free : int or None
        In bytes; None where unknown.
    directory : str
        Where the frames go.
    """

    bytes_per_frame: int
    seconds_per_point: float
    disk_free: int | None = None
    memory_free: int | None = None
    directory: str = ""


@dataclass(frozen=True)
class Preflight:
    """What a scan will need and give; its ``str`` is a few lines for the user.

    Parameters
    ----------
    n_points, n_frames, n_darks : int
        Scan points; frames with those of the darks; dark points.
    step_m, probe_m, overlap : float
        Median distance of neighbours, diameter of the illumination on the sample, 1 - step / probe;
        NaN where unknown.
    field_m, object_pixel_m : tuple of float
        Height and width of the scanned field and of a pixel of the object.
    seconds : float
        Expected time from the first dark to the last frame.
    disk, memory : int
        Bytes needed for the frames and for the analysis.
    resources : Resources
    trajectory : str
    dark_uid : str or None
        Run whose darks are used.
    refusals, warnings : tuple of str
        What speaks against the scan; a refusal is a reason not to start.
    """

    n_points: int
    n_frames: int
    n_darks: int
    step_m: float
    probe_m: float
    overlap: float
    field_m: tuple[float, float]
    object_pixel_m: tuple[float, float]
    seconds: float
    disk: int
    memory: int
    resources: Resources
    trajectory: str
    dark_uid: str | None
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        (height, width), (pixel_y, pixel_x) = self.field_m, self.object_pixel_m
        points = "1 point" if self.n_points == 1 else f"{self.n_points} points"
        geometry = f"{points} ({self.trajectory}) over {width * 1e6:.4g} x {height * 1e6:.4g} µm (x, y)"
        if math.isfinite(self.step_m):
            geometry += f", step {self.step_m * 1e9:.3g} nm"
        if math.isfinite(self.overlap):
            geometry += f", probe {self.probe_m * 1e9:.3g} nm, overlap {self.overlap:.0%}"
        darks = f"darks of run {self.dark_uid[:8]}" if self.dark_uid else f"{self.n_darks} dark points"
        directory = f" in {self.resources.directory}" if self.resources.directory else ""
        lines = [
            geometry,
            f"  object pixel {pixel_x * 1e9:.3g} x {pixel_y * 1e9:.3g} nm, {self.n_frames} frames, {darks}, "
            f"about {_duration(self.seconds)}",
            f"  disk {_amount(self.disk, self.resources.disk_free)}{directory}; "
            f"memory for the analysis {_amount(self.memory, self.resources.memory_free)}",
        ]
        lines += [f"  refused: {text}" for text in self.refusals] + [f"  warning: {text}" for text in self.warnings]
        return "\n".join(lines)

    def enforce(self, strictness: str = "normal") -> None:
        """Raise if the scan should not start.

        Parameters
        ----------
        strictness : {"normal", "strict", "force"}
            "strict" refuses on warnings too, "force" never refuses.

        Raises
        ------
        PreflightError
            Names every objection with field, value and expectation.
        """
        check_strictness(strictness)
        objections = self.refusals + (self.warnings if strictness == "strict" else ())
        if objections and strictness != "force":
            raise PreflightError("; ".join(objections))


LISTED = "list"
"""What the trajectory of positions that a user has listed is called."""


def check_strictness(strictness: str) -> None:
    """Raise a SettingsError if :meth:`Preflight.enforce` would not know `strictness`."""
    if strictness not in STRICTNESS:
        raise SettingsError(f"preflight is {strictness!r}; expected 'normal', 'strict' or 'force'")


def check(plan: ScanPlan, geometry: Geometry, resources: Resources) -> Preflight:
    """Judge a scan before it starts.

    Parameters
    ----------
    plan : ScanPlan
        With positions, exposures, darks and illumination.
    geometry : Geometry
        Of the patterns that the solver will see.
    resources : Resources

    Returns
    -------
    Preflight
    """
    step = typical_step(plan.positions_m)
    probe = math.nan if plan.illumination is None else probe_diameter_m(plan.illumination, plan.energy_ev)
    y_min, y_max, x_min, x_max = plan.extent_m
    events = plan.n_points + plan.n_darks
    canvas = Canvas.for_extent(plan.extent_m, geometry)
    report = Preflight(
        n_points=plan.n_points,
        n_frames=events * plan.frames_per_point,
        n_darks=plan.n_darks,
        step_m=step,
        probe_m=probe,
        overlap=max(1.0 - step / probe, 0.0),  # this order keeps NaN, where the probe is not known
        field_m=(y_max - y_min, x_max - x_min),
        object_pixel_m=geometry.object_pixel_m,
        seconds=events * resources.seconds_per_point,
        disk=events * plan.frames_per_point * resources.bytes_per_frame,
        memory=reconstruction_bytes(plan.n_points, canvas.shape, geometry.shape),
        resources=resources,
        trajectory=plan.trajectory,
        dark_uid=plan.dark_uid,
    )
    refusals, warnings = _objections(report, plan, geometry)
    return Preflight(**{**vars(report), "refusals": tuple(refusals), "warnings": tuple(warnings)})


def _objections(report: Preflight, plan: ScanPlan, geometry: Geometry) -> tuple[list[str], list[str]]:
    refusals: list[str] = []
    warnings: list[str] = []
    resources = report.resources
    disk, memory = _amount(report.disk, resources.disk_free), _amount(report.memory, resources.memory_free)
    if report.n_points < 2:
        # A point that is asked for by its place may be a look at a frame; one that a field shrank to is a slip.
        where = warnings if plan.trajectory == LISTED else refusals
        where.append("the scan has 1 point, which makes no image; expected more: a smaller step, or a larger field")
    if report.overlap < OVERLAP_REFUSED:
        refusals.append(_overlap(report, OVERLAP_REFUSED))
    elif report.overlap < OVERLAP_WARNED:
        warnings.append(_overlap(report, OVERLAP_WARNED))
    if report.step_m < LEAST_STEP * min(geometry.object_pixel_m):
        where = warnings if plan.trajectory == LISTED else refusals
        where.append(
            f"step is {report.step_m * 1e9:.3g} nm; expected more than a tenth of the object pixel, "
            f"{min(geometry.object_pixel_m) * 1e9:.3g} nm: lengths are in the unit of the motors"
        )
    keys = [plan.axes[name].key for name in ("y", "x") if name in plan.axes]
    if len(keys) == 2 and keys[0].lower().endswith("x") and keys[1].lower().endswith("y"):
        warnings.append(f"y is {keys[0]} and x is {keys[1]}; expected the vertical axis first, then the horizontal one")
    window = min(n * p for n, p in zip(geometry.shape, geometry.object_pixel_m, strict=True))
    if report.probe_m > window:
        refusals.append(
            f"probe is {report.probe_m * 1e6:.3g} µm wide; expected less than the window of {window * 1e6:.3g} µm"
        )
    elif report.probe_m > window / 2.0:
        warnings.append(
            f"probe is {report.probe_m * 1e6:.3g} µm wide; expected less than half the window of {window * 1e6:.3g} µm"
        )
    if resources.disk_free is not None and report.disk > resources.disk_free:
        refusals.append(f"disk space is short: {disk} in {resources.directory or 'the data directory'}")
    elif resources.disk_free is not None and report.disk > 0.8 * resources.disk_free:
        warnings.append(f"disk will be nearly full: {disk}; expected at most 80 %")
    if resources.memory_free is not None and report.memory > 0.5 * resources.memory_free:
        warnings.append(f"memory may not do for the analysis: {memory}; expected at most half")
    plain = plan.detector is not None and plan.detector.layout == "plain"
    if not plan.n_darks and plan.dark_uid is None and not plain:
        warnings.append("darks are 0; expected some, else frames are not dark corrected")
    return refusals, warnings


def _overlap(report: Preflight, expected: float) -> str:
    return (
        f"overlap is {report.overlap:.0%} (step {report.step_m * 1e9:.3g} nm, probe {report.probe_m * 1e9:.3g} nm); "
        f"expected at least {expected:.0%}"
    )


def typical_step(positions_m: NDArray[np.float64] | None) -> float:
    """Return the median distance in m of a scan point to its nearest neighbour; NaN for fewer than two points."""
    if positions_m is None or len(positions_m) < 2:
        return math.nan
    tree = cKDTree(positions_m)
    sample = positions_m[:: max(1, len(positions_m) // SAMPLED_POINTS)]
    return float(np.median(tree.query(sample, k=2)[0][:, 1]))


def probe_diameter_m(light: Illumination, energy_ev: float) -> float:
    """Return the diameter in m of a zone plate's beam on the sample.

    The Airy disc out to its first dark ring (2.44 Δr) and the cone of the defocused beam, D |z| / f
    with f = D Δr / λ, added in quadrature.
    """
    wavelength = ENERGY_TIMES_WAVELENGTH_EV_M / energy_ev
    return math.hypot(2.44 * light.outer_zone_m, abs(light.defocus_m) * wavelength / light.outer_zone_m)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _amount(needed: int, free: int | None) -> str:
    amount = needed / 1e9
    return (f"{amount:.2g} GB" if amount < 10 else f"{amount:.0f} GB") + (
        "" if free is None else f" ({free / 1e9:.3g} GB free)"
    )
