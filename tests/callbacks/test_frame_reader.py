import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest

from bluesky_ptycho.callbacks.document_keys import FrameSource
from bluesky_ptycho.callbacks.frame_reader import FrameReader
from bluesky_ptycho.errors import MetadataError

DATASET = "/entry/data/data"


@pytest.fixture
def growing(tmp_path):
    """A SWMR file with room to grow, as a detector writes it."""
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w", libver="latest", locking=False) as file:
        data = file.create_dataset(DATASET, (0, 4, 6), maxshape=(None, 4, 6), chunks=(1, 4, 6), dtype="u2")
        file.swmr_mode = True

        def append(n):
            first = data.shape[0]
            data.resize(first + n, axis=0)
            for i in range(first, first + n):
                data[i] = i
            data.flush()

        yield FrameSource("s", path, DATASET, False), append


def test_reads_exactly_the_rows_asked_for_while_the_file_grows(growing):
    source, append = growing
    append(3)
    with FrameReader(source) as reader:
        assert reader.read(np.array([0, 2]), 1)[:, 0, 0, 0].tolist() == [0, 2]
        append(5)
        frames = reader.read(np.array([7, 3, 4]), 1)
        assert frames.shape == (3, 1, 4, 6)
        assert frames[:, 0, 0, 0].tolist() == [7, 3, 4]


@pytest.mark.parametrize(
    "options", [{"chunks": (1, 4, 6)}, {"chunks": (3, 4, 6)}, {"chunks": (1, 4, 6), "compression": 1}]
)
def test_rows_come_in_their_order_however_they_are_stored(tmp_path, options):
    path, frames = tmp_path / "frames.h5", np.random.default_rng(0).integers(0, 999, (8, 4, 6), dtype=np.uint16)
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset(DATASET, data=frames, **options)
    with FrameReader(FrameSource("s", path, DATASET, None)) as reader:
        np.testing.assert_array_equal(
            reader.read(np.array([6, 0, 2]), 2), frames[[6, 7, 0, 1, 2, 3]].reshape(3, 2, 4, 6)
        )
        assert reader._plain == (options == {"chunks": (1, 4, 6)})


def test_frames_of_several_exposures_stay_together(growing):
    source, append = growing
    append(8)
    with FrameReader(source) as reader:
        assert reader.read(np.array([0, 2, 6]), 2)[..., 0, 0].tolist() == [[0, 1], [2, 3], [6, 7]]


def test_waits_for_rows_that_come_late_and_says_which_never_came(growing):
    source, append = growing
    append(1)
    late = threading.Timer(0.2, append, args=[1])
    late.start()
    with FrameReader(source, patience_s=5.0) as reader:
        assert reader.read(np.array([1]), 1)[0, 0, 0, 0] == 1
    late.join()
    with FrameReader(source, patience_s=0.1) as reader:
        before = time.monotonic()
        with pytest.raises(MetadataError, match=r"holds 2 frames after 0\.1 s; expected 5"):
            reader.read(np.array([4]), 1)
        assert time.monotonic() - before < 5.0


def test_another_process_reads_while_this_one_writes(growing):
    source, append = growing
    append(4)
    code = f"""
import numpy as np
from pathlib import Path
from bluesky_ptycho.callbacks.document_keys import FrameSource
from bluesky_ptycho.callbacks.frame_reader import FrameReader
with FrameReader(FrameSource("s", Path({str(source.path)!r}), {DATASET!r}, False)) as reader:
    print(reader.read(np.array([1, 3]), 1)[:, 0, 0, 0].tolist())
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=280)
    assert answer.stdout.strip() == "[1, 3]"


def test_absent_file_and_absent_dataset_are_named(growing, tmp_path):
    source, append = growing
    append(1)
    with pytest.raises(MetadataError, match=r"nothing\.h5 does not exist"):
        FrameReader(FrameSource("s", tmp_path / "nothing.h5", DATASET, False), 0.1).read(np.array([0]), 1)
    with (
        FrameReader(FrameSource("s", source.path, "/other", False), 0.1) as reader,
        pytest.raises(MetadataError, match=r"no 3-D data set '/other'"),
    ):
        reader.read(np.array([0]), 1)


@pytest.fixture
def damaged(tmp_path):
    """Ten compressed frames, of which row 4 holds bytes that are none."""
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(DATASET, data=np.arange(10)[:, None, None] + np.zeros((10, 4, 6), "u2"),
                                   chunks=(1, 4, 6), compression="gzip", dtype="u2")  # fmt: skip
        data.id.write_direct_chunk((4, 0, 0), b"no deflate stream")
    return FrameSource("s", path, DATASET, None)


def test_a_row_that_cannot_be_read_costs_itself_only(damaged):
    with FrameReader(damaged, 0.1) as reader:
        frames, problems = reader.read_good(np.arange(10), 1)
        assert frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert list(problems) == [4] and "row 4: " in problems[4] and "\n" not in problems[4]
        frames, problems = reader.read_good(np.array([8, 4]), 2)
        assert (frames[:, :, 0, 0].tolist(), list(problems)) == ([[8, 9]], [1])
        frames, problems = reader.read_good(np.array([4]), 1)
        assert (len(frames), list(problems)) == (0, [0])


def test_a_file_cut_short_gives_what_it_holds(growing):
    source, append = growing
    append(3)
    big = source.path.with_name("big.h5")
    with h5py.File(big, "w", libver="latest") as file:
        data = file.create_dataset(DATASET, (40, 64, 64), maxshape=(None, 64, 64), chunks=(1, 64, 64), dtype="u2")
        file.swmr_mode = True
        for i in range(40):
            data[i] = i
            data.flush()
    with open(big, "r+b") as file:
        file.truncate(file.seek(0, 2) * 2 // 3)
    with FrameReader(FrameSource("s", big, DATASET, None), 0.1) as reader:
        frames, problems = reader.read_good(np.arange(40), 1)
        assert "beyond the end of the file" in problems[39]
    assert 10 < len(frames) < 40 and len(frames) + len(problems) == 40
    good = [i for i in range(40) if i not in problems]
    assert frames[:, 0, 0, 0].tolist() == good and (frames == frames[:, :, :1, :1]).all()


@pytest.fixture
def closed(tmp_path):
    """A camera's file of 64 frames, closed by its writer; its data set is described before its frames."""
    path = tmp_path / "closed.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(DATASET, (0, 32, 32), maxshape=(None, 32, 32), chunks=(1, 32, 32), dtype="u2")
        file.swmr_mode = True
        for i in range(64):
            data.resize(i + 1, axis=0)
            data[i] = i + 1
            data.flush()
    return FrameSource("s", path, DATASET, None)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("size", [100, 300, 1000, 2000, 5000, 20000, 100000])
