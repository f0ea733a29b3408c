"""One archive with what a bug report needs, and nobody in it."""

from __future__ import annotations

import json
import shutil
import zipfile

import h5py
import numpy as np

from bluesky_ptycho.bug_report import write_bug_report
from bluesky_ptycho.catalog import open_catalog
from tests.stored import numbered_frames, store_scan

from .commands import KEY, run


def test_a_bug_report_holds_what_is_needed_and_tells_of_nobody(desk, workplace, capsys):
    log = workplace / "session.log"
    log.write_text(f"Authorization: Apikey {KEY}\nhttps://jane:{KEY}@server/\nJane Doe measured Gold balls\nall fine\n")
    status, out, _ = run(capsys, "bug-report", "1", "--catalog", str(desk.name), "--log", str(log), "--frames", "4")
    assert status == 0 and out.endswith(".zip holds them; look into it before you send it\n")
    (path,) = workplace.glob("bug-report-*.zip")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
        with archive.open("frames.h5") as content, h5py.File(content) as file:
            np.testing.assert_array_equal(file["frames"][:, 0], numbered_frames(6, seed=2)[::2])
            assert file["points"][()].tolist() == [1, 3, 5]
    assert b"results.jsonl: documents of its 1 reconstruction\n" in parts["README.txt"]
    assert set(parts) == {
        "README.txt", "scan.jsonl", "results.jsonl", "settings.json", "messages.txt", "versions.json", "doctor.txt",
        "frames.h5", "log-1.txt",
    }  # fmt: skip
    text = b"\n".join(content for name, content in parts.items() if name != "frames.h5").decode()
    for secret in (KEY, "Jane Doe", "pass-314159", "Gold balls", str(desk.name), str(workplace)):
        assert secret not in text, secret
    documents = [json.loads(line) for line in parts["scan.jsonl"].decode().splitlines()]
    assert [name for name, _ in documents][:2] == ["start", "descriptor"] and documents[-1][0] == "stop"
    assert documents[0][1]["ptycho"]["energy_ev"] == 800.0
    assert "all fine" in parts["log-1.txt"].decode()
    assert "success" in parts["messages.txt"].decode()


def test_what_cannot_be_had_is_said_in_the_report(desk, tmp_path):
    copy = shutil.copytree(desk.name, tmp_path / "broken")
    with open_catalog(copy) as catalog:
        start = store_scan(catalog, scan_id=4)
        (catalog.frames_dir / f"{start['uid']}_primary.h5").unlink()
        parts = {part.name: part.content.decode() for part in write_bug_report(4, catalog, tmp_path / "b.zip")}
    assert "does not exist" in parts["frames.h5.missing.txt"]
    assert "NO frames" in parts["doctor.txt"]
