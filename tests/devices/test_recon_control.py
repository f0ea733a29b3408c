"""Knobs: what they take, what they refuse, and who is told."""

import math
import threading

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.devices import ReconControl
from bluesky_ptycho.devices.recon_control import Knob
from bluesky_ptycho.errors import NotFoundError, SettingsError


@pytest.fixture
def told():
    return []


@pytest.fixture
def recon(told):
    control = ReconControl(name="recon")
    control.connect(LiveSettings().with_changes(**{"solver.modes": 2}), told.append)
    return control


def test_knobs_show_the_settings_that_are_in_use(recon):
    assert (recon.modes.get(), recon.beta.get(), recon.probe_start.get()) == (2, None, 5)
    assert recon.algorithm.get() == LiveSettings().solver.algorithm
    assert recon.paused.get() is False


@pytest.mark.parametrize(
    ("knob", "value", "request_"),
    [
        ("beta", 0.8, {"solver.relaxation": 0.8}),
        ("beta", np.float64(0.5), {"solver.relaxation": 0.5}),
        ("beta", None, {"solver.relaxation": None}),
        ("modes", np.int64(3), {"solver.modes": 3}),
        ("algorithm", "raar:20,lsqml", {"solver.algorithm": "raar:20,lsqml"}),
        ("centre", np.array([480.5, 481.0]), {"preprocess.optical_centre": [480.5, 481.0]}),
        ("refine_positions", True, {"solver.refine_positions": True}),
        ("paused", True, {"paused": True}),
        ("reset", True, {"reset": True}),
    ],
)
def test_what_a_knob_takes_is_told_at_once_at_the_prompt_and_in_a_plan(RE, recon, told, knob, value, request_):
    signal = getattr(recon, knob)
    signal.put(value)
    RE(bps.mv(signal, value))
    assert told == [request_, request_]
    shown = signal.get()
    np.testing.assert_array_equal(shown, False if knob == "reset" else value)


@pytest.mark.parametrize(
    ("knob", "value", "error", "words"),
    [
        ("beta", 1.5, SettingsError, ["recon.beta", "1.5", "0 <= value <= 1"]),
        ("beta", "high", SettingsError, ["recon.beta", "'high'", "a number"]),
        ("modes", 0, SettingsError, ["recon.modes", "0", "1 <= value <= 256"]),
        ("modes", 2.5, SettingsError, ["recon.modes", "2.5", "a whole number"]),
        ("step", math.nan, SettingsError, ["recon.step", "finite"]),
        ("position_model", "wavy", SettingsError, ["one of free, affine, drift"]),
        ("algorithm", "magic", NotFoundError, ["recon.algorithm", "magic", "lsqml"]),
        ("algorithm", "raar:0,lsqml", SettingsError, ["recon.algorithm", "raar:0"]),
        ("centre", [3.0], SettingsError, ["recon.centre", "2 numbers"]),
        ("photon_threshold", -1.0, SettingsError, ["recon.photon_threshold", "is -1 photon", "0 <= value <= 100"]),
        ("paused", 1, SettingsError, ["recon.paused", "true or false"]),
        ("reset", "now", SettingsError, ["recon.reset", "'now'"]),
    ],
)
def test_what_a_knob_does_not_take_is_refused_before_anything_changes(RE, recon, told, knob, value, error, words):
    signal = getattr(recon, knob)
    before = signal.get()
    for turn in (signal.check_value, signal.put, signal.set, lambda v: RE(bps.mv(signal, v))):
        with pytest.raises(error) as caught:
            turn(value)
        assert all(word in str(caught.value) for word in words), caught.value
    assert signal.get() == before and told == []


def test_settings_are_checked_with_what_the_others_say(recon, told):
    recon.connect(LiveSettings().with_changes(**{"solver.fit_background": True}), told.append)
    with pytest.raises(SettingsError, match="fit_background"):
        recon.algorithm.put("raar")


def test_who_listens_may_refuse_too(recon, told):
    def refuse(request):
        raise SettingsError("not now")

    recon.connect(LiveSettings(), refuse)
    with pytest.raises(SettingsError, match="not now"):
        recon.beta.put(0.5)
    assert recon.beta.get() is None
    recon.disconnect(refuse)
    recon.beta.put(0.5)
    assert recon.beta.get() == 0.5 and told[-1] == {"solver.relaxation": 0.5}


def test_who_comes_later_is_told_of_a_pause(recon, told):
    recon.paused.put(True)
    late = []
    recon.connect(LiveSettings(), late.append)
    assert late == [{"paused": True}]


def test_two_that_turn_a_knob_at_once_leave_it_at_what_was_told_last(recon, told, monkeypatch):
    shown, second = threading.Event(), threading.Thread(target=recon.modes.put, args=(3,))
    show = Knob.show

    def slowly(knob, value, **options):
        if value == 1:  # the other has been told of as well before this one is shown
            second.start()
            shown.wait(0.3)
        show(knob, value, **options)
        shown.set()

    monkeypatch.setattr(Knob, "show", slowly)
    recon.modes.put(1)
    second.join()
    assert told[-2:] == [{"solver.modes": 1}, {"solver.modes": 3}] and recon.modes.get() == 3


def test_a_knob_tells_what_it_takes(recon):
    assert "Relaxation of raar" in recon.beta.__doc__ and "0 <= value <= 1" in recon.beta.__doc__
    assert "photon" in recon.photon_threshold.__doc__


def test_the_control_can_be_read_in_a_scan(RE, recon):
    documents = []

    def keep(name, doc):
        schema_validators[DocumentNames[name]].validate(doc)
        documents.append((name, doc))

    RE(bp.count([recon]), keep)
    (configuration,) = [doc["configuration"]["recon"] for name, doc in documents if name == "descriptor"]
    assert configuration["data"]["recon_modes"] == 2
    assert configuration["data_keys"]["recon_algorithm"]["dtype"] == "string"
    documents.clear()
    RE(bp.count([recon.beta, recon.centre]), keep)
    (event,) = [doc for name, doc in documents if name == "event"]
    assert math.isnan(event["data"]["recon_beta"])
    assert np.isnan(event["data"]["recon_centre"]).tolist() == [True, True]


def test_a_misspelt_knob_is_told_of_with_the_one_that_may_be_meant():
    recon = ReconControl(name="recon")
    for touch in (lambda: recon.mods.put(2), lambda: setattr(recon, "mods", 2), lambda: recon.put_text("mods", "2")):
        with pytest.raises(NotFoundError) as caught:
            touch()
        assert str(caught.value).startswith("recon has no knob 'mods'; did you mean modes? known: algorithm, beta, ")
    with pytest.raises(NotFoundError, match="recon has no knob 'colour'; known: algorithm, "):
        recon.colour.put(2)
    # Devices are asked for what they may have, and get attributes of ophyd's and IPython's.
    assert not hasattr(recon, "set") and not hasattr(recon, "_ipython_display_")
    recon.kind = "config"
    recon._anything = 3
    assert getattr(recon, "kickoff", None) is None


def test_a_knob_that_is_set_without_put_says_how_it_is_turned():
    recon = ReconControl(name="recon")
    with pytest.raises(SettingsError, match=r"^recon.modes is a knob; expected recon.modes.put\(3\)$"):
        recon.modes = 3
    assert recon.modes.get() == LiveSettings().solver.modes


@pytest.mark.parametrize("name", [3, "", None])
def test_a_control_has_a_name(name):
    with pytest.raises(SettingsError, match=f"ReconControl: name is {name!r} "):
        ReconControl(name=name)
