"""What a user did wrong is told in one line, exit status 2."""

import pytest

from bluesky_ptycho.cli import main
from tests.small_cxi import write_small_cxi


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Run each command in an empty directory, with nothing remembered of earlier commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TILED_PROFILES", str(tmp_path / "profiles"))
    return tmp_path


def error_line(capsys, *arguments: str) -> str:
    """Return the only line that a refused command writes to stderr."""
    assert main(arguments) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "%|" not in text and text.strip()]
    prefix = "bluesky-ptycho: error: "
    assert line.startswith(prefix)
    return line.removeprefix(prefix)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["reconstruct", "absent.cxi"], "absent.cxi does not exist"),
        (["reconstruct", "."], "is not a file"),
        (["runs"], "no catalog was named"),
        (["runs", "--catalog", "absent"], "'absent' is neither"),
        (["replay", "-1", "--catalog", "absent"], "'absent' is neither"),
        (["demo", "--frame-rate", "201"], "--frame-rate is 201.0; expected at most 200"),
        (["demo", "--shape", "1", "5"], "expected at least 2 2"),
        (["demo", "--sample", "absent.png"], "'absent.png' is neither"),
        (["demo", "--trajectory", "zigzag"], "'zigzag' is not known; known: interlaced"),
        (["demo", "--step", "1"], "overlap is"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, says, capsys):
    assert says in error_line(capsys, *arguments)


def test_unknown_settings_and_unusable_outputs_of_reconstruct(workplace, capsys):
    file = str(write_small_cxi(workplace / "star.cxi").path)
    assert "algorithm 'magic' is not known; known: " in error_line(capsys, "reconstruct", file, "--algorithm", "magic")
    assert "cannot be made" in error_line(capsys, "reconstruct", file, "--output", file)
    assert error_line(capsys, "reconstruct", file, "--modes", "100000000").startswith("not enough memory")


def test_replay_names_the_run_that_is_not_there(workplace, capsys, ptycho_catalog):
    directory = ptycho_catalog.name
    assert "no run 'beef'" in error_line(capsys, "replay", "beef", "--catalog", directory)
    assert "no scan -1" in error_line(capsys, "replay", "-1", "--catalog", directory)


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["demo", "--seed", "-1"], ["demo", "--photons", "0"], ["reconstruct", "a.cxi", "--modes", "0"]],
)
def test_arguments_that_cannot_be_read_end_with_status_2(arguments):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
