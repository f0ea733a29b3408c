"""Scans on disks that fill up; run in a user namespace, where a file system of a few MB can be mounted.

``python -m tests.faults.small_disk CASE DIRECTORY`` prints what came of it as JSON. Where nothing can be mounted, the
size of files is limited instead (``--limit``).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

from bluesky_ptycho.callbacks.checkpoints import DIRECTORY

MOUNTED = "--limit" not in sys.argv


def make_disk(directory, size):
    directory.mkdir()
    if MOUNTED:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True)
    return directory


def fill(directory, left=0):
    """Let somebody else take all of the disk but `left` bytes."""
    if not MOUNTED:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(left, 1), resource.RLIM_INFINITY))
        return
    state = os.statvfs(directory)
    with contextlib.suppress(OSError), (directory / "hog").open("wb", buffering=0) as hog:
        hog.write(bytes(max(state.f_bavail * state.f_frsize - left, 0)))


def whole(path):
    """Tell whether a file can be read to its end."""
    if path.suffix == ".png":
        from matplotlib.image import imread

        return bool(imread(path).size)
    with h5py.File(path) as file:
        file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
    return True


def what_is_left(directory):
    files = [p for p in directory.rglob("*") if p.is_file() and p.name != "hog"]
    return {called(p): whole(p) for p in files if p.suffix in (".h5", ".png", ".cxi")} | {
        p.name: False for p in files if p.suffix == ".part"
    }


def called(path):
    if path.suffix != ".h5":
        return path.name
    return "checkpoint.h5" if path.parent.name == DIRECTORY else "result.h5"


def composed(directory):
    from tests.callbacks.small_data import small_scan

    from .scene import Scan, plain_plan

    positions_m, patterns, _, _ = small_scan(n_side=6)
    return Scan(plain_plan(positions_m, (64, 64)), directory, patterns)


def results(directory):
    """Results, pictures and CXI files on disks of several sizes: each fails in its midst, and the last has room."""
    from bluesky_ptycho.callbacks import LivePtycho
    from bluesky_ptycho.callbacks.file_sinks import CxiSink, PngSink

    from .scene import SETTINGS, Results

    found = []
    for left in (0, 30_000, 150_000, 400_000, 6_000_000):
        frames = directory / f"frames_{left}"
        frames.mkdir()
        scan = composed(frames)
        disk = make_disk(directory / f"disk_{left}", "8m")
        fill(disk, left)
        stored = Results(disk)
        with LivePtycho(SETTINGS, catalog=stored, sinks=[PngSink(disk), CxiSink(disk)]) as live:
            for name, doc in scan.documents():
                live(name, doc)
            outcome = live.wait(240)
        (stop,) = [doc for name, doc in stored.documents if name == "stop"]
        found.append(
            {
                "used": outcome.progress.used,
                "status": outcome.update.exit_status,
                "result": stop["exit_status"],
                "reason": stop["reason"],
                "failed": sorted(outcome.sink_errors),
                "messages": outcome.update.messages,
                "left": what_is_left(disk),
            }
        )
    return found


def catalog(directory):
    """The whole catalog, and with it the place where its documents are kept."""
    from bluesky_ptycho.callbacks import LivePtycho
    from bluesky_ptycho.catalog import open_catalog

    from .scene import SETTINGS

    disk = make_disk(directory / "disk", "20m")
    scan = composed(directory)
    with open_catalog(disk / "catalog", frames=[directory]) as opened, LivePtycho(SETTINGS, catalog=opened) as live:
        raw = opened.raw_writer(flush_s=0.0)
        for number, (name, doc) in enumerate(scan.documents()):
            if number == 20:
                fill(disk)
            raw(name, doc)
            live(name, doc)
        outcome = live.wait(240)
    return {"used": outcome.progress.used, "messages": outcome.update.messages, "left": what_is_left(disk)}


def frames(directory):
    """Raw frames: the camera cannot go on."""
    from bluesky import RunEngine

    from bluesky_ptycho import LivePtycho, LiveSettings, ptycho_scan
    from bluesky_ptycho.sim import make_beamline
    from tests.plans.recording import Recorder, watch

    disk, engine, recorder = make_disk(directory / "disk", "40m"), RunEngine({}), Recorder()

    def fill_up(name, doc):
        if name == "event" and len(recorder.all("event")) == 20:
            fill(disk, left=0)

    error = ""
    with make_beamline(disk, md=engine.md, camera="plain", shape=(64, 64), frame_rate=200.0, progress=False) as line:
        seen = watch(line)
        with LivePtycho(LiveSettings(frc=False, passes=5)) as live:
            for callback in (recorder, live, fill_up):
                engine.subscribe(callback)
            try:
                field = {"width": 1.0, "height": 1.0, "step": 0.1, "exposure": 0.005, "darks": 2}
                engine(ptycho_scan(line.fccd, line.stage.y, line.stage.x, **field))
            except Exception as failed:
                cause: BaseException | None = failed
                while cause is not None:
                    error, cause = f"{error}{type(cause).__name__}: {cause}; ", cause.__cause__ or cause.__context__
            outcome = live.wait(240)
        stored, taken = recorder.frames("primary"), {s.frame for s in seen}
        return {
            "error": error,
            "shutter open": line.shutter.is_open,
            "announced": len(recorder.rows("primary")),
            "used": outcome.progress.used,
            "status": outcome.update.exit_status,
            "reason": outcome.update.reason,
            "foreign": sum(stored[row["fccd_frame_index"]].tobytes() not in taken for row in recorder.rows("primary")),
            "finite": bool(np.isfinite(outcome.snapshot.object).all()),
        }


def main():
    case, directory = sys.argv[1:3]
    sys.stdout.write(json.dumps(globals()[case](Path(directory))) + "\n")


if __name__ == "__main__":
    main()
