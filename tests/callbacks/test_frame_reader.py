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
        with pytest.raises(MetadataError, match=r"holds 2 frames after 0\.1 s; documents announced 5"):
            reader.read(np.array([4]), 1)
        assert time.monotonic() - before < 2.0


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
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.strip() == "[1, 3]"


def test_absent_file_and_absent_dataset_are_named(growing, tmp_path):
    source, append = growing
    append(1)
    with pytest.raises(MetadataError, match=r"nothing\.h5 does not exist"):
        FrameReader(FrameSource("s", tmp_path / "nothing.h5", DATASET, False)).read(np.array([0]), 1)
    with (
        FrameReader(FrameSource("s", source.path, "/other", False)) as reader,
        pytest.raises(MetadataError, match=r"no 3-D data set '/other'"),
    ):
        reader.read(np.array([0]), 1)
