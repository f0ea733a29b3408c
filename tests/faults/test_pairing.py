"""Frames meet positions by index, whoever comes first, and whichever of them are lost."""

import numpy as np
import pytest

from tests.callbacks.small_data import PIXEL_M

from .scene import Scan, plain_plan, reconstruct, supply

N = 64
POSITIONS_M = np.stack(np.divmod(np.arange(N), 8), axis=1) * 2 * PIXEL_M
FRAMES = np.random.default_rng(3).poisson(30, (N, 32, 32)).astype(np.uint16)
FRAMES[:, 8:24, 8:24] += 400
FRAMES[:, 0, 0] = np.arange(N)  # tells the row


@pytest.fixture
def make(tmp_path):
    def scan(n=N):
        return Scan(plain_plan(POSITIONS_M[:n], (32, 32)), tmp_path, FRAMES[:n])

    return scan


def assert_paired(frames):
    """Every frame is at its own position: the pixel that tells the row, and where that row was taken."""
    wrong = 0
    for seq_num, (position, amplitude, _) in frames.items():
        row = round(float(np.frombuffer(amplitude, dtype=np.float32)[0]) ** 2)
        place = np.frombuffer(position, dtype=np.float64)
        wrong += row != seq_num - 1 or not np.allclose(place, POSITIONS_M[seq_num - 1], atol=1e-12)
    assert not wrong
    return f"{wrong} of {len(frames)} mispaired"


def by_kind(documents, *order):
    """Bring the documents of each point into an order of kinds."""
    head = [d for d in documents if d[0] in ("start", "descriptor", "stream_resource")]
    body = [d for kind in order for d in documents if d[0] == kind]
    return [*head, *body, documents[-1]]


UNPAIRED = pytest.mark.fault(
    "3",
    "positions late, early, fewer or more than frames; one record lost",
    bound="0 mispaired; the unpaired are listed and unused",
)


@UNPAIRED
@pytest.mark.parametrize("order", [("stream_datum", "event"), ("event", "stream_datum")], ids=["late", "early"])
def test_positions_before_or_after_all_frames(make, order, figure):
    found = supply(by_kind(list(make().documents()), *order))
    figure(assert_paired(found.frames))
    assert len(found.frames) == N and not found.missing and not found.rejected


@UNPAIRED
@pytest.mark.parametrize("lost", [[30], [1], [N], [7, 8, 9, 40]], ids=str)
def test_a_lost_position_record_costs_its_point_only(make, lost, tmp_path, figure):
    outcome, results = reconstruct(make().documents(lost=lost), tmp_path)
    figure(assert_paired(supply(make().documents(lost=lost)).frames))
    assert list(outcome.update.missing) == lost == results.summary()["missing"]
    assert sorted([*outcome.snapshot.seq_nums, *lost]) == list(range(1, N + 1))
    rows = [n - 1 for n in lost]
    told = " ".join(outcome.update.messages)
    frames = "1 frame is of no point, and unused: row"
    if len(lost) > 1:
        frames = f"{len(lost)} frames are of no point, and unused: rows"
    assert f"{frames} {rows[0]}" in told


@UNPAIRED
def test_fewer_positions_than_frames(make, tmp_path, figure):
    """The camera went on after the last position."""
    scan = make()

    def documents():
        yield ("start", scan.start)
        yield from scan.open_stream()
        for row, position in enumerate(POSITIONS_M * 1e6):
            if row < N - 5:
                yield scan.event(row + 1, row, position)
            yield scan.stored(row, row + 1)
        yield scan.stop()

    outcome, results = reconstruct(documents(), tmp_path)
    figure(f"{len(outcome.snapshot.seq_nums)} pairs of {N} frames and {N - 5} positions")
    assert outcome.snapshot.seq_nums.tolist() == list(range(1, N - 4))
    assert "5 frames are of no point, and unused: rows 59-63" in results.summary()["messages"]


