"""Positioners and shutter, alone."""

import time

import pytest
from bluesky.protocols import Locatable, Movable, Stoppable
from ophyd.utils import LimitError

from bluesky_ptycho.devices import Motion, Stage, StageAxis
from bluesky_ptycho.errors import MetadataError, SettingsError
from bluesky_ptycho.sim import Beamline


class World:
    """A stage that is where it was told to be."""

    def __init__(self) -> None:
        self.setpoints: dict[str, float] = {}

    def move(self, axis: str, setpoint_m: float) -> None:
        self.setpoints[axis] = setpoint_m

    def readback_m(self, axis: str) -> float:
        return self.setpoints[axis]


def test_axes_speak_their_own_unit_and_the_world_metres() -> None:
    world = World()
    stage = Stage(Motion(world, egu="mm", settle_time_s=0.0))
    stage.y.set(0.25).wait(60)
    assert world.setpoints == {"y": pytest.approx(0.25e-3), "x": 0}
    assert stage.y.position == pytest.approx(0.25)
    assert stage.y.read()["stage_y"]["value"] == pytest.approx(0.25)
    described = stage.y.describe()["stage_y"]
    assert described["units"] == "mm" and described["shape"] == [] and described["dtype"] == "number"
    assert list(stage.read()) == ["stage_y", "stage_x"]
    assert stage.y.locate() == {"setpoint": 0.25, "readback": pytest.approx(0.25)}
    assert stage.hints == {"fields": ["stage_y", "stage_x"]}


def test_axes_are_what_bluesky_expects(beamline: Beamline) -> None:
    for protocol in (Movable, Stoppable, Locatable):
        assert isinstance(beamline.stage.x, protocol)


def test_a_move_takes_the_settling_time() -> None:
    stage = Stage(Motion(World(), settle_time_s=0.1))
    started = time.monotonic()
    status = stage.x.set(1.0)
    assert not status.done
    status.wait(60)
    assert 0.09 < time.monotonic() - started < 5


def test_a_stop_ends_a_move() -> None:
    stage = Stage(Motion(World(), settle_time_s=60.0))
    failed, stopped = stage.y.set(1.0), stage.x.set(1.0)
    stage.y.stop()
    stage.x.stop(success=True)
    stopped.wait(30)
    with pytest.raises(RuntimeError, match="stage_y was stopped"):
        failed.wait(30)


@pytest.mark.parametrize("value", [500.1, -501, float("nan")])
def test_positions_beyond_the_limits_are_refused(beamline: Beamline, value: float) -> None:
    with pytest.raises(LimitError, match="stage_x was set to"):
        beamline.stage.x.set(value)


def test_positions_that_are_no_numbers_are_refused(beamline: Beamline) -> None:
    with pytest.raises(SettingsError, match="expected a number in um"):
        beamline.stage.x.set("far")


def test_units_must_be_lengths() -> None:
    with pytest.raises(MetadataError, match="'deg'"):
        StageAxis(axis="y", name="tilt", motion=Motion(World(), egu="deg"))


def test_the_shutter_opens_and_closes_the_beam(beamline: Beamline) -> None:
    shutter, physics = beamline.shutter, beamline.physics
    assert not shutter.is_open and not physics.is_open
    shutter.set("open").wait(60)
    assert shutter.is_open and physics.is_open
    shutter.set("closed").wait(60)
    assert not shutter.is_open and not physics.is_open
    with pytest.raises(SettingsError, match="'ajar'"):
        shutter.set("ajar")
    assert shutter.read()["shutter"]["value"] == "closed"
