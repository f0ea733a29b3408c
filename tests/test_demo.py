"""What the demo command adds to a RunEngine."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.utils import RunEngineInterrupted

from bluesky_ptycho.demo import AwakeForCtrlC, PauseAtOnce


def test_ctrl_c_is_heard_whichever_thread_the_system_hands_it_to():
    def interrupt() -> None:
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        time.sleep(0.5)  # a thread that ended would wake nobody, but may not have had its signal

    run_engine = RunEngine(context_managers=[PauseAtOnce], during_task=AwakeForCtrlC())
    elsewhere = threading.Thread(target=interrupt)
    elsewhere.start()
    begun = time.monotonic()
    with pytest.raises(RunEngineInterrupted):
        run_engine(bps.sleep(30.0))
    assert time.monotonic() - begun < 20
    run_engine.abort()
    elsewhere.join()
