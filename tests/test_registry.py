"""Registries: a name is registered once, an unknown name says what is known."""

from __future__ import annotations

import sys

import pytest

from bluesky_ptycho.errors import NotFoundError, PtychoError, SettingsError
from bluesky_ptycho.registry import Registry, algorithms, detectors, preprocessing_steps, sinks
from tests.distributions import installer


@pytest.fixture
def shapes():
    table = Registry("shape")
    table.register("round")(len)
    table.register("angular")(sum)
    return table


def test_entries_are_found_in_the_order_of_their_registration(shapes):
    assert list(shapes.items()) == [("round", len), ("angular", sum)]
    assert "round" in shapes
    assert len(shapes) == 2


def test_the_decorator_returns_what_it_registers(shapes):
    assert shapes.register("flat")(max) is max
    assert shapes["flat"] is max


def test_an_unknown_name_is_answered_with_the_known_ones(shapes):
    with pytest.raises(NotFoundError, match=r"^shape 'oval' is not known; known: angular, round$"):
        shapes["oval"]
    with pytest.raises(NotFoundError, match=r"^shape 'ruond' is not known; did you mean round\?; known: angular"):
        shapes["ruond"]
    assert shapes.get("oval") is None
    assert "oval" not in shapes


def test_a_second_owner_of_a_name_is_refused_and_the_first_stays(shapes):
    with pytest.raises(SettingsError, match="shape 'round' is registered already"):
        shapes.register("round")(min)
    shapes.register("round")(len)
    assert shapes["round"] is len


# -- entry points ---------------------------------------------------------------------------------


@pytest.fixture
def install(tmp_path):
    with installer(tmp_path) as install:
        yield install


def test_only_the_entry_point_that_is_asked_for_is_imported(install):
    table = Registry("shape", "test.shapes")
    table.register("round")(len)
    points = {
        "test.shapes": {"oval": "shapes_of_eggs:oval", "odd": "shapes_of_nothing:odd"},
        "test.other": {"x": "y:z"},
    }
    install("egg-shapes", points, {"shapes_of_eggs.py": "oval = 'an egg'\n", "shapes_of_nothing.py": "1 / 0\n"})
    assert table["round"] is len
    assert "oval" in table
    assert list(table) == ["round"]
    assert not {"shapes_of_eggs", "shapes_of_nothing"} & set(sys.modules)
    assert table["oval"] == "an egg"
    assert table.get("oval") == "an egg"
    assert list(table) == ["round", "oval"]
    assert "shapes_of_nothing" not in sys.modules
    with pytest.raises(NotFoundError, match=r"^shape 'x' is not known; known: odd, oval, round$"):
        table["x"]
    with pytest.raises(PtychoError, match=r"^shape 'odd' of egg-shapes 1\.0 cannot be loaded: ZeroDivisionError: div"):
        table["odd"]
    assert list(table) == ["round", "oval"]


@pytest.mark.parametrize(
    ("target", "says"),
    [("no_such_module:x", "ModuleNotFoundError: No module named"), ("lone_shapes:absent", "AttributeError: ")],
)
def test_an_entry_point_that_leads_nowhere_names_its_distribution(install, target, says):
    table = Registry("shape", "test.shapes")
    install("lone", {"test.shapes": {"oval": target}}, {"lone_shapes.py": ""})
    with pytest.raises(PtychoError, match=rf"^shape 'oval' of lone 1\.0 cannot be loaded: {says}"):
        table["oval"]


def test_a_module_may_register_what_its_entry_point_names(install):
    code = "from bluesky_ptycho.registry import sinks\n@sinks.register('nowhere_sink')\ndef sink(): ...\n"
    install("nowhere", {"bluesky_ptycho.sinks": {"nowhere_sink": "nowhere_module:sink"}}, {"nowhere_module.py": code})
    try:
        assert sinks["nowhere_sink"] is sys.modules["nowhere_module"].sink
    finally:
        sinks._entries.pop("nowhere_sink", None)


def test_two_distributions_with_one_name_are_refused_by_name(install):
    table = Registry("shape", "test.shapes")
    for name in ("hen", "duck"):
        install(name, {"test.shapes": {"oval": f"{name}_module:egg"}}, {f"{name}_module.py": "egg = 1\n"})
    with pytest.raises(PtychoError, match=r"^shape 'oval' is offered by duck 1\.0 and hen 1\.0; expected one"):
        table["oval"]


def test_all_tables_have_their_group():
    assert [t.group for t in (detectors, preprocessing_steps, algorithms, sinks)] == [
        "bluesky_ptycho.detectors",
        "bluesky_ptycho.preprocessing_steps",
        "bluesky_ptycho.algorithms",
        "bluesky_ptycho.sinks",
    ]
