"""A stream resource that points outside the allowed directories is refused, and no file of it is opened."""

import contextlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_ptycho import LivePtycho
from bluesky_ptycho.callbacks import frame_reader
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.preprocess import PreprocessSettings
from bluesky_ptycho.raw_scan import stored_scan
from tests.callbacks.small_data import PIXEL_M
from tests.stored import store_scan

from .scene import SETTINGS, Scan, plain_plan

OUTSIDE = pytest.mark.fault("34", "stream_resource URI outside the allowed roots", bound="refused; no file read")
N = 16
FRAMES = np.random.default_rng(3).poisson(30, (N, 32, 32)).astype(np.uint16)
FRAMES[:, 8:24, 8:24] += 400


@pytest.fixture
def directories(tmp_path):
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    allowed.mkdir()
    secret.mkdir()
    return allowed, secret


@pytest.fixture
def opened(monkeypatch):
    """Paths that frames were read from."""
    paths, open_file = [], h5py.File

    def spy(path, *arguments, **options):
        paths.append(str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(frame_reader.h5py, "File", spy)
    return paths


def scan_in(directory):
    positions_m = np.stack(np.divmod(np.arange(N), 4), axis=1) * PIXEL_M
    return Scan(plain_plan(positions_m, (32, 32)), directory, FRAMES)


def analyse(documents, root):
    with LivePtycho(SETTINGS.replace(frame_roots=(str(root),))) as live:
        for name, doc in documents:
            live(name, doc)
        with contextlib.suppress(PtychoError):
            live.wait(240)
        return live.result


def through_the_parent(path, allowed):
    return f"file://localhost{allowed}/../{path.parent.name}/{path.name}"


def through_an_encoded_parent(path, allowed):
    return f"file://localhost{allowed}/%2e%2e/{path.parent.name}/{path.name}"


def through_a_link(path, allowed):
    (allowed / "link").symlink_to(path.parent)
    return f"file://localhost{allowed}/link/{path.name}"


def on_another_host(path, allowed):
    return f"file://elsewhere{path.rename(allowed / path.name)}"


def with_a_name_that_begins_alike(path, allowed):
    alike = allowed.with_name("allowed_not")
    alike.mkdir()
    return path.rename(alike / path.name).as_uri()


URIS = {
    "elsewhere": lambda path, allowed: f"file://localhost{path}",
    "through ..": through_the_parent,
    "through %2e%2e": through_an_encoded_parent,
    "through a link": through_a_link,
    "a name that begins alike": with_a_name_that_begins_alike,
    "another host": on_another_host,
    "another scheme": lambda path, allowed: f"http://localhost{path}",
    "a relative path": lambda path, allowed: f"file:{path.name}",
}


@OUTSIDE
@pytest.mark.parametrize("how", URIS)
def test_it_is_refused_and_not_opened(how, directories, opened, figure):
    allowed, secret = directories
    scan = scan_in(secret)
    uri, documents = URIS[how](scan.path, allowed), list(scan.documents())
    opened.clear()
    for name, doc in documents:
        if name == "stream_resource":
            doc["uri"] = uri
    outcome = analyse(documents, allowed)
    figure(f"{len(opened)} files opened, {outcome.progress.used} frames used")
    assert not opened and outcome.snapshot is None
    assert outcome.update.exit_status == "fail"
    # Links are followed when the file is to be opened; the rest is seen in the document.
    assert bool(outcome.update.rejected) == (how == "through a link")
    told = " ".join([*outcome.update.messages, *outcome.update.rejected.values()])
    assert "expected" in told and ("file" in told or "directory" in told)
    if how == "elsewhere":
        assert "or another directory named in the setting frame_roots or by open_catalog(frames=[...])" in told
        assert "the scan is not harmed: if a catalog holds it, bluesky-ptycho replay " in told


def test_within_the_roots_it_is_read(directories, opened):
    allowed, _ = directories
    outcome = analyse(list(scan_in(allowed).documents()), allowed)
    assert outcome.progress.used == N and opened


@OUTSIDE
def test_a_link_in_the_place_of_stored_frames_is_not_followed_out_of_the_catalog(catalog, tmp_path, opened, figure):
    uid = store_scan(catalog)["uid"]
    for stream in ("dark", "primary"):
        path = Path(catalog.frames_dir) / f"{uid}_{stream}.h5"
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    opened.clear()
    with stored_scan(uid, catalog, PreprocessSettings()) as scan:
        _, problems = scan.read(scan.points)
        assert "expected a file below" in scan.darks.message
    figure(f"{len(opened)} files opened, {len(scan.points) - len(problems)} frames used")
    assert not opened and len(problems) == len(scan.points)
    assert all("expected a file below" in problem for problem in problems.values())
