"""The plans as bluesky-queueserver takes them: listed, validated and run from a queue item."""

from __future__ import annotations

import inspect

import pytest
from bluesky_queueserver.manager import profile_ops

from bluesky_ptycho.plans import ptycho_fly_scan, ptycho_list_scan, ptycho_scan

PLANS = {f.__name__: f for f in (ptycho_scan, ptycho_fly_scan, ptycho_list_scan)}


@pytest.fixture
def worker(beamline):
    """Name space, plans and devices as a queueserver worker sees them, and its permissions."""
    space = {"fccd": beamline.fccd, "stage": beamline.stage, "shutter": beamline.shutter, **PLANS}
    plans, devices = profile_ops.plans_from_nspace(space), profile_ops.devices_from_nspace(space)
    assert set(plans) == set(PLANS) and set(devices) == {"fccd", "stage", "shutter"}
    existing_devices = profile_ops._prepare_devices(devices)
    existing_plans = profile_ops._prepare_plans(plans, existing_devices=existing_devices)
    assert set(existing_plans) == set(PLANS)
    groups = {
        "root": {"allowed_plans": [None], "allowed_devices": [None]},
        "primary": {"allowed_plans": [":.*"], "allowed_devices": [":.*:?.*"]},
    }
    allowed_plans, allowed_devices = profile_ops.load_allowed_plans_and_devices(
        existing_plans=existing_plans,
        existing_devices=existing_devices,
        user_group_permissions={"user_groups": groups},
    )
    return {"space": space, "plans": plans, "devices": devices} | {
        "allowed_plans": allowed_plans,
        "allowed_devices": allowed_devices,
    }


def item(name, **kwargs):
    if name == "ptycho_list_scan":
        kwargs = {"positions": [[0, 0], [0.1, 0.1]], "exposure": 0.005} | kwargs
    else:
        kwargs = {"width": 0.2, "height": 0.2, "step": 0.1, "exposure": 0.005} | kwargs
    return {
        "name": name,
        "item_type": "plan",
        "user_group": "primary",
        "args": ["fccd", "stage.y", "stage.x"],
        "kwargs": kwargs,
    }


def validate(worker, queued):
    return profile_ops.validate_plan(
        queued, **{key: worker[key]["primary"] for key in ("allowed_plans", "allowed_devices")}
    )


@pytest.mark.parametrize("name", sorted(PLANS))
@pytest.mark.parametrize(
    "kwargs", [{}, {"exposure": [0.001, 0.01]}, {"shutter": "shutter"}, {"md": {"purpose": "test"}, "darks": 0}]
)
def test_queue_items_run(RE, recorder, worker, name, kwargs):
    queued = item(name, **kwargs)
    valid, message = validate(worker, queued)
    assert valid, message
    prepared = profile_ops.prepare_plan(
        queued,
        plans_in_nspace=worker["plans"],
        devices_in_nspace=worker["devices"],
        allowed_plans=worker["allowed_plans"],
        allowed_devices=worker["allowed_devices"],
        nspace=worker["space"],
    )
    RE(prepared["callable"](*prepared["args"], **prepared["kwargs"]), **prepared["meta"])
    assert recorder.stop["exit_status"] == "success"
    assert recorder.start["plan_name"] == name
    assert recorder.plan.exposures_s == tuple(kwargs.get("exposure", [0.005]))


@pytest.mark.parametrize("change", [{"width": "wide"}, {"exposure": {"s": 1}}, {"shutter": 3}, {"unknown": 1}])
def test_wrong_items_are_refused(worker, change):
    valid, _ = validate(worker, item("ptycho_scan", **change))
    assert not valid


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_no_device_is_a_default(plan):
    for parameter in inspect.signature(plan).parameters.values():
        assert parameter.default is inspect.Parameter.empty or isinstance(
            parameter.default, (str, int, float, bool, type(None))
        )
