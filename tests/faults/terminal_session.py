"""A session at a terminal that is its own: ``python -m tests.faults.terminal_session CATALOG WHAT [HOW]``.

WHAT is "figure", which is closed in mid-scan (HOW is its backend), "hangup" (HOW is "ignored" or "heeded"), or
"interrupted" (HOW is what follows the pause, "resume" or "abort"). ``events.txt`` beside the catalog grows by a line
with each event; ``end.json`` tells how it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import sys
import termios
from pathlib import Path

from bluesky.utils import RunEngineInterrupted

from bluesky_ptycho.plans import ptycho_scan
from bluesky_ptycho.simulated_session import start_session

N = {"figure": 36, "hangup": 36, "interrupted": 9}
FIELDS = {36: {"width": 0.6, "height": 0.6, "exposure": 0.05}, 9: {"width": 0.3, "height": 0.3, "exposure": 1.0}}
CLOSED_AT = 12


class Window:
    """A window of Qt, to be closed by its own button."""

    def __init__(self):
        import matplotlib as mpl
        from PySide6.QtCore import QTimer
        from PySide6.QtWidgets import QApplication

        self._application = QApplication.instance() or QApplication([])
        mpl.use("qtagg")
        self._timer = QTimer()

    def close_at(self, reached, closed):
        """Close all windows as soon as `reached`, and say so; in the main thread, which the RunEngine lets draw."""

        def look():
            if reached():
                self._timer.stop()
                for window in self._application.topLevelWidgets():
                    window.close()
                closed()

        self._timer.timeout.connect(look)
        self._timer.start(20)


def main(directory, what, how=""):
    place = Path(directory).parent
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # a hang-up and Ctrl-C of this terminal reach this process
    if what == "hangup":  # whatever this process has inherited: under nohup, say, it would be ignored
        signal.signal(signal.SIGHUP, signal.SIG_IGN if how == "ignored" else signal.SIG_DFL)
    window = Window() if how == "window" else None
    end = {"events": 0}
    with start_session(directory, camera="plain", shape=(32, 32), frame_rate=20.0, progress=False) as session:
        RE = session.RE
        figure = session.live.show(how, directory=place / "pictures") if what == "figure" else None

        def figure_is_closed():
            end["closed_at"] = end["events"]

        def count(name, doc):
            end["events"] += "stage_x" in doc["data"]
            with (place / "events.txt").open("a") as file:
                file.write(f"{doc['seq_num']}\n")
            if figure is not None and window is None and end["events"] == CLOSED_AT:
                figure.close()
                figure_is_closed()

        if window is not None:
            window.close_at(lambda: end["events"] >= CLOSED_AT, figure_is_closed)
        RE.subscribe(count, "event")
        try:
            RE(ptycho_scan(session.fccd, session.stage.y, session.stage.x, step=0.1, darks=1, **FIELDS[N[what]]))
        except RunEngineInterrupted:
            end["paused_at"] = end["events"]
            with contextlib.suppress(RunEngineInterrupted):
                getattr(RE, how)()
        outcome = session.live.wait(200)
        end |= {
            "RE": str(RE.state),
            "exit_status": outcome.update.exit_status,
            "used": outcome.progress.used,
            "sink_errors": {name: repr(error) for name, error in outcome.sink_errors.items()},
            "shutter": session.shutter.is_open,
        }
    (place / "end.json").write_text(json.dumps(end))


if __name__ == "__main__":
    main(*sys.argv[1:])
