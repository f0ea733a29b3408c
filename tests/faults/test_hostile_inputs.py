"""Files and settings made to harm: nothing is executed or opened elsewhere, memory is bounded, the error is clear."""

import dataclasses
import json
import os
import pickle
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.errors import MetadataError, PtychoError, SettingsError
from bluesky_ptycho.io import hdf5
from bluesky_ptycho.metadata_file import MetadataFile
from bluesky_ptycho.preprocess import PreprocessSettings
from bluesky_ptycho.recon import SolverSettings
from tests.callbacks.compose import DATASET
from tests.callbacks.small_data import PIXEL_M

from .scene import SETTINGS, Scan, plain_plan, reconstruct, supply

HOSTILE = pytest.mark.fault(
    "20",
    "hostile inputs: pickled or object data sets, external links, decompression bombs, settings",
    bound="nothing executed, size caps, clear error",
)
N = 4
POSITIONS_M = np.stack([np.arange(N), np.zeros(N)], axis=1) * PIXEL_M
FRAMES = np.full((N, 32, 32), 7, dtype=np.uint16)


@pytest.fixture
def scan(tmp_path):
    return Scan(plain_plan(POSITIONS_M, (32, 32)), tmp_path, FRAMES)


class Executed(Exception):
    """Raised by what must never run."""


class Payload:
    def __reduce__(self):
        return (exec, ("from tests.faults.test_hostile_inputs import Executed\nraise Executed",))


def pickled(file, directory):
    data = file.create_dataset(DATASET, (N, 32, 32), dtype=h5py.special_dtype(vlen=np.uint8))
    data[0, 0, 0] = np.frombuffer(pickle.dumps(Payload()), dtype=np.uint8)


def opaque(file, directory):
    data = file.create_dataset(DATASET, (N, 32, 32), dtype="V64")
    data.attrs["pickle"] = np.void(pickle.dumps(Payload()))


def strings(file, directory):
    file.create_dataset(DATASET, (N, 32, 32), dtype=h5py.string_dtype())


def records(file, directory):
    file.create_dataset(DATASET, (N, 32, 32), dtype=[("a", "u2"), ("b", "u2")])


def other_file(directory):
    path = directory / "secret.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(DATASET, data=FRAMES)
    return path


def external_link(file, directory):
    file[DATASET] = h5py.ExternalLink(str(other_file(directory)), DATASET)


def link_to_itself(file, directory):
    file[DATASET] = h5py.SoftLink(DATASET)


def virtual(file, directory):
    layout = h5py.VirtualLayout((N, 32, 32), "u2")
    layout[:] = h5py.VirtualSource(str(other_file(directory)), DATASET, (N, 32, 32))
    file.create_virtual_dataset(DATASET, layout)


def external_storage(file, directory):
    (directory / "raw").write_bytes(FRAMES.tobytes())
    file.create_dataset(DATASET, (N, 32, 32), "u2", external=[(str(directory / "raw"), 0, h5py.h5f.UNLIMITED)])


def huge_frames(file, directory):
    file.create_dataset(DATASET, (N, 60_000, 60_000), "u2")


def huge_chunks(file, directory):
    file.create_dataset(DATASET, (2**21, 32, 32), "u2", chunks=(2**20, 32, 32), compression="gzip")


def packed_twice(file, directory):
    """A kilobyte of zeros that were packed, and then packed again."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_chunk((1, 32, 32))
    create.set_deflate(9)
    create.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_MANDATORY, (9,))
    group = file.require_group(os.path.dirname(DATASET))
    space = h5py.h5s.create_simple((N, 32, 32))
    h5py.h5d.create(group.id, os.path.basename(DATASET).encode(), h5py.h5t.NATIVE_UINT16, space, create)
    bomb = zlib.compress(zlib.compress(bytes(2**28), 9), 9)
    for row in range(N):
        file[DATASET].id.write_direct_chunk((row, 0, 0), bomb)


def a_bomb_in_a_chunk(file, directory):
    """Chunks of 2 kB that unpack to a gigabyte."""
    data = file.create_dataset(DATASET, (N, 32, 32), "u2", chunks=(1, 32, 32), compression="gzip")
    pack = zlib.compressobj(9)
    bomb = b"".join([*(pack.compress(bytes(2**24)) for _ in range(64)), pack.flush()])
    for row in range(N):
        data.id.write_direct_chunk((row, 0, 0), bomb)


FILES = {
    pickled: "expected numbers",
    opaque: "expected numbers",
    strings: "expected numbers",
    records: "expected numbers",
    external_link: "is a link to another file",
    link_to_itself: "leads nowhere but to itself",
    virtual: "keeps its data in other files",
    external_storage: "keeps its data in other files",
    huge_frames: "frames have shape (60000, 60000); the scan plan says (32, 32)",
    huge_chunks: "has chunks (1048576, 32, 32), 2.15 GB; expected at most",
    packed_twice: "expected one at most that unpacks",
    a_bomb_in_a_chunk: "bytes of a chunk",
}


def memory_mb(what):
    """Return one of Linux' counters of this process: VmRSS is what it holds, VmHWM the most that it held."""
    (line,) = [text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith(what)]
    return int(line.split()[1]) / 1024


