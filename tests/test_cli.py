"""What a user did wrong is told in one line, exit status 2."""

import dataclasses
import shutil
import socket
import warnings
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from event_model import compose_run

from bluesky_ptycho import ingest, resuming
from bluesky_ptycho.catalog import Catalog, backup, open_catalog, remember_catalog
from bluesky_ptycho.cli import _parser, main
from bluesky_ptycho.commands.arguments import PRESETS
from bluesky_ptycho.commands.demo import TRAJECTORIES
from bluesky_ptycho.commands.reconstruct import ALGORITHMS, SCHEDULE
from bluesky_ptycho.commands.resume import WAIT_S
from bluesky_ptycho.commands.set_option import read_set
from bluesky_ptycho.demo import DemoOptions, ScanClock, catalog_of_a_demo
from bluesky_ptycho.errors import PtychoError, SettingsError
from bluesky_ptycho.output import output_directory
from bluesky_ptycho.plans.trajectories import trajectories
from bluesky_ptycho.preprocess import PreprocessSettings
from bluesky_ptycho.preprocess.settings import PRESETS as preprocess_presets
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.registry import algorithms
from bluesky_ptycho.settings import Settings, setting
from tests.faults.test_catalog_down import free_port
from tests.small_cxi import write_small_cxi
from tests.stored import scan_documents, store_result, store_scan


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
        (
            ["demo", "--frame-rate", "201"],
            "--frame-rate is 201 Hz; expected 0.01 (a frame in 100 s) to 200 (the camera",
        ),
        (["demo", "--frame-rate", "1e-9"], "--frame-rate is 1e-09 Hz; expected 0.01"),
        (["demo", "--shape", "0", "5"], "--shape is 0 5; expected NY and NX of 2 or more each, and 1000000 points at"),
        (["demo", "--shape", "1", "5"], "--shape is 1 5; expected NY and NX of 2 or more each, and 1000000 points at"),
        (
            ["demo", "--shape", "100000", "100000"],
            "--shape is 100000 100000; expected NY and NX of 2 or more each, and",
        ),
        (["demo", "--step", "1e-15"], "--step is 1e-15 µm; expected 0.0001 (an atom's size) to 0.25"),
        (["demo", "--step", "0.26"], "to 0.25 (points farther apart overlap too little)"),
        (["demo", "--photons", "1e30"], "--photons is 1e+30; expected 1 to 1e+09 a frame"),
        (["demo", "--photons", "0.5"], "--photons is 0.5; expected 1 to 1e+09 a frame"),
        (["reconstruct", "-1"], "-1 does not exist; expected a file (bluesky-ptycho replay takes runs)"),
        (["ingest", "3d60"], "3d60 does not exist; expected a file (bluesky-ptycho replay takes runs)"),
        (["preprocess", "./absent"], "./absent does not exist"),
        (
            ["preprocess", "1", "--energy", "700"],
            "--energy is given; expected only for a raw HDF5 file: run 1 tells it",
        ),
        (
            ["preprocess", "1", "--zone-plate", "240,60,60,10", "--position-unit", "um"],
            "--position-unit, --zone-plate are given; expected only for a raw HDF5 file",
        ),
        (
            ["preprocess", "1", "--preset", "cosmic", "--set", "preset=nanosurveyor"],
            "--set preset=nanosurveyor is given with an option for it; expected one of them",
        ),
        (
            ["convert", "1", "--to", "cxi", "--set", "binning=2", "--set", "preprocess.binning=4"],
            "--set binning is given as 2 and as 4; expected it once",
        ),
        (
            ["mask", "1", "--below", "10", "--above", "1"],
            "--below is 10, more than --above, which is 1; expected it to",
        ),
        (["reprocess", "1", "--mask", "absent.npy"], "mask is 'absent.npy'; there is no such file"),
        (["demo", "--settings", "."], "settings file . is no file"),
        (["reprocess", "1", "--priority", "3"], "--priority is given; expected only with --scheduler"),
        (["resume", "--output", "x"], "--output is given; expected only with the UID of a scan"),
        (["runs", "--since", "-3d"], "--since is '-3d'; expected 2026-11-01"),
        (["runs", "--resolution", "-20nm"], "--resolution is '-20nm'; expected a half pitch above 0"),
        (["runs", "--energy", "nan"], "--energy is 'nan'; expected a positive energy in eV"),
        (["runs", "--energy", "0"], "--energy is '0'; expected a positive energy in eV"),
        (["runs", "--energy", "-700"], "--energy is '-700'; expected a positive energy in eV"),
        (
            ["reconstruct", "absent.cxi", "--algorithm", "rpie:3"],
            "--algorithm is 'rpie:3'; expected one name (--schedule takes names, batches and passes)",
        ),
        (
            ["reconstruct", "absent.cxi", "--schedule", "mpie:5,ml", "--iterations", "5"],
            "--iterations is 5; expected more than 5, after which ml of the schedule",
        ),
        (
            ["convert", "1", "--to", "tiff", "--stage", "raw"],
            "--stage 'raw' cannot become 'tiff': frames are too many for a picture; expected --to cxi or nxs",
        ),
        (["demo", "--sample", "absent.png"], "'absent.png', which is no file; expected goldballs, siemens or an image"),
        (
            ["reconstruct", "absent.cxi", "--algorithm", "magic"],
            "--algorithm: algorithm 'magic' is not known; known: admm, dm, epie, lsqml, ml, mpie, raar, rpie",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, says, capsys):
    assert says in error_line(capsys, *arguments)


