"""Each run has a log of its own."""

import logging
import logging.handlers
from pathlib import Path

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.callbacks.run_log import RunLog
from tests.faults.scene import Results

from .live_scan import QUICK, documents_in_order, make_run, play

logger = logging.getLogger("bluesky_ptycho")


class Talker:
    """A sink that says through the package's logger which run it sees."""

    def __init__(self):
        self.said = []

    def __call__(self, update):
        if update.kind in ("start", "final"):
            self.said.append(f"{update.kind} of {update.start['uid']}")
            logger.warning("%s", self.said[-1])


def logs_of(results):
    starts = [doc for name, doc in results.documents if name == "start"]
    return {start["raw_uid"]: (start, Path(start["log"])) for start in starts}


@pytest.mark.parametrize("process", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_records_of_two_interleaved_runs_do_not_mix(tmp_path, scan, process):
    runs = []
    for name in "ab":
        (tmp_path / name).mkdir()
        frames = scan[1].copy()
        frames[3] = 0  # a message of its own in each run
        runs.append(make_run(tmp_path / name, scan, frames=frames if name == "b" else None))
    results, talker = Results(tmp_path / "results"), Talker()
    before = list(logger.handlers)
    with LivePtycho(QUICK, catalog=results, sinks=[talker], process=process) as live:
        streams = [documents_in_order(run, scan, n=n) for run, n in zip(runs, (64, 40), strict=True)]
        while streams:
            for stream in list(streams):
                if (document := next(stream, None)) is None:
                    streams.remove(stream)
                else:
                    live(*document)
        live.wait(240)
        logger.warning("nobody's")
        messages = [live.outcome(run.start["uid"]).update.messages for run in runs]
    assert logger.handlers == before
    assert len(talker.said) == 4 and any("24 of 64 planned points" in m for m in messages[1])
    logs = logs_of(results)
    for run, own, other in zip(runs, messages, reversed(messages), strict=True):
        start, path = logs[run.start["uid"]]
        assert path == tmp_path / "results" / f"00001_{start['uid']}.log"
        text = path.read_text(encoding="utf-8")
        for line in talker.said:
            assert (line in text) == (run.start["uid"] in line)
        for message in own:
            assert message in text
        for message in set(other) - set(own):
            assert message not in text
        assert "64 points are planned" in text and "nobody's" not in text


def test_an_analysis_that_fails_leaves_its_traceback(tmp_path, scan, monkeypatch):
    from bluesky_ptycho.recon import IncrementalSolver

    def burst(self, n=1):
        raise ArithmeticError("the seam burst")

    monkeypatch.setattr(IncrementalSolver, "step", burst)
    results = Results(tmp_path / "results")
    with LivePtycho(QUICK, catalog=results) as live:
        run = make_run(tmp_path, scan)
        play(live, documents_in_order(run, scan))
        live.close()
    ((_, path),) = logs_of(results).values()
    text = path.read_text(encoding="utf-8")
    assert "ArithmeticError: the seam burst" in text and "in burst" in text


def test_a_log_that_cannot_be_written_harms_nobody(tmp_path, scan, caplog):
    results = Results(tmp_path / "results")
    results.results_dir.write_text("a file, no directory")
    with LivePtycho(QUICK, catalog=results) as live:
        play(live, documents_in_order(make_run(tmp_path, scan), scan))
        outcome = live.wait(120)
    assert "the log of this run cannot be written" in caplog.text
    (start,) = [doc for name, doc in results.documents if name == "start"]
    assert "log" not in start
    assert np.isfinite(outcome.snapshot.residual) and outcome.error is None


def test_what_is_said_before_there_is_a_file_is_not_lost(tmp_path):
    with RunLog() as log:
        logger.warning("early")
        log.tell("for the file alone")
        path = log.open(tmp_path / "deep" / "run.log")
        logger.warning("late")
    assert path == log.path
    assert [line.partition("WARNING ")[2] or line.partition("INFO ")[2] for line in path.read_text().splitlines()] == [
        "early",
        "for the file alone",
        "late",
    ]


def test_levels_are_the_loggers_own(tmp_path, caplog):
    with RunLog() as log:
        path = log.open(tmp_path / "run.log")
        caplog.set_level(logging.INFO, logger="bluesky_ptycho")
        logger.info("wanted")
        caplog.set_level(logging.ERROR, logger="bluesky_ptycho")
        logger.warning("not wanted")
        log.tell("told anyway")
    text = path.read_text()
    assert "wanted" in text and "not wanted" not in text and "told anyway" in text


@pytest.mark.parametrize("set_up", [False, True])
def test_warnings_are_still_shown_where_nobody_has_set_logging_up(tmp_path, monkeypatch, set_up):
    """With any handler, Python leaves off what it does without."""
    shown, own = (logging.handlers.MemoryHandler(100, flushLevel=100) for _ in "ab")
    shown.setLevel(logging.WARNING)
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [own] if set_up else [])
    monkeypatch.setattr(logging, "lastResort", shown)
    with RunLog(), RunLog():
        logger.info("little")
        logger.warning("much")
    assert [record.getMessage() for record in shown.buffer] == ([] if set_up else ["much"])
    assert [record.getMessage() for record in own.buffer] == (["much"] if set_up else [])
    assert logger.handlers == ([own] if set_up else [])
