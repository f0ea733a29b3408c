"""The RunEngine rewinds: what is used are the last frames of each point, at the places where these were taken."""

import numpy as np
import pytest

from bluesky_ptycho import LivePtycho, ptycho_fly_scan, ptycho_scan
from bluesky_ptycho.sim import make_beamline
from tests.plans.recording import Recorder, watch
from tests.plans.test_interruptions import PAUSE, interrupt, run_paused

from .scene import SETTINGS, supply

FIELD = {"width": 0.4, "height": 0.4, "step": 0.1, "exposure": 0.005, "darks": 1}
N = 16


@pytest.mark.fault(
    "4", "RunEngine rewind (pause, resume)", bound="last event of a seq_num wins; N unique positions; 0 stale frames"
)
@pytest.mark.parametrize(
    ("which", "command", "when"),
    [
        (ptycho_scan, "trigger", 9),
        (ptycho_scan, "read", 14),
        (ptycho_scan, "create", 8),
        (ptycho_scan, "save", 7),
        (ptycho_scan, "checkpoint", 12),
        (ptycho_fly_scan, "collect", 1),
        (ptycho_fly_scan, "sleep", 1),
    ],
)
def test_the_last_frame_of_each_point_is_used_where_it_was_taken(which, command, when, RE, tmp_path, figure):
    recorder, rate = Recorder(), 200.0 if which is ptycho_scan else 40.0
    with (
        make_beamline(
            tmp_path, md=RE.md, camera="plain", shape=(32, 32), frame_rate=rate, settle_time_s=0.0, progress=False
        ) as line,
        LivePtycho(SETTINGS) as live,
    ):
        seen = watch(line)
        RE.subscribe(recorder)
        RE.subscribe(live)
        run_paused(RE, interrupt(which(line.fccd, line.stage.y, line.stage.x, **FIELD), command, when, PAUSE))
        RE.resume()
        outcome = live.wait(120)
    found = supply(recorder.documents)
    stale, places = 0, set()
    stored, rows = recorder.frames("primary"), recorder.rows("primary")
    for seq_num, (position, amplitude, _) in found.frames.items():
        number = round(float(np.frombuffer(amplitude, dtype=np.float32)[0]) ** 2)
        shot = seen[number]
        stale += number != stored[rows[seq_num - 1]["fccd_frame_index"], 0, 0]
        planned = recorder.plan.positions_m[seq_num - 1]
        stale += not np.allclose((shot.y_um, shot.x_um), planned * 1e6, atol=1e-5) or not shot.is_open
        stale += not np.allclose(np.frombuffer(position, dtype=np.float64), planned, atol=0.02e-6)
        places.add(tuple(np.round(planned * 1e9).astype(int)))
    figure(f"{len(places)} of {N} positions, {stale} stale")
    assert (len(places), stale) == (N, 0)
    assert outcome.snapshot.seq_nums.tolist() == list(range(1, N + 1)) and not outcome.update.missing
    live_positions = {tuple(p) for p in np.round(outcome.snapshot.positions_m * 1e9).astype(int)}
    assert len(live_positions) == N