def test_unknown_settings_and_unusable_outputs_of_reconstruct(workplace, capsys):
    file = str(write_small_cxi(workplace / "star.cxi").path)
    assert "algorithm 'magic' is not known; known: " in error_line(capsys, "reconstruct", file, "--algorithm", "magic")
    told = error_line(capsys, "reconstruct", file, "--output", f"{file}/x")
    assert f"--output is {file}/x, and {file} is a file; expected the name of a directory" in told
    assert "--schedule: schedule is 'mpie,ml:3'; expected NAME:PASSES" in error_line(
        capsys, "reconstruct", file, "--schedule", "mpie,ml:3"
    )
    focus = error_line(capsys, "reconstruct", file, "--focus-to-sample", "0.01")
    assert "--focus-to-sample is 0.01; expected only with --propagation near" in focus
    twice = error_line(capsys, "reconstruct", file, "--modes", "2", "--set", "modes=3")
    assert "--set modes=3 is given with an option for it; expected one of them" in twice
    assert "--algorithm: schedule is ''" in error_line(capsys, "reconstruct", file, "--algorithm", "")
    for typo in ("speed=3", "solver.speed=3"):
        assert "--set speed is no setting; did you mean seed?" in error_line(capsys, "reconstruct", file, "--set", typo)
    assert "which opens no window" in error_line(capsys, "reconstruct", file, "--figure")
    assert "solver.modes is 100000000; expected a whole number, 1 <= value <= 256, or none" in error_line(
        capsys, "reconstruct", file, "--modes", "100000000"
    )


def test_a_warning_is_a_line_without_the_code_it_comes_from(workplace, capsys):
    file = str(write_small_cxi(workplace / "star.cxi", guess=False).path)
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["reconstruct", file, "--iterations", "1", "--set", "frc_passes=1"]) == 0
        (told,) = [line for line in capsys.readouterr().err.splitlines() if "reconstructing" not in line]
        assert main(["--quiet", "reconstruct", file, "--iterations", "1", "--set", "frc_passes=1"]) == 0
    assert told.startswith("no zone plate in the scan plan and no probe given: ")
    assert told.endswith("or an earlier probe")
    assert capsys.readouterr().err == ""
    assert warnings.showwarning is before


def test_settings_of_a_command_may_be_named_as_those_of_all():
    assert read_set(["solver.slices=2", "modes=3"], SolverSettings) == {"slices": 2, "modes": 3}
    assert read_set(["preprocess.binning=2"], PreprocessSettings) == {"binning": 2}


def test_a_name_that_two_settings_have_is_not_guessed():
    @dataclasses.dataclass(frozen=True)
    class Both(Settings):
        preprocess: PreprocessSettings = setting(PreprocessSettings(), "One.")
        again: PreprocessSettings = setting(PreprocessSettings(), "Another.")

    with pytest.raises(SettingsError, match=r"did you mean preprocess\.binning or again\.binning\?"):
        read_set(["binning=2"], Both)