def test_a_closed_file_cut_short_anywhere_never_hangs(closed, size):
    """In SWMR mode HDF5 tries for hours to read what its writer is taken to be writing."""
    whole = closed.path.stat().st_size
    with FrameReader(closed, 0.1) as reader:
        assert reader.read(np.arange(64), 1)[:, 0, 0, 0].tolist() == list(range(1, 65))
    with open(closed.path, "r+b") as file:
        file.truncate(size)
    with FrameReader(closed, 0.1) as reader:
        frames, problems = reader.read_good(np.arange(64), 1)
    assert len(frames) + len(problems) == 64 and (size > 2000) == bool(len(frames))
    assert frames.max(axis=(1, 2, 3), initial=0).tolist() == [i + 1 for i in range(64) if i not in problems]
    assert all(f"cut short: {size} of {whole} bytes" in problem for problem in problems.values())
    assert not any("\n" in problem for problem in problems.values())


def test_a_file_that_its_writer_has_open_is_none_that_is_cut_short(growing):
    source, append = growing
    append(1)
    with FrameReader(source, 0.1) as reader:
        reader.read(np.array([0]), 1)
        assert "cut short" not in reader.read_good(np.array([3]), 1)[1][0]


def test_a_row_that_was_left_out_is_told_from_a_row_of_zeros(growing):
    source, append = growing
    append(1)
    holes = source.path.with_name("holes.h5")
    with h5py.File(holes, "w", libver="latest") as file:
        data = file.create_dataset(DATASET, (6, 4, 6), chunks=(1, 4, 6), dtype="u2")
        for i in (0, 1, 3, 5):
            data[i] = 0
    with FrameReader(FrameSource("s", holes, DATASET, None), 0.1) as reader:
        frames, problems = reader.read_good(np.arange(6), 1)
    assert len(frames) == 4 and list(problems) == [2, 4] and "row 4 was never written" in problems[4]


def test_what_stays_away_is_waited_for_once(growing, tmp_path):
    source, append = growing
    append(2)
    with FrameReader(source, patience_s=0.3) as reader:
        before = time.monotonic()
        for _ in range(20):
            frames, problems = reader.read_good(np.array([1, 4]), 1)
            assert (frames[:, 0, 0, 0].tolist(), list(problems)) == ([1], [1])
        assert time.monotonic() - before < 5.0
        append(3)
        assert reader.read(np.array([4]), 1)[0, 0, 0, 0] == 4
    gone = FrameReader(FrameSource("s", tmp_path / "gone.h5", DATASET, None), patience_s=0.3)
    before = time.monotonic()
    for _ in range(20):
        assert "does not exist" in gone.read_good(np.arange(3), 1)[1][2]
    assert 0.3 < time.monotonic() - before < 5.0


def test_a_file_that_comes_late_is_waited_for(growing):
    source, append = growing
    append(2)
    late = source.path.with_name("late.h5")
    timer = threading.Timer(0.2, late.symlink_to, args=[source.path])
    timer.start()
    with FrameReader(FrameSource("s", late, DATASET, False), patience_s=10.0) as reader:
        assert reader.read(np.array([1]), 1)[0, 0, 0, 0] == 1
    timer.join()