def forget_peak_mb():
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mb("VmRSS")


@HOSTILE
@pytest.mark.parametrize("hostile", FILES, ids=lambda f: f.__name__)
def test_a_file_of_frames_costs_its_frames_and_little_memory(hostile, scan, tmp_path, figure):
    scan.path.unlink()
    with h5py.File(scan.path, "w", libver="latest") as file:
        hostile(file, tmp_path)
    documents, before = list(scan.documents()), forget_peak_mb()
    found = supply(documents)
    grown_mb = memory_mb("VmHWM") - before
    figure("all frames refused" if not found.frames else f"{len(found.frames)} frames of {hostile.__name__} used")
    assert not found.frames and sorted(found.rejected) == list(range(1, N + 1))
    assert all(FILES[hostile] in reason for reason in found.rejected.values()), found.rejected
    assert grown_mb < 300


@HOSTILE
@pytest.mark.parametrize("hostile", [f for f in FILES if f is not huge_frames], ids=lambda f: f.__name__)
def test_a_file_given_to_the_commands(hostile, tmp_path, figure):
    with h5py.File(tmp_path / "hostile.h5", "w", libver="latest") as file:
        hostile(file, tmp_path)
    with hdf5.open_for_reading(tmp_path / "hostile.h5") as file, pytest.raises(MetadataError) as refused:
        hdf5.array(hdf5.dataset(file, DATASET), "uif", (None, None, None), np.float32)
    assert "\n" not in str(refused.value) and "hostile.h5" in str(refused.value)


EVIL = {
    "unknown name": {"colour": "red"},
    "unknown part": {"solver": {"shell": "rm"}},
    "object tag": {"preprocess": {"preset": "!!python/object/apply:os.abort []"}},
    "huge number": {"passes": 10**30},
    "infinite": {"patience_s": float("inf")},
    "not a number": {"patience_s": float("nan")},
    "a list for a number": {"passes": [1] * 10**6},
    "text for a number": {"passes": "9" * 10**6},
    "true for a number": {"passes": True},
    "modes": {"solver": {"modes": 10**9}},
    "slices": {"solver": {"slices": 10**9}},
}


@HOSTILE
@pytest.mark.parametrize("case", EVIL)
def test_settings_read_from_json_are_refused_by_name(case, figure):
    text = json.dumps(EVIL[case])
    with pytest.raises(SettingsError) as refused:
        LiveSettings.from_mapping(json.loads(text))
    figure("settings refused")
    assert len(str(refused.value)) < 2000


@HOSTILE
def test_code_in_the_place_of_a_name_is_a_name_that_nobody_knows(scan, tmp_path, figure):
    name = "__import__('os')._exit(1)"
    unknown = r"_exit\(1\)\" is not known; known: "
    with pytest.raises(PtychoError, match=unknown):
        SETTINGS.with_changes(**{"solver.algorithm": name})
    stored = SETTINGS.to_dict()
    settings = LiveSettings.from_stored({**stored, "solver": {**stored["solver"], "algorithm": name}})
    with pytest.raises(PtychoError, match=unknown):
        reconstruct(scan.documents(), tmp_path, settings)
    figure("settings refused")


@HOSTILE
@pytest.mark.parametrize("cls", [LiveSettings, PreprocessSettings, SolverSettings])
def test_no_number_of_the_settings_is_without_bound(cls, figure):
    unbounded = []
    for field in dataclasses.fields(cls):
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            try:
                cls(**{field.name: 10**30})
                unbounded.append(field.name)
            except SettingsError:
                pass
    figure(f"{len(unbounded)} settings without bound")
    assert not unbounded


@HOSTILE
@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": ' * 50_000, "9" * 5000, "not json", '{"a": 1} trailing', "[1, 2]"]
)
def test_session_metadata_that_are_none(text, tmp_path, figure):
    path = tmp_path / "md.json"
    path.write_text(text)
    with pytest.raises(MetadataError, match=r"md\.json"):
        MetadataFile(path)
    figure("metadata refused")


@HOSTILE
def test_a_plan_of_an_endless_object_is_refused_before_memory_is_asked_for(scan, tmp_path, figure):
    documents = list(scan.documents())
    documents[0][1]["ptycho"].update(extent_m=[0.0, 0.01, 0.0, 0.01], positions_m=None)
    with LivePtycho(SETTINGS) as live:
        for name, doc in documents:
            live(name, doc)
        with pytest.raises(Exception, match="expected one that fits into"):
            live.wait(240)
    figure("endless object refused")
