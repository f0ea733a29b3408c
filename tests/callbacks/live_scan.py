"""Documents of a small scan of a known object, and their way through a live callback."""

import threading

from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.scan_plan import Illumination

from .compose import ComposedRun, small_plan

SETTINGS = LiveSettings(frc=False, progress_interval_s=0.05, snapshot_interval_s=0.05)


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


class Recorder:
    """A sink that remembers what it was told, and in which thread."""

    def __init__(self):
        self.updates = []
        self.threads = set()

    def __call__(self, update):
        self.updates.append(update)
        self.threads.add(threading.current_thread().name)
