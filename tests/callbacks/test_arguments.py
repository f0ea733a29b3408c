"""What LivePtycho is given and cannot use is refused in one line, before any scan."""

import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.raw_scan import stored_scan
from bluesky_ptycho.recon import SolverSettings


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"settings": {"passes": 3}}, r"settings is \{'passes': 3\} \(dict\); expected LiveSettings"),
        ({"settings": 3}, r"settings is 3 \(int\); expected LiveSettings"),
        ({"settings": SolverSettings()}, r"settings is Solver.*\(SolverSettings\); expected LiveSettings"),
        ({"catalog": 3}, r"catalog is 3 \(int\); expected a Catalog"),
        ({"sinks": [3]}, r"sinks is 3 \(int\); expected names of sinks"),
        ({"sinks": 3}, r"sinks is 3 \(int\); expected names of sinks"),
        ({"process": "yes"}, r"process is 'yes' \(str\); expected True or False"),
        ({"nokey": 1}, r"no argument 'nokey'; known: .*frames_key, "),
        ({"frames_key": "image"}, r"one of frames_key and position_keys is missing"),
    ],
)
def test_an_argument_of_no_use_is_refused_with_what_was_expected(arguments, says):
    with pytest.raises(SettingsError, match=says) as caught:
        LivePtycho(**arguments)
    assert "\n" not in str(caught.value)


def test_one_sink_needs_no_list():
    with LivePtycho(sinks="progress_bar") as live:
        assert [type(sink).__name__ for sink in live.sinks] == ["ProgressBar"]
    with LivePtycho(sinks=print) as live:
        assert live.sinks == [print]


@pytest.mark.parametrize("settings", [{"gain": 2}, SolverSettings()])
def test_frames_are_cleaned_by_settings_of_the_preprocessing_only(settings):
    with (
        pytest.raises(SettingsError, match=r"settings is .*; expected PreprocessSettings"),
        stored_scan("1", {}, settings),
    ):
        pass
