"""Rows that are read past HDF5 are those that HDF5 reads, and no others are."""

from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from bluesky_ptycho.io.plain_rows import are_plain, read_plain

FRAMES = np.random.default_rng(0).integers(0, 60000, (9, 5, 7), dtype=np.uint16)
PLAIN = {"chunks": (1, 5, 7)}


def stored(path, frames=FRAMES, **options):
    with h5py.File(path, "w", libver="latest", userblock_size=options.pop("userblock_size", 0)) as file:
        file.create_dataset("data", data=frames, **options)
    return h5py.File(path, "r", libver="latest", swmr=True)


@pytest.mark.parametrize("dtype", ["u2", "u4", "f4", "i8"])
def test_rows_are_those_that_hdf5_reads(tmp_path, dtype):
    with stored(tmp_path / "a.h5", FRAMES.astype(dtype), **PLAIN) as file, ThreadPoolExecutor(2) as threads:
        data, out = file["data"], np.empty((4, 5, 7), dtype)
        assert are_plain(data)
        with (tmp_path / "a.h5").open("rb") as raw:
            read_plain(data, raw.fileno(), [8, 0, 3, 4], out, threads)
        np.testing.assert_array_equal(out, data[()][[8, 0, 3, 4]])


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (2, 5, 7)},
        {"chunks": (1, 5, 4)},
        {},
        {**PLAIN, "compression": "gzip"},
        {**PLAIN, "fletcher32": True},
        {**PLAIN, "dtype": ">u2"},
        {**PLAIN, "userblock_size": 512},
    ],
    ids=str,
)
def test_other_rows_are_left_to_hdf5(tmp_path, options):
    with stored(tmp_path / "a.h5", **options) as file:
        assert not are_plain(file["data"])


def test_what_is_not_there_is_no_row(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("data", (3, 5, 7), "u2", **PLAIN)
        data[0], data[2] = FRAMES[0], FRAMES[2]
    out = np.empty((1, 5, 7), np.uint16)
    with h5py.File(path) as file, path.open("r+b") as raw, ThreadPoolExecutor(2) as threads:
        data = file["data"]
        with pytest.raises(OSError, match="row 1 was never written"):
            read_plain(data, raw.fileno(), [1], out, threads)
        begin, last = max((data.id.get_chunk_info_by_coord((row, 0, 0)).byte_offset, row) for row in (0, 2))
        raw.truncate(begin + 30)
        with pytest.raises(OSError, match=f"row {last} lies beyond the end of the file"):
            read_plain(data, raw.fileno(), [last], out, threads)