def test_replay_names_the_run_that_is_not_there(workplace, capsys, ptycho_catalog):
    directory = ptycho_catalog.name
    assert "no run 'beef'" in error_line(capsys, "replay", "beef", "--catalog", directory)
    assert f"no scan -1: the catalog has 0 scans (catalog {directory})" in error_line(
        capsys, "replay", "-1", "--catalog", directory
    )
    assert not (workplace / "ptycho_replay").exists()


def test_a_demo_that_cannot_be_leaves_nothing_and_is_no_default(workplace, capsys, monkeypatch):
    monkeypatch.setattr("bluesky_ptycho.plans.skeleton.shutil.disk_usage", lambda path: SimpleNamespace(free=10**6))
    told = error_line(capsys, "demo", "--shape", "4", "5", "--output", "made/here")
    assert "--shape 4 5 --step 0.08 (µm): disk space is short: " in told
    for wrong in (["--sample", "absent.png"], ["--shape", "4", "5"]):
        error_line(capsys, "demo", *wrong, "--output", "made/here")
        assert not (workplace / "made").exists() and not (workplace / "state").exists()
    (workplace / "made").mkdir()
    error_line(capsys, "demo", "--shape", "4", "5", "--output", "made/here")
    assert (workplace / "made").exists() and not (workplace / "made" / "here").exists()


def test_a_demo_that_cannot_be_leaves_what_others_have_put_there(tmp_path):
    directory = tmp_path / "here" / "catalog"
    with catalog_of_a_demo(directory, ScanClock()) as catalog:
        frames = catalog.frames_dir / "of" / "another.h5"
        frames.parent.mkdir(parents=True)
        frames.write_bytes(b"frames")
    assert frames.exists()


def test_a_demo_whose_catalog_cannot_be_asked_leaves_it(tmp_path, monkeypatch):
    def away(catalog):
        raise PtychoError("the server is away")

    monkeypatch.setattr(Catalog, "__len__", away)
    with pytest.raises(PtychoError, match="away"), catalog_of_a_demo(tmp_path / "catalog", ScanClock()):
        pass
    assert (tmp_path / "catalog").is_dir()


COMMANDS_OF_A_RUN = (
    ["replay"], ["view"], ["resume"], ["reprocess"], ["mask", "--above", "9"], ["show"], ["convert", "--to", "cxi"],
    ["preprocess"], ["bug-report"], ["report"],
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS_OF_A_RUN, ids=lambda command: command[0])
def test_a_refusal_is_one_line_that_names_the_catalog_that_was_not_given(workplace, capsys, ptycho_catalog, command):
    remember_catalog(ptycho_catalog.name)
    line = error_line(capsys, *command, "beef")
    assert line.endswith(f"neither among scans nor among results (catalog {ptycho_catalog.name})")


def test_the_catalog_that_was_not_given_is_told_when_all_goes_well(workplace, capsys, ptycho_catalog):
    remember_catalog(ptycho_catalog.name)
    says = f"catalog {ptycho_catalog.name} (no --catalog was given)"
    write_small_cxi(workplace / "star.cxi")
    commands = (["ingest", "star.cxi"], ["logbook"], ["restore"], ["resume"], ["preprocess", "1"], ["show", "1"])
    for arguments in commands:
        assert main(arguments) == 0
        assert capsys.readouterr().err.splitlines().count(says) == 1
    for more in (["--quiet"], ["--catalog", ptycho_catalog.name]):
        assert main(["logbook", *more]) == 0
        assert says not in capsys.readouterr().err


def test_what_is_no_hdf5_makes_no_catalog(workplace, capsys):
    (workplace / "README.md").write_text("# no frames\n")
    assert error_line(capsys, "ingest", "README.md", "--catalog", "new") == "README.md is not an HDF5 file"
    (workplace / "empty.cxi").touch()
    assert "empty.cxi is not an HDF5 file: it is empty" in error_line(capsys, "ingest", "empty.cxi", "--catalog", "new")
    assert "absent.cxi does not exist" in error_line(capsys, "ingest", "absent.cxi", "--catalog", "new")
    write_small_cxi(workplace / "nan.cxi")
    with h5py.File("nan.cxi", "r+") as file:
        file["entry_1/instrument_1/source_1/energy"][...] = np.nan
    assert "nan" in error_line(capsys, "ingest", "nan.cxi", "--catalog", "new")
    with pytest.raises(PtychoError):
        ingest("nan.cxi", workplace / "new")
    assert not (workplace / "new").exists()


