"""Settings are validated when made, frozen, and survive a trip through JSON."""

from __future__ import annotations

import dataclasses
import inspect
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.commands.settings_file import read_settings_file
from bluesky_ptycho.errors import PtychoError, SettingsError
from bluesky_ptycho.preprocess import PreprocessSettings
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class Inner(Settings):
    strength: float = setting(1.0, "How much.", low=0.0, high=2.0, unit="photon")


@dataclasses.dataclass(frozen=True)
class Outer(Settings):
    name: str = setting("rpie", "Which one.", choices=("rpie", "raar"))
    count: int = setting(3, "How many.", low=1)
    limit: float | None = setting(None, "Where to stop.", low=0.0)
    pair: tuple[float, ...] = setting((1.0, 2.0), "Two lengths.", low=0.0)
    on: bool = setting(True, "Whether.")
    inner: Inner = setting(Inner(), "More.")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cuont": 2}, ["cuont", "count"]),
        ({"count": 0}, ["Outer.count", "0", "1 <= value"]),
        ({"count": 2.5}, ["Outer.count", "2.5", "a whole number"]),
        ({"count": True}, ["Outer.count", "True", "a whole number"]),
        ({"count": "3"}, ["Outer.count", "'3'", "a whole number"]),
        ({"name": "epie"}, ["Outer.name", "'epie'", "one of rpie, raar"]),
        ({"limit": float("nan")}, ["Outer.limit", "nan", "finite"]),
        ({"limit": -1}, ["Outer.limit is -1;", "0 <= value"]),
        ({"pair": (1.0, -3.0)}, ["Outer.pair is -3;"]),
        ({"pair": 1.0}, ["Outer.pair is 1;", "a list, each a number"]),
        ({"on": 1}, ["Outer.on", "1", "true or false"]),
        ({"inner": {"strength": 3.0}}, ["Inner.strength is 3 photon", "value <= 2"]),
        ({"inner": {"strenth": 1.0}}, ["Inner", "strenth", "strength"]),
    ],
)
def test_a_bad_value_is_refused_with_field_value_and_expectation(values, words):
    with pytest.raises(SettingsError) as caught:
        Outer.from_mapping(values)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert isinstance(caught.value, PtychoError)


def test_a_docstring_lists_the_settings_as_they_are_declared():
    """It is what ``?`` shows at a prompt."""
    told = inspect.getdoc(LiveSettings)
    assert told.startswith(
        "How a run is analysed while it is measured; recorded whole in the result run.\n\nParameters\n"
    )
    assert "\npatience_s : default 10, in s, 0 <= value\n    How long to wait for announced rows" in told
    assert "\nbackend : default 'auto', one of auto, numpy, cupy\n" in told
    assert "\nsolver : SolverSettings\n    ``LiveSettings().solver?`` lists them.\n" in told
    told = inspect.getdoc(SolverSettings)
    assert told.index("\nParameters\n") < told.index("\nmodes : default None, 1 <= value") < told.index("\nRaises\n---")
    assert max(map(len, told.splitlines())) <= 120


def test_the_constructor_checks_as_from_mapping_does():
    with pytest.raises(SettingsError, match=r"Outer\.count"):
        Outer(count=0)


def test_whole_floats_and_integers_are_taken_for_each_other():
    made = Outer.from_mapping({"count": 4.0, "limit": 2, "pair": [3, 4]})
    assert (type(made.count), type(made.limit), made.pair) == (int, float, (3.0, 4.0))