@UNPAIRED
def test_more_positions_than_frames(make, tmp_path, figure):
    """The camera stopped before the last position."""
    documents = [d for d in make().documents() if d[0] != "stream_datum" or d[1]["indices"]["stop"] <= N - 5]
    outcome, results = reconstruct(documents, tmp_path)
    figure(f"{len(outcome.snapshot.seq_nums)} pairs of {N - 5} frames and {N} positions")
    assert outcome.snapshot.seq_nums.tolist() == list(range(1, N - 4))
    assert list(outcome.update.missing) == list(range(N - 4, N + 1))
    assert "5 points are missing: 60-64" in results.summary()["messages"]


ENCODER = pytest.mark.fault(
    "27",
    "encoder NaN, jump, stuck; a lost trigger in a fly scan",
    bound="flagged; frames after it still pair; the count says what is missing",
)
BAD = {
    "NaN": (lambda p: p.__setitem__(20, np.nan), [21]),
    "one axis NaN": (lambda p: p.__setitem__((20, 1), np.nan), [21]),
    "infinite": (lambda p: p.__setitem__(20, np.inf), [21]),
    "jump out of the field": (lambda p: p.__setitem__(20, 5e-3), [21]),
    "jump in the field": (lambda p: p.__setitem__(20, POSITIONS_M[60]), [21]),
    "stuck": (lambda p: p.__setitem__((slice(33, 38), 1), p[32, 1]), [34, 35, 36, 37, 38]),
}


@ENCODER
@pytest.mark.parametrize("case", BAD)
def test_what_an_encoder_says_wrongly_is_flagged(make, case, tmp_path, figure):
    spoil, bad = BAD[case]
    positions = POSITIONS_M.copy()
    spoil(positions)
    documents = list(make().documents())
    for name, doc in documents:
        if name == "event":
            doc["data"].update(zip(("stage_y", "stage_x"), (positions[doc["seq_num"] - 1] * 1e6).tolist(), strict=True))
    outcome, results = reconstruct(documents, tmp_path)
    found = supply(documents)
    figure(f"{case}: {len(set(bad) & set(found.rejected))} of {len(bad)} flagged")
    assert sorted(found.rejected) == bad == sorted(outcome.update.rejected)
    assert all(reason.startswith("position: ") for reason in outcome.update.rejected.values())
    assert_paired(found.frames)
    assert sorted([*outcome.snapshot.seq_nums, *bad]) == list(range(1, N + 1))
    assert results.summary()["rejected_kinds"] == {"position": len(bad)}


@ENCODER
@pytest.mark.parametrize("lost", [[12], [12, 13, 40]], ids=str)
def test_triggers_that_the_camera_did_not_answer_in_a_flight(make, lost, tmp_path, figure):
    """Pages name the frames that there are, at the places where these were taken; a point fewer for each lost one."""
    scan, kept = make(), [row for row in range(N) if row not in lost]

    def documents():
        yield ("start", scan.start)
        yield from scan.open_stream()
        for first in range(0, len(kept), 10):
            rows = kept[first : first + 10]
            events = [scan.event(first + i + 1, row, POSITIONS_M[row] * 1e6)[1] for i, row in enumerate(rows)]
            page = {"descriptor": events[0]["descriptor"], "uid": [e["uid"] for e in events], "filled": {}}
            page |= {key: [e[key] for e in events] for key in ("seq_num", "time")}
            for key in ("data", "timestamps"):
                page[key] = {name: [e[key][name] for e in events] for name in events[0][key]}
            yield ("event_page", page)
            yield scan.stored(rows[0], rows[-1] + 1)
        yield scan.stop()

    flight = list(documents())
    outcome, results = reconstruct(flight, tmp_path)
    found, wrong = supply(flight), 0
    for seq_num, (position, amplitude, _) in found.frames.items():
        row = kept[seq_num - 1]
        wrong += round(float(np.frombuffer(amplitude, dtype=np.float32)[0]) ** 2) != row
        wrong += not np.allclose(np.frombuffer(position, dtype=np.float64), POSITIONS_M[row], atol=1e-12)
    figure(f"{len(lost)} lost: {wrong} of {len(found.frames)} mispaired")
    assert not wrong and not found.rejected and len(found.frames) == N - len(lost)
    assert (
        f"{len(lost)} of {N} planned points {'was' if len(lost) == 1 else 'were'} not measured"
        in results.summary()["messages"]
    )
    assert outcome.progress.used == N - len(lost)