def test_a_run_that_is_no_scan_of_ours_leaves_no_directory(workplace, capsys, ptycho_catalog):
    writer = ptycho_catalog.raw_writer()
    bundle = compose_run(metadata={"scan_id": 4})
    writer("start", bundle.start_doc)
    writer("stop", bundle.compose_stop())
    for command in (["replay"], ["replay", "--output", "made/here"], ["resume"], ["view", "--port", "0"]):
        line = error_line(capsys, *command, "4", "--catalog", ptycho_catalog.name)
        assert line == f"run {bundle.start_doc['uid']} carries no ptychography scan"
    assert [p.name for p in workplace.iterdir()] == ["catalog"]


def test_a_directory_goes_again_where_nothing_came_of_it_and_stays_else(workplace):
    (workplace / "there").mkdir()
    for wanted in (Path("made/here"), None, Path("there")):
        with pytest.raises(PtychoError), output_directory(wanted, Path("default")) as made:
            assert made.is_dir()
            raise PtychoError("no frames")
    assert sorted(p.name for p in workplace.iterdir()) == ["there"]
    with pytest.raises(PtychoError), output_directory(None, Path("default")) as made:
        (made / "summary.json").write_text("{}")
        raise PtychoError("no frames")
    assert (workplace / "default" / "summary.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--settings", "s.toml"], "settings file s.toml: speed is no setting"),
        (["--address", "300.0.0.1:5578"], "'300.0.0.1:5578' cannot"),
    ],
)
def test_to_listen_with_what_cannot_be_makes_no_catalog(workplace, capsys, arguments, says):
    (workplace / "s.toml").write_text("speed = 2\n")
    assert says in error_line(capsys, "listen", *arguments, "--catalog", "new")
    assert not (workplace / "new").exists()