def test_replace_leaves_the_original_alone_and_validates():
    first = Outer()
    second = first.replace(count=7)
    assert (first.count, second.count) == (3, 7)
    with pytest.raises(SettingsError):
        first.replace(count=-1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.count = 5  # type: ignore[misc]


positive = st.floats(0, 1e6, allow_nan=False)


@given(
    name=st.sampled_from(["rpie", "raar"]),
    count=st.integers(1, 10**6),
    limit=st.none() | positive,
    pair=st.lists(positive, max_size=4),
    on=st.booleans(),
    strength=st.floats(0, 2),
)
def test_settings_survive_json(name, count, limit, pair, on, strength):
    made = Outer(name=name, count=count, limit=limit, pair=tuple(pair), on=on, inner=Inner(strength=strength))
    assert Outer.from_mapping(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("count=4", "count", 4),
        (" limit = 2.5 ", "limit", 2.5),
        ("limit=none", "limit", None),
        ("pair=3,4.5", "pair", (3.0, 4.5)),
        ("on=False", "on", False),
        ("name=raar", "name", "raar"),
    ],
)
def test_settings_are_read_from_text(text, name, value):
    found = Outer.read_changes([text])
    assert found == {name: value}
    assert getattr(Outer.from_mapping(found), name) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("count", "setting is 'count'; expected NAME=VALUE"),
        ("=3", "setting is '=3'; expected NAME=VALUE"),
        ("count=", "setting is 'count='; expected NAME=VALUE"),
        ("cuont=3", r"Outer.cuont is no setting; did you mean count\? known: name, count, "),
        ("strenth=1", r"Outer.strenth is no setting; did you mean inner\.strength\? known: name, "),
        ("inner.strenth=1", r"Inner.strenth is no setting; did you mean strength\? known: strength$"),
        ("xyzzy=1", "Outer.xyzzy is no setting; known: name, "),
        ("count=many", r"Outer.count is 'many'; expected a whole number"),
        ("count=2.5", r"Outer.count is '2.5'; expected a whole number"),
        ("on=yes", r"Outer.on is 'yes'; expected true or false"),
        ("pair=1,b", r"Outer.pair is 'b'; expected a list, each a number, 0 <= value"),
        ("count=0", "Outer.count is 0; expected a whole number, 1 <= value"),
    ],
)
def test_text_that_is_no_setting_is_refused(text, says):
    with pytest.raises(SettingsError, match=says):
        Outer.from_mapping(Outer.read_changes([text]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[solver]\nalgorithm = "foo"\n', "algorithm 'foo' is not known; known: admm, "),
        ('[solver]\nalgorithm = "rpie:0"\n', "schedule is 'rpie:0'; expected NAME:PASSES"),
        ('[preprocess]\nsteps = ["foo"]\n', "preprocessing step 'foo' is not known; known: "),
    ],
)
def test_a_file_of_names_that_there_are_not_is_refused_when_it_is_read(tmp_path, text, says):
    path = tmp_path / "alg.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"^settings file .*alg\.toml: {says}"):
        read_settings_file(path)


@pytest.mark.parametrize(
    ("refuse", "shown"),
    [
        (lambda: Inner(strength=8), "strength is 8 photon;"),
        (lambda: Inner(strength=8.0), r"strength is 8 photon;"),
        (lambda: Outer(pair=[0, -8]), "pair is -8;"),
        (lambda: Inner.from_mapping(Inner.read_changes(["strength=8"])), "strength is 8 photon;"),
    ],
)
def test_a_refused_number_is_shown_as_it_was_given(refuse, shown):
    with pytest.raises(SettingsError, match=shown):
        refuse()


def test_numbers_of_numpy_are_numbers():
    made = SolverSettings(modes=np.int32(2), step=np.float32(0.5))
    assert (made.modes, type(made.modes), made.step) == (2, int, 0.5)
    with pytest.raises(SettingsError, match=r"modes is .*True.*; expected a whole number"):
        SolverSettings(modes=True)


def test_a_name_that_is_no_text_is_no_setting():
    with pytest.raises(SettingsError, match=r"Outer\.3 is no setting; known: name, "):
        Outer.from_mapping({3: 1})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: SolverSettings(modes="abc"),
            r"^solver\.modes is 'abc'; expected a whole number, 1 <= value <= 256, or none$",
        ),
        (
            lambda: SolverSettings(modes=300),
            r"^solver\.modes is 300; expected a whole number, 1 <= value <= 256, or no",
        ),
        (
            lambda: PreprocessSettings(binning=0),
            r"^preprocess\.binning is 0; expected a number, 1 <= value <= 64",
        ),
        (lambda: LiveSettings(passes=0), r"^passes is 0; expected a whole number, 1 <= value <= 1000000$"),
        (lambda: LiveSettings().with_changes(**{"solver.modes": 0}), r"^solver\.modes is 0; expected a whole number"),
        (lambda: LiveSettings.from_mapping({"solver": {"modez": 1}}), r"^solver\.modez is no setting; did you mean mo"),
        (lambda: SolverSettings(slices=2), r"^solver\.slice_distance_m is None; expected the distance"),
        (lambda: PreprocessSettings(overscan_rows=2), r"^preprocess\.overscan_rows is 2; expected an odd number"),
    ],
)
def test_an_error_names_a_setting_as_it_is_typed_with_what_the_listing_allows(make, says):
    with pytest.raises(SettingsError, match=says):
        make()


def test_the_group_that_errors_name_is_that_of_the_settings_file():
    groups = {name.partition(".")[0] for name in LiveSettings.names() if "." in name}
    assert {type(getattr(LiveSettings(), group)).group for group in groups} == groups == {"preprocess", "solver"}
    assert SolverSettings.called("modes") in LiveSettings.names()


def test_a_settings_file_that_is_no_text_is_called_so(tmp_path):
    (tmp_path / "s.toml").write_bytes(b"\x89HDF\xff")
    with pytest.raises(SettingsError, match=r"s\.toml: it is no text file; expected TOML or JSON$"):
        read_settings_file(tmp_path / "s.toml")
