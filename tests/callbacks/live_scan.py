"""Documents of a small scan of a known object, and their way through a live callback."""

import threading
import time

from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.scan_plan import Illumination

from .compose import ComposedRun, small_plan

SETTINGS = LiveSettings(frc=False, progress_interval_s=0.05, snapshot_interval_s=0.05)
QUICK = SETTINGS.with_changes(passes=8, **{"solver.tail_passes": 2})


def make_run(tmp_path, scan, *, frames=None, **fields):
    positions_m, patterns, _, _ = scan
    light = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=60e-6, defocus_m=10e-6)
    plan = small_plan(positions_m, shape=(64, 64), trajectory="list", illumination=light, **fields)
    return ComposedRun(plan, tmp_path / "frames.h5", patterns if frames is None else frames)


def documents_in_order(run, scan, n=None, **stop):
    positions_um = scan[0][:n] * 1e6
    yield ("start", run.start)
    yield from run.open_stream()
    for row, position in enumerate(positions_um):
        yield run.stored(row, row + 1)
        yield run.event(row + 1, row, position)
    yield run.stop(**stop)


def play(live, documents):
    for name, doc in documents:
        live(name, doc)


def until(live, condition, timeout=120):
    """Wait until the counters of the newest run satisfy `condition`."""
    deadline = time.monotonic() + timeout
    while not condition(progress := live.progress()):
        assert time.monotonic() < deadline, progress
        time.sleep(0.01)


def steer(live, run, scan, acts, take=None):
    """Play a scan; at each number of frames in `acts`, once they are used, do something and wait until it counts."""
    take = take or live
    documents = list(documents_in_order(run, scan))
    head, body, stop = documents[:3], documents[3:-1], documents[-1]
    play(take, head)
    done = 0
    for n, act in acts.items():
        play(take, body[2 * done : 2 * n])
        done = n
        until(live, lambda progress, n=n: progress.used == n)
        version = live.progress().settings_version
        act()
        until(live, lambda progress, next_=version + 1: progress.settings_version == next_)
    play(take, body[2 * done :])
    take(*stop)
    return live.wait(240)


class Recorder:
    """A sink that remembers what it was told, and in which thread."""

    def __init__(self):
        self.updates = []
        self.threads = set()

    def __call__(self, update):
        self.updates.append(update)
        self.threads.add(threading.current_thread().name)


class Frames:
    """A sink that keeps the newest amplitudes of each frame."""

    wants_frames = True

    def __init__(self):
        self.newest = {}

    def __call__(self, update):
        if update.frames is not None:
            self.newest |= dict(zip(update.frames.seq_nums.tolist(), update.frames.amplitude, strict=True))