def test_a_catalog_that_refuses_what_is_ingested_is_an_error_and_restore_stores_it(
    workplace, capsys, ptycho_catalog, monkeypatch
):
    write_small_cxi(workplace / "star.cxi")
    directory = ptycho_catalog.name

    def refuse(self, container, **options):
        raise PermissionError("read only")

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "writer_into", refuse)
        assert main(["--quiet", "ingest", "star.cxi", "--catalog", directory]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    (kept,) = ptycho_catalog.backup_dir.glob("*.jsonl")
    assert said.out == ""
    assert line == (
        f"bluesky-ptycho: error: catalog {directory} did not take a run (PermissionError: read only); its documents "
        f"are kept: bluesky-ptycho restore {kept} --catalog {directory}"
    )
    assert main(["restore", str(kept), "--catalog", directory]) == 0
    assert main(["convert", "-1", "--to", "nxs", "--stage", "raw", "--catalog", directory]) == 0


def test_frames_of_a_run_that_is_not_kept_either_go(workplace, capsys, ptycho_catalog, monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError("read only")

    write_small_cxi(workplace / "star.cxi")
    monkeypatch.setattr(Catalog, "writer_into", refuse)
    monkeypatch.setattr(backup, "RunFile", refuse)
    assert main(["ingest", "star.cxi", "--catalog", ptycho_catalog.name]) == 2
    assert "did not take a run, which is not kept either" in capsys.readouterr().err.splitlines()[-1]
    assert not list(ptycho_catalog.frames_dir.glob("*.h5"))


def test_a_port_that_is_taken_is_told(workplace, capsys, ptycho_catalog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = error_line(capsys, "view", "--catalog", ptycho_catalog.name, "--port", str(port))
    assert line == f"--port {port} is in use; expected a free one, or none, which takes any"


def test_a_page_is_served_on_an_address(capsys, ptycho_catalog):
    line = error_line(capsys, "view", "--catalog", ptycho_catalog.name, "--host", "")
    assert line == "--host is ''; expected an address, as 127.0.0.1, or 0.0.0.0 for all"
    line = error_line(capsys, "view", "--catalog", ptycho_catalog.name, "--token", "short")
    assert line.startswith("--token does not fit; expected 12 or more")


@pytest.mark.parametrize("command", ["replay", "view", "resume", "reprocess"])
def test_a_run_that_is_not_there_makes_no_catalog_the_default(command, workplace, capsys, ptycho_catalog):
    assert "no run 'beef'" in error_line(capsys, command, "beef", "--catalog", ptycho_catalog.name)
    assert not (workplace / "state").exists()


def test_to_list_runs_does_not_make_a_catalog_the_default(workplace, capsys, ptycho_catalog):
    assert main(["runs", "--catalog", ptycho_catalog.name]) == 0
    assert "no catalog was named" in error_line(capsys, "runs")


WHOLE = "expected a whole number, 1 or more"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--seed", "-3"], "argument --seed: value is '-3'; expected a whole number, 0 or more"),
        (["demo", "--photons", "0"], "argument --photons: value is '0'; expected a positive number"),
        (["demo", "--photons", "nan"], "argument --photons: value is 'nan'; expected a positive number"),
        (["demo", "--step", "wide"], "argument --step: value is 'wide'; expected a positive number"),
        (["demo", "--shape", "x", "5"], "argument --shape: value is 'x'; expected a whole number"),
        (["demo", "--trajectory", "zigzag"], "argument --trajectory: invalid choice: 'zigzag' (choose from "),
        (["reconstruct", "a.cxi", "--modes", "0"], f"argument --modes: value is '0'; {WHOLE}"),
        (["reconstruct", "a.cxi", "--propagation", "mid"], "argument --propagation: invalid choice: 'mid'"),
        (
            ["reconstruct", "a.cxi", "--focus-to-sample", "0"],
            "argument --focus-to-sample: value is '0'; expected a pos",
        ),
        (["reconstruct", "a.cxi", "--iterations", "1.5"], f"argument --iterations: value is '1.5'; {WHOLE}"),
        (["reconstruct", "a.cxi", "--noise", "pink"], "argument --noise: invalid choice: 'pink' (choose from "),
        (
            ["reconstruct", "a.cxi", "--algorithm", "ml", "--schedule", "mpie:3"],
            "argument --schedule: not allowed with argument --algorithm",
        ),
        (["view", "--port", "99999"], "argument --port: value is '99999'; expected a port, 1 to 65535, or 0 for any"),
        (["view", "--port", "-1"], "argument --port: value is '-1'; expected a port"),
        (["listen", "--address", "127.0.0.1"], "argument --address: value is '127.0.0.1'; expected HOST:PORT"),
        (["listen", "--address", ":5578"], "argument --address: value is ':5578'; expected HOST:PORT"),
        (["listen", "--address", "a:70000"], "argument --address: value is 'a:70000'; expected HOST:PORT"),
        (["show", "5", "7"], "unrecognized arguments: 7 (see bluesky-ptycho show --help)"),
        (["runs", "--fast"], "unrecognized arguments: --fast (see bluesky-ptycho runs --help)"),
        (["demo", "--output", ""], "argument --output: value is ''; expected the name of a directory"),
        (["replay", "-1", "--output", " "], "argument --output: value is ' '; expected the name of a directory"),
        (["reconstruct", "a.cxi", "--output", ""], "argument --output: value is ''; expected the name of a directory"),
        (["preprocess", "1", "--preset", "x"], "argument --preset: invalid choice: 'x' (choose from "),
        (["preprocess", "1", "--exposures", "1,0"], "argument --exposures: value is '0'; expected a positive number"),
        (
            ["preprocess", "1", "--zone-plate", "240,60"],
            "argument --zone-plate: value is '240,60'; expected diameter in",
        ),
        (["preprocess", "1", "--explain", "x"], f"argument --explain: value is 'x'; {WHOLE}"),
        (["preprocess", "1", "--explain", "-1"], f"argument --explain: value is '-1'; {WHOLE}"),
        (["reprocess", "1", "--priority", "x"], "argument --priority: value is 'x'; expected a whole number"),
        (["runs", "--cat", "x"], "unrecognized arguments: --cat x; did you mean --catalog?"),
        (["runs", "--catalogue=x"], "unrecognized arguments: --catalogue=x; did you mean --catalog?"),
        (["--qui", "runs"], "unrecognized arguments: --qui"),
        (
            ["replay", "1", "--no-changes", "--settings", "s.toml"],
            "argument --settings: not allowed with argument --no",
        ),
        (["ingest", ""], "argument FILE: value is ''; expected the name of a file"),
        (["reconstruct", ""], "argument FILE.cxi: value is ''; expected the name of a file"),
        (["demo", "--settings", ""], "argument --settings: value is ''; expected the name of a file"),
        (["preprocess", "a.h5", "--energy", "0.7"], "argument --energy: value is '0.7'; expected 1 to 1,000,000 eV"),
        (["preprocess", "a.h5", "--distance", "121000"], "argument --distance: value is '121000'; expected 0.0001 to"),
        (
            ["reprocess", "1", "--scheduler", "nonsense"],
            "argument --scheduler: value is 'nonsense'; expected HOST:PORT",
        ),
        (["reprocess", "1", "--scheduler", "://1.2.3.4:5"], "argument --scheduler: value is '://1.2.3.4:5'; expected"),
        (
            ["runs", "--since", "-x"],
            "argument --since: expected one argument; one that begins with - is written --since=-",
        ),
        (["ingest", "a.cxi", "--sample", " "], "argument --sample: value is ' '; expected a name"),
        (["restore", ""], "argument BACKUP: value is ''; expected the name of a file"),
        (["reconstruct"], "the following arguments are required: FILE.cxi"),
        ([], "the following arguments are required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["doctr"], "; did you mean doctor? (see "),
        (["convert", "1", "--output", "a", "--to", "cxl"], "; did you mean cxi? (see "),
        (["convert", "1", "--output", "a"], "are required: --to, one of cxi, nxs, ptyd, tiff"),
    ],
)
def test_arguments_that_cannot_be_read_are_told_in_one_line(arguments, says, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("bluesky-ptycho: error: ")
    assert says in line
    assert line.endswith(" --help)")
    assert out == ""


@pytest.mark.parametrize("command", ["demo", "preprocess", "reconstruct", "replay", "runs"])
def test_help_tells_every_argument_and_its_default(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert "None" not in capsys.readouterr().out
    commands = next(a for a in _parser()._actions if isinstance(a.choices, dict)).choices
    for action in commands[command]._actions:
        assert action.help, action


def test_names_and_defaults_in_the_help_are_those_of_the_tables():
    assert sorted(ALGORITHMS) == sorted(algorithms)
    assert SolverSettings().algorithm == SCHEDULE
    assert list(PRESETS) == list(preprocess_presets)
    assert PreprocessSettings().preset == PRESETS[0]
    assert sorted(TRAJECTORIES) == sorted(trajectories)
    arguments = vars(_parser().parse_args(["demo"]))
    defaults = dataclasses.asdict(DemoOptions())
    assert {name: arguments[name] for name in defaults} == defaults


@pytest.mark.parametrize(
    ("command", "work"), [("view", "bluesky_ptycho.commands.view.follow"), ("listen", "zmq.Socket.poll")]
)
def test_ctrl_c_is_the_end_of_what_goes_on_until_then(command, work, monkeypatch, capsys, ptycho_catalog):
    def interrupted(*args):
        raise KeyboardInterrupt

    pytest.importorskip("zmq")
    monkeypatch.setattr(work, interrupted)
    place = ["--address", f"127.0.0.1:{free_port()}"] if command == "listen" else ["--port", "0"]
    assert main([command, "--catalog", ptycho_catalog.name, *place]) == 0
    assert capsys.readouterr().err == "ended\n"


def test_an_empty_catalog_is_told_by_name(catalog_dir, capsys):
    assert main(["runs", "--catalog", str(catalog_dir)]) == 0
    assert capsys.readouterr().out == f"no scans in {catalog_dir}\n"


def test_reconstructions_of_scans_that_are_elsewhere_are_listed(catalog_dir, capsys, tmp_path):
    elsewhere = shutil.copytree(catalog_dir, tmp_path / "elsewhere")
    with open_catalog(elsewhere) as other, open_catalog(catalog_dir) as here:
        uid = store_result(here, store_scan(other, scan_id=7))
    assert main(["runs", "--catalog", str(catalog_dir)]) == 0
    first, _, told, _, row = capsys.readouterr().out.splitlines()
    assert (first, told) == (f"no scans in {catalog_dir}", "1 reconstruction of scans that are not in this catalog")
    assert row.endswith(uid[:8]) and "success" in row


@pytest.mark.slow
def test_reconstructions_of_scans_that_are_elsewhere_stand_after_the_catalogs_own_scans(
    catalog_dir, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("bluesky_ptycho.catalog.search.PAGE", 1)  # scans are asked for in pages, whose order is another
    elsewhere = shutil.copytree(catalog_dir, tmp_path / "elsewhere")
    with open_catalog(elsewhere) as other, open_catalog(catalog_dir) as here:
        uids = [store_result(here, store_scan(other, scan_id=n)) for n in range(7, 11)]
        own = store_result(here, store_scan(here, scan_id=1))
    assert main(["runs", "--catalog", str(catalog_dir)]) == 0
    _, _, _, ours, _, told, _, *rows = capsys.readouterr().out.splitlines()
    assert ours.endswith(own[:8]) and told == "4 reconstructions of scans that are not in this catalog"
    assert [row[-8:] for row in rows] == [uid[:8] for uid in reversed(uids)]
    assert main(["runs", "--catalog", str(catalog_dir), "--limit", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "... and more: --limit 2"
    assert main(["runs", "--catalog", str(catalog_dir), "--since", "today"]) == 0
    assert "not in this catalog" not in capsys.readouterr().out, "a search is for scans"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": 1}\n', "line 1 is '{\"a\": 1}'; expected a document as Bluesky makes it, {"),
        ("hello\n", "line 1 is 'hello'; expected a document as Bluesky makes it, {"),
        ('{"name": "start", "doc": 3}\n', "expected a document as Bluesky makes it, {"),
        ('{"name": "start", "doc": {"time": 1}}\n', "line 1 is a 'start' document without uid; expected a whole one"),
        (
            '{"name": "start", "doc": {"time": 1, "uid": "a-b"}}\n{"name": "event", "doc": {"time": 1, "uid": "c"}}\n',
            "line 2 is a 'event' document without data, descriptor, seq_num, timestamps; expected a whole one",
        ),
        (b"\x89HDF\r\n\x1a\n\x00", "line 1 is no text; expected a document as Bluesky makes it, {"),
        ('{"name": "start"', "it holds no document, only a part of one; expected those of a run"),
    ],
)
def test_a_file_that_holds_no_run_is_told_by_line_and_nothing_of_it_is_stored(
    workplace, capsys, ptycho_catalog, content, says
):
    (workplace / "kept.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["restore", "kept.jsonl", "--catalog", ptycho_catalog.name]) == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("bluesky-ptycho: error: kept.jsonl: ") and says in line and not said.out
    assert len(ptycho_catalog) == 0 and (workplace / "kept.jsonl").is_file()


@pytest.mark.parametrize("command", ["view", "listen"])
def test_what_writes_runs_is_remembered_and_what_only_reads_is_not(
    command, ptycho_catalog, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("zmq")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    documents = list(scan_documents(tmp_path))

    def work(listener_or_updates, *figure):
        if command == "listen":
            for name, doc in documents:
                listener_or_updates._callback(name, doc)
        raise KeyboardInterrupt

    monkeypatch.setattr("bluesky_ptycho.commands.view.follow", work)
    monkeypatch.setattr("bluesky_ptycho.listener.Listener.run", work)
    place = ["--address", f"127.0.0.1:{free_port()}"] if command == "listen" else ["--port", "0"]
    assert main([command, "--catalog", ptycho_catalog.name, *place]) == 0
    kept = tmp_path / "state" / "bluesky_ptycho" / "catalog"
    assert (kept.read_text().strip() if kept.is_file() else None) == {"listen": ptycho_catalog.name}.get(command)


def test_the_patience_of_help_is_that_of_resume():
    assert WAIT_S == resuming.PATIENCE_S
