"""The check before the shutter opens: numbers by hand, refusals, warnings, speed."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from bluesky_ptycho.errors import PreflightError, SettingsError
from bluesky_ptycho.geometry import Geometry
from bluesky_ptycho.plans.preflight import Resources, check, probe_diameter_m
from bluesky_ptycho.plans.trajectories import offsets
from bluesky_ptycho.scan_plan import Axis, DetectorInfo, Illumination, ScanPlan

DETECTOR = DetectorInfo("fccd", "fccd_image", "fccd_frame_index", (1040, 1152), (30e-6, 30e-6), "fccd-assembled", 0.004)
LIGHT = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, defocus_m=20e-6)
GEOMETRY = Geometry(800.0, 0.121, (120e-6, 120e-6), (240, 240))
RESOURCES = Resources(2 * 1040 * 1152, 0.1, disk_free=10**12, memory_free=10**12, directory="/data")


SWAPPED = {name: Axis(f"stage_{key}", "um") for name, key in (("y", "x"), ("x", "y"))}


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr("bluesky_ptycho.recon.memory.cpu_count", lambda: 2)


def plan(step_um=0.1, n=20, **changes):
    points = offsets("raster", n * step_um, n * step_um, step_um, jitter=0) * 1e-6
    fields = {
        "energy_ev": 800.0,
        "distance_m": 0.121,
        "detector": DETECTOR,
        "illumination": LIGHT,
        "n_darks": 10,
        "trajectory": "raster",
        "exposures_s": (0.1,),
    }
    return ScanPlan.from_positions(points, **fields | changes)


def test_numbers():
    report = check(plan(), GEOMETRY, RESOURCES)
    assert (report.n_points, report.n_frames) == (400, 410)
    assert report.step_m == pytest.approx(100e-9)
    assert report.seconds == pytest.approx(41.0)
    assert report.disk == 410 * 2 * 1040 * 1152
    frames, side = 400 * 240 * 240 * 2, 1.9e-6 / 6.51e-9 + 240 + 16
    # three states of object, velocity and two copies, two cores' gradients and illuminations, direction, light, one
    # snapshot; as many states of the probe, and two cores' five buffers
    probe = 240**2 * (3 * 32 + 24 + 2 * 5 * 8)
    assert report.memory == pytest.approx(frames + probe + side**2 * (3 * 32 + 2 * 12 + 8 + 4 + 16), rel=0.02)
    np.testing.assert_allclose(report.field_m, 1.9e-6)
    np.testing.assert_allclose(report.object_pixel_m, 6.51e-9, rtol=1e-3)
    assert report.overlap == pytest.approx(1 - 100 / (report.probe_m * 1e9))
    assert not report.refusals and not report.warnings
    report.enforce("strict")


def test_a_wide_field_takes_memory_for_the_object():
    small, wide = (check(plan(step, illumination=None), GEOMETRY, RESOURCES).memory for step in (0.1, 1.0))
    assert wide - small > ((19e-6 / 6.52e-9) ** 2 - (2e-6 / 6.51e-9 + 256) ** 2) * 3 * 32


def test_probe_diameter():
    wavelength = 1.5498e-9
    focus, cone = 2.44 * 60e-9, 240e-6 * 20e-6 / (240e-6 * 60e-9 / wavelength)
    assert probe_diameter_m(LIGHT, 800.0) == pytest.approx(math.hypot(focus, cone), rel=1e-4)
    assert probe_diameter_m(replace(LIGHT, defocus_m=-20e-6), 800.0) == probe_diameter_m(LIGHT, 800.0)
    assert probe_diameter_m(replace(LIGHT, defocus_m=0.0), 800.0) == pytest.approx(focus)


def test_text_fits_a_terminal():
    text = str(check(plan(), GEOMETRY, RESOURCES))
    assert text.splitlines() == [
        "400 points (raster) over 1.9 x 1.9 µm (x, y), step 100 nm, probe 537 nm, overlap 81%",
        "  object pixel 6.51 x 6.51 nm, 410 frames, 10 dark points, about 41 s",
        "  disk 0.98 GB (1e+03 GB free) in /data; memory for the analysis 0.1 GB (1e+03 GB free)",
    ]


@pytest.mark.parametrize(
    ("the_plan", "resources", "refusal"),
    [
        (plan(step_um=0.5), RESOURCES, r"overlap is 7% \(step 500 nm, probe 537 nm\); expected at least 20%"),
        (plan(), replace(RESOURCES, disk_free=10**8), r"disk space is short: 0.98 GB \(0.1 GB free\) in /data"),
        (plan(illumination=replace(LIGHT, defocus_m=80e-6)), RESOURCES, r"probe is .* µm wide; expected less than"),
        (
            plan(step_um=1e-7),
            RESOURCES,
            r"step is 0\.0001 nm; expected more than a tenth of the object pixel, 6\.51 nm",
        ),
    ],
)
def test_refusals(the_plan, resources, refusal):
    report = check(the_plan, GEOMETRY, resources)
    with pytest.raises(PreflightError, match=refusal):
        report.enforce()
    report.enforce("force")
    assert "  refused: " in str(report)


@pytest.mark.parametrize(
    ("the_plan", "resources", "warning"),
    [
        (plan(step_um=0.3), RESOURCES, "overlap is 44%"),
        (plan(n_darks=0), RESOURCES, "darks are 0"),
        (plan(step_um=1e-7, trajectory="list"), RESOURCES, "step is 0.0001 nm"),
        (plan(axes=SWAPPED), RESOURCES, "y is stage_x and x is stage_y; expected the vertical axis first"),
        (plan(illumination=replace(LIGHT, defocus_m=40e-6)), RESOURCES, "half the window"),
        (plan(), replace(RESOURCES, disk_free=1_100_000_000), "disk will be nearly full"),
        (plan(), replace(RESOURCES, memory_free=2 * 10**8), "memory may not do"),
    ],
)
def test_warnings(the_plan, resources, warning):
    report = check(the_plan, GEOMETRY, resources)
    assert not report.refusals
    (text,) = report.warnings
    assert warning in text and f"  warning: {text}" in str(report)
    report.enforce()
    with pytest.raises(PreflightError, match=warning):
        report.enforce("strict")


def test_unknown_strictness():
    with pytest.raises(SettingsError, match="'loose'"):
        check(plan(), GEOMETRY, RESOURCES).enforce("loose")


def test_unknown_illumination_and_resources():
    report = check(plan(illumination=None), GEOMETRY, Resources(100, 0.1))
    assert math.isnan(report.overlap) and not report.refusals and not report.warnings
    assert "overlap" not in str(report) and "free" not in str(report)


def test_a_single_point_has_no_step():
    one = ScanPlan.from_positions(np.zeros((1, 2)), energy_ev=800.0, distance_m=0.121, n_darks=1, illumination=LIGHT)
    report = check(one, GEOMETRY, RESOURCES)
    assert math.isnan(report.step_m) and not report.refusals
    assert "1 point (list)" in str(report) and "warning: the scan has 1 point, which makes no image" in str(report)
    with pytest.raises(PreflightError, match="1 point, which makes no image"):
        check(replace(one, trajectory="spiral"), GEOMETRY, RESOURCES).enforce()


def test_darks_of_an_earlier_run_are_named():
    assert "darks of run 0123abcd" in str(check(plan(n_darks=0, dark_uid="0123abcd-4567"), GEOMETRY, RESOURCES))


def test_a_hundred_thousand_points_in_a_second():
    large = plan(step_um=0.1, n=316)
    started = time.process_time()
    check(large, GEOMETRY, RESOURCES)
    assert time.process_time() - started < 1.0
