"""What a person sees of the progress: at a terminal, and in a log file."""

from __future__ import annotations

import io
import logging
import os
import pty
import sys

import pytest

from bluesky_ptycho.callbacks.progress_bar import ProgressBar
from bluesky_ptycho.callbacks.updates import Progress
from bluesky_ptycho.terminal import ProgressLine, announce
from tests.stored import update

START = {"uid": "0123456789abcdef", "scan_id": 12, "time": 0.0}


class Terminal(io.StringIO):
    """A terminal as far as a bar needs one."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What stands on the screen in the end."""
        shown = []
        for written in self.getvalue().split("\n"):
            line = ""
            for part in written.split("\r"):
                line = part + line[len(part) :]
            shown.append(line.rstrip())
        return shown


@pytest.fixture
def console(request):
    """A terminal to which log messages go too."""
    terminal = Terminal()
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    yield terminal
    logging.getLogger().removeHandler(handler)
    assert not handler.filters


def test_log_messages_stand_on_lines_of_their_own_and_the_bar_is_there_once(console):
    with ProgressLine(4, "scan 1", "frame", file=console) as line:
        line.show(2, "used 1")
        logging.getLogger("bluesky_ptycho").warning("no darks")
        line.show(4, "used 4")
    message, bar, rest = console.lines()
    assert message == "no darks"
    assert bar.startswith("scan 1: 100%") and bar.endswith(", used 4]")
    assert rest == ""


def test_a_bar_that_does_not_stay_leaves_no_trace(console):
    with ProgressLine(2, "rendering frames", "frame", file=console, leave=False) as line:
        line.show(1)
        assert "rendering frames:  50%" in console.lines()[0]
    assert console.lines() == [""]


@pytest.mark.parametrize(("interval_s", "numbers"), [(0.0, [0, 1, 2, 3]), (60.0, [3])])
def test_elsewhere_there_are_plain_lines_now_and_then(interval_s, numbers):
    file = io.StringIO()
    with ProgressLine(3, "reconstructing", "pass", file=file, interval_s=interval_s) as line:
        for n in range(4):
            line.show(n, f"R {n}")
    assert file.getvalue().splitlines() == [f"reconstructing: {n}/3, 0 s, R {n}" for n in numbers]


def test_lines_tell_the_rate_and_the_time_left(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("bluesky_ptycho.terminal.time.monotonic", lambda: clock[-1])
    file = io.StringIO()
    with ProgressLine(60, "reconstructing", "pass", file=file, interval_s=3.0) as line:
        shown = (0.5, 1, "too early for a line"), (4.0, 6, "R 0.1"), (7.0, 59, "nearly"), (8.0, 20, "R 0.02")
        for seconds, n, text in shown:
            clock.append(seconds)
            line.show(n, text)
    assert file.getvalue().splitlines() == [
        "reconstructing: 6/60, 4 s, 1.5 pass/s, 36 s left, R 0.1",
        "reconstructing: 59/60, 7 s, 8.43 pass/s, 1 s left, nearly",
        "reconstructing: 20/60, 8 s, R 0.02",
    ]


@pytest.mark.parametrize("file", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_told_not_to_it_says_nothing(file):
    with ProgressLine(3, "reconstructing", "pass", file=file, interval_s=0.0, enabled=False) as line:
        line.show(3)
    assert file.getvalue() == ""


def scan_shown(*messages) -> list[str]:
    """What the last line of a terminal says after each message."""
    terminal = Terminal()
    bar, seen = ProgressBar(file=terminal), []
    for message in messages:
        bar(message)
        seen.append(next(line for line in reversed(terminal.lines()) if line))
    return seen


def test_the_bar_says_what_is_going_on():
    final = update("final", START, progress=Progress(planned=6, taken=6, used=6, iteration=9), exit_status="success")
    late, _ = scan_shown(
        update("progress", START, progress=Progress(planned=6, taken=3, lag=3, lag_s=2.0, phase="warming up")), final
    )
    warming, live, finishing, halves, done = scan_shown(
        update("start", START, progress=Progress(planned=6, phase="warming up")),
        update("progress", START, progress=Progress(planned=6, taken=4, used=3, iteration=1, residual=0.5, lag_s=0.3)),
        update("progress", START, progress=Progress(planned=6, taken=6, used=6, rejected=1, phase="finishing")),
        update("progress", START, progress=Progress(6, taken=6, used=6, iteration=9, half_passes=4, phase="finishing")),
        final,
    )
    assert warming.startswith("scan 12:   0%") and warming.endswith(", warming up]")
    assert late.startswith("scan 12:  50%") and late.endswith(", warming up]")
    assert live.endswith(", used 3, it 1, R 0.5000, lag 0.3 s]")
    assert finishing.endswith(", finishing, used 6, it 0, lag 0.0 s, rejected 1]")
    assert halves.endswith(", finishing, used 6, it 9, halves 4, lag 0.0 s]")
    assert done.endswith("used 6, it 9, lag 0.0 s]")


def test_the_bar_says_how_a_scan_ended_that_did_not_succeed():
    shown = scan_shown(update("final", START, progress=Progress(planned=6, taken=2, used=2), exit_status="abort"))
    assert shown[0].startswith("scan 12:  33%") and ", abort, used 2" in shown[0]


def test_the_final_bar_is_drawn_once():
    terminal = Terminal()
    bar = ProgressBar(file=terminal)
    bar(update("start", START, progress=Progress(planned=6)))
    bar(update("final", START, progress=Progress(planned=6, taken=6, used=6), exit_status="success"))
    assert terminal.getvalue().count("6/6") == 1


def test_one_sink_serves_one_scan_after_the_other():
    terminal = Terminal()
    bar = ProgressBar(file=terminal)
    for number in (1, 2):
        for kind in ("start", "final"):
            bar(update(kind, {**START, "scan_id": number}, exit_status="success"))
    assert [line.split(":")[0] for line in terminal.lines()] == ["scan 1", "scan 2", ""]


def test_a_lost_terminal_harms_nobody(monkeypatch):
    ours, theirs = pty.openpty()
    os.close(ours)
    with io.TextIOWrapper(io.FileIO(theirs, "w"), write_through=True) as lost:
        monkeypatch.setattr("sys.stdout", lost)
        with pytest.raises(OSError, match="Input/output error"):
            lost.write("into the void")
        announce("frames go to scan_*.h5")


def test_a_bar_leaves_the_terminal_to_a_prompt_that_waits_there(monkeypatch):
    """As IPython's prompt does, which takes what is written to standard error and shows it above itself."""

    class AtTerminal(io.StringIO):
        def isatty(self):
            return True

    terminal, above_prompt = AtTerminal(), AtTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    line = ProgressLine(10, "scan 1", "frame")
    line.show(4)
    drawn = terminal.getvalue()
    assert "scan 1:  40%" in drawn
    monkeypatch.setattr(sys, "stderr", above_prompt)
    line.show(9, "finishing")
    line.close(10, "used 10")
    assert terminal.getvalue() == drawn
    assert above_prompt.getvalue() == "scan 1: 10/10, 0 s, used 10\n"
