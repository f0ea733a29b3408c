"""Files of writers that were killed, whole and cut short: read as far as they go, or told of, and never waited for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from bluesky_ptycho.callbacks import shared_files
from bluesky_ptycho.cli import main
from bluesky_ptycho.io.cut_file import lookup3
from tests.small_cxi import write_small_cxi

WRITER = """
    import sys, time, h5py, numpy as np
    with h5py.File(sys.argv[1], "a", libver="latest") as file:
        frames = file.create_dataset("entry/data/data", (0, 16, 16), "u2", maxshape=(None, 16, 16), chunks=(1, 16, 16))
        if sys.argv[2] == "swmr":
            file.swmr_mode = True
        for i in range(60):
            frames.resize(i + 1, 0)
            frames[i] = i + 1
            frames.flush()
        file.flush()
        print("written", flush=True)
        time.sleep(600)
"""
READER = """
    import json, sys, time
    from pathlib import Path
    import numpy as np
    from bluesky_ptycho.callbacks.document_keys import FrameSource
    from bluesky_ptycho.callbacks.frame_reader import FrameReader
    for path in sys.argv[1:]:
        reader = FrameReader(FrameSource("u", Path(path), "entry/data/data", False), patience_s=0.05)
        for _ in range(2):
            begun = time.monotonic()
            frames, problems = reader.read_good(np.arange(60), 1)
            seconds = time.monotonic() - begun
        print(json.dumps([[int(f[0, 0, 0]) for f in frames], sorted(set(problems.values())), seconds]), flush=True)
"""


def killed_writer(path, mode):
    """Write 60 frames, numbered from 1 on, and die."""
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), mode], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    return path.read_bytes()


def test_frames_of_a_killed_writer_are_read_or_told_of_wherever_the_file_ends(tmp_path):
    content = killed_writer(tmp_path / "whole.h5", "swmr")
    lengths = [*np.linspace(60, len(content), 24).astype(int).tolist()]
    paths = [tmp_path / f"{length}.h5" for length in lengths]
    for path, length in zip(paths, lengths, strict=True):
        path.write_bytes(content[:length])
    # In a process of its own: HDF5 that waits for good cannot be stopped otherwise.
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READER), *map(str, paths)],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(paths)
    for values, problems, seconds in found:
        assert values == list(range(1, len(values) + 1)), "what is read is what was written"
        assert seconds < 1.0, "the second time nobody waits"
        assert (len(values) == 60) != bool(problems)
    assert found[-1][0] == list(range(1, 61)), "the whole file"
    assert any("writer has not closed it" in problem for _, problems, _ in found for problem in problems)


@pytest.mark.parametrize("mode", ["swmr", "latest"])
def test_every_command_tells_of_the_file_of_a_killed_writer(tmp_path, mode, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_small_cxi(tmp_path / "measured.cxi")
    with h5py.File("measured.cxi") as old, h5py.File("raw.cxi", "w", libver="latest") as new:
        old.copy("entry_1", new)
    content = killed_writer(tmp_path / "raw.cxi", mode)
    (tmp_path / "cut.cxi").write_bytes(content[: len(content) // 3])
    facts = ["--energy", "800", "--distance", "0.1", "--pixel", "30"]
    for command in (
        ["reconstruct", "FILE"],
        ["preprocess", "FILE", "--output", "clean.cxi", *facts],
        ["ingest", "FILE", "--catalog", "new"],
        ["show", "FILE", "--output", "a.png"],
    ):
        for file, says in (("raw.cxi", "is being written, or its writer has crashed"), ("cut.cxi", "cut short")):
            assert main([file if word == "FILE" else word for word in command]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"bluesky-ptycho: error: {file} ") and says in line
    assert not (tmp_path / "new").exists() and not (tmp_path / "clean.cxi").exists()


def test_the_checksum_is_that_of_hdf5(tmp_path):
    for kind in ("latest", "v110"):
        with h5py.File(tmp_path / "a.h5", "w", libver=kind) as file:
            file[kind] = 1
        head = (tmp_path / "a.h5").read_bytes()[:48]
        assert lookup3(head[:44]) == int.from_bytes(head[44:], "little")


def test_what_has_no_chunks_is_read_while_its_file_is_written(tmp_path):
    """A data set of fixed size may lie in one piece: it has no index that could be damaged."""
    with h5py.File(tmp_path / "frames.h5", "w", libver="latest") as file:
        file["frames"] = np.arange(6.0).reshape(3, 2)
        file.swmr_mode = True
        shared = shared_files.acquire(tmp_path / "frames.h5", None)
        assert shared.data("frames", lambda opened: opened["frames"])[2].tolist() == [4.0, 5.0]
        shared_files.release(shared)
