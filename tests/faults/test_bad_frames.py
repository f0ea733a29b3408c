"""Two of a hundred frames bad in each way: all are told with a reason, none reaches the solver, no good one is lost."""

import numpy as np
import pytest

from bluesky_ptycho.preprocess import PreprocessSettings
from tests.callbacks.small_data import PIXEL_M
from tests.preprocess.camera import Camera

from .scene import SETTINGS, Scan, fccd_plan, plain_plan, supply

N = 1200
KINDS = ("nan", "inf", "saturated", "closed", "torn")


@pytest.fixture(scope="module")
def scene():
    """Patterns of a sample that lets 4 to 100 % pass, two of a hundred spoiled in each way."""
    rng = np.random.default_rng(7)
    disc = np.hypot(*np.mgrid[-16:16, -16:16]) < 6
    frames = np.empty((N, 32, 32), dtype=np.float32)
    for i, transmission in enumerate(np.exp(-rng.uniform(0, 3.2, N))):
        frames[i] = rng.poisson(transmission * (disc * 300.0 + 0.5))
    order = rng.permutation(N)
    bad = {kind: set(order[i * N // 50 : (i + 1) * N // 50].tolist()) for i, kind in enumerate(KINDS)}
    for row in bad["nan"]:
        frames[row] = np.nan
    for row in bad["inf"]:
        frames[row, :20] = np.inf
    for row in bad["saturated"]:
        frames[row, 10:20, 10:20] = 5000
    for row in bad["closed"]:
        frames[row] = 0
    partly = int(order[-1])
    frames[partly, 3, 4:9] = np.nan
    return frames, bad, partly


BAD = "2 % of frames corrupt in each way: NaN/Inf, saturated, lost packets, shutter closed, wrong shape"
BOUND = "all flagged with the reason, none reaches the solver, false positives < 0.1 %"


@pytest.mark.fault("5", BAD, bound=BOUND)
def test_every_bad_frame_is_told_and_no_good_one(scene, tmp_path, figure):
    frames, bad, partly = scene
    positions_m = np.stack(np.divmod(np.arange(N), 40), axis=1) * PIXEL_M
    run = Scan(plain_plan(positions_m, (32, 32)), tmp_path, frames, broken=bad["torn"])
    settings = SETTINGS.replace(preprocess=PreprocessSettings(saturation=4000.0))
    found = supply(list(run.documents()), settings)
    kinds = {"nan": "corrupt", "inf": "corrupt", "saturated": "saturated", "closed": "dark", "torn": "unreadable"}
    expected = {row + 1: kinds[kind] for kind, rows in bad.items() for row in rows}
    wrongly = set(found.rejected) - set(expected)
    figure(f"{len(set(found.rejected) & set(expected))} of {len(expected)} flagged")
    figure(f"{len(wrongly)} of {N - len(expected)} false")
    assert len(wrongly) < 0.001 * (N - len(expected))
    assert {n: reason.partition(":")[0] for n, reason in found.rejected.items()} == expected
    assert sorted(found.frames) == sorted(set(range(1, N + 1)) - set(expected))
    mask = np.frombuffer(found.frames[partly + 1][2], dtype=bool)
    assert mask.sum() == 32 * 32 - 5, "partial damage costs pixels, not the frame"


@pytest.mark.fault("5", BAD, bound=BOUND)
def test_bad_frames_of_the_fccd(tmp_path, figure):
    camera = Camera(seed=2, drift=2.0)
    image = 300 * np.exp(-((np.mgrid[-480:480, -480:480] / 60.0) ** 2).sum(axis=0))
    frames = np.stack([camera.frame(image * t) for t in np.linspace(1, 0.05, 16)])
    frames[1] = camera.frame()  # the shutter is closed
    frames[4] |= 0x2000  # every packet is lost
    frames[6, 200:240] |= 0x2000  # some are
    frames[9] = 0  # nothing was sent
    frames[11] = camera.frame(np.where(image > 20, 4000.0, image))
    frames[13] &= 0x3FFF  # of another gain
    plan = fccd_plan(16, n_darks=10)
    run = Scan(plan, tmp_path, frames, broken=[14])
    head = list(run.documents())
    darks = Scan(fccd_plan(10), tmp_path, np.stack([camera.frame() for _ in range(10)]))
    run.path = darks.path
    dark_documents = [*run.open_stream("dark")]
    for i in range(10):
        dark_documents += [run.event(i + 1, i, name="dark"), run.stored(i, i + 1, "dark")]
    found = supply([head[0], *dark_documents, *head[1:]])
    kinds = {n: reason.partition(":")[0] for n, reason in found.rejected.items()}
    figure(f"FCCD: {len(kinds)} of 6 flagged")
    assert kinds == {2: "dark", 5: "corrupt", 10: "corrupt", 12: "saturated", 14: "corrupt", 15: "unreadable"}
    assert len(found.frames) == 10 and found.dark_corrected
    assert 0.9 < np.frombuffer(found.frames[7][2], dtype=bool).mean() < 1.0
    assert np.frombuffer(found.frames[1][2], dtype=bool).all()


@pytest.mark.fault("5", BAD, bound=BOUND)
def test_a_file_of_another_shape_rejects_its_points_and_says_so(tmp_path, figure):
    positions_m = np.stack([np.arange(4.0), np.zeros(4)], axis=1) * PIXEL_M
    run = Scan(plain_plan(positions_m, (32, 32)), tmp_path, np.ones((4, 32, 30), dtype=np.uint16))
    found = supply(list(run.documents()))
    figure(f"wrong shape: {len(found.rejected)} of 4 flagged")
    assert set(found.rejected.values()) == {"shape: frames have shape (32, 30); the scan plan says (32, 32)"}
    assert len(found.rejected) == 4 and not found.missing
