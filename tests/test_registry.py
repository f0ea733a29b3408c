"""Registries: a name is registered once, an unknown name says what is known."""

from __future__ import annotations

import pytest

from bluesky_ptycho.errors import NotFoundError, SettingsError
from bluesky_ptycho.registry import Registry


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
    assert shapes.get("oval") is None
    assert "oval" not in shapes


def test_a_second_owner_of_a_name_is_refused_and_the_first_stays(shapes):
    with pytest.raises(SettingsError, match="shape 'round' is registered already"):
        shapes.register("round")(min)
    shapes.register("round")(len)
    assert shapes["round"] is len
