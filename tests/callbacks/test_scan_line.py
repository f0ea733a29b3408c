"""The line that scans a rectangle: executed, its plan goes where the rectangle was."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from bluesky_ptycho.callbacks.scan_line import scan_line
from bluesky_ptycho.errors import SettingsError
from tests.live_updates import make_update

UPDATE = make_update()
REGION = (-1.25, -0.75, 3.0, 4.5)
"""y_min, y_max, x_min, x_max in µm."""


def called(line, **names):
    """Run the line; return positional and named arguments of the plan."""
    calls = []
    stage = SimpleNamespace(y="the slow axis", x="the fast axis")
    namespace = {"RE": lambda plan: None, "fccd": "the camera", "stage": stage, **names}
    exec(line, {"ptycho_scan": lambda *devices, **fields: calls.append((devices, fields)), **namespace})
    return calls[0]


def test_it_goes_where_the_rectangle_was_as_the_scan_before_did():
    devices, fields = called(scan_line(UPDATE.start, UPDATE.plan, REGION))
    assert devices == ("the camera", "the slow axis", "the fast axis")
    assert fields == {
        "centre": [-1.0, 3.75], "width": 1.5, "height": 0.5, "step": 0.08, "exposure": 0.1, "trajectory": "spiral",
        "sample_name": "<b>gold</b>",
    }  # fmt: skip


def test_lengths_are_in_the_unit_of_the_motors():
    start = {**UPDATE.start, "plan_args": {**UPDATE.start["plan_args"], "step": 8e-5}}
    _, fields = called(scan_line(start, make_update(units="mm").plan, REGION))
    assert fields["centre"] == pytest.approx([-1.0e-3, 3.75e-3])
    assert (fields["width"], fields["height"], fields["step"]) == pytest.approx((1.5e-3, 0.5e-3, 8e-5))


def test_several_exposures_and_a_scan_without_plan_arguments():
    plan = dataclasses.replace(UPDATE.plan, exposures_s=(0.01, 0.1), trajectory="list")
    start = {"uid": "0123", "sample_name": "it's"}
    devices, fields = called(scan_line(start, plan, REGION), detector="a camera")
    assert devices[0] == "a camera" and fields["exposure"] == [0.01, 0.1] and fields["trajectory"] == "spiral"
    y_min, y_max, x_min, x_max = plan.extent_m
    assert fields["step"] == pytest.approx(1e6 * ((y_max - y_min) * (x_max - x_min) / 25) ** 0.5, rel=1e-3)
    assert fields["sample_name"] == "it's"


def test_a_name_that_would_be_code_stays_a_name():
    start = {**UPDATE.start, "sample_name": "x'); import os; ('"}
    _, fields = called(scan_line(start, UPDATE.plan, REGION))
    assert fields["sample_name"] == "x'); import os; ('"


@pytest.mark.parametrize(
    "region",
    [(1, 1, 0, 1), (2, 1, 0, 1), (0, 1, 1, 0), (0, 1e-9, 0, 1), (0, float("nan"), 0, 1), (0, 1, 0, float("inf"))],
)
def test_an_empty_region_is_refused(region):
    with pytest.raises(SettingsError, match="expected finite limits, the lower first"):
        scan_line(UPDATE.start, UPDATE.plan, region)
