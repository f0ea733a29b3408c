"""Metadata that are wrong are refused, or warned of, at the first document that shows it."""

import copy
import time

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho
from tests.callbacks.small_data import PIXEL_M

from .scene import SETTINGS, Scan, plain_plan

N = 64
FRAMES = np.random.default_rng(3).poisson(30, (N, 32, 32)).astype(np.uint16)
FRAMES[:, 8:24, 8:24] += 400
POSITIONS_M = np.stack(np.divmod(np.arange(N), 8), axis=1) * 4 * PIXEL_M + [3e-6, 1e-6]


def set_in_start(*path, value):
    def change(name, doc):
        if name == "start":
            place = doc["ptycho"]
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value(place[path[-1]]) if callable(value) else value

    return change


def set_in_descriptor(key, field, value):
    def change(name, doc):
        if name == "descriptor":
            doc["data_keys"][key][field] = value

    return change


def configured(value, units=None, what="energy"):
    def change(name, doc):
        if name == "descriptor":
            key = {"source": "sim", "dtype": "number", "shape": [], **({"units": units} if units else {})}
            doc["configuration"]["cam"] = {
                "data": {f"cam_{what}": value}, "timestamps": {}, "data_keys": {f"cam_{what}": key}
            }  # fmt: skip

    return change


def chunks(name, doc):
    if name == "stream_resource":
        doc["parameters"]["chunk_shape"] = [1, 64, 64]


def moved(matrix):
    def change(name, doc):
        if name == "event":
            y, x = np.array(matrix) @ (doc["data"]["stage_y"], doc["data"]["stage_x"])
            doc["data"].update(stage_y=float(y), stage_x=float(x))

    return change


def keys_swapped(name, doc):
    if name == "start":
        axes = doc["ptycho"]["axes"]
        axes["y"], axes["x"] = axes["x"], axes["y"]


CASES = {
    "shape in the plan": (set_in_start("detector", "shape", value=[32, 30]), "descriptor", "cam_image", "32, 30"),
    "shape in the descriptor": (
        set_in_descriptor("cam_image", "shape", [1, 30, 32]), "descriptor", "cam_image in stream 'primary' has shape",
        "(1, 30, 32)",
    ),
    "chunk_shape": (chunks, "stream_resource", "chunk_shape (1, 64, 64)", "frames of (32, 32)"),
    "dtype": (set_in_descriptor("cam_image", "dtype_numpy", "|O"), "descriptor", "cam_image", "dtype '|O'; expected"),
    "dtype of an axis": (
        set_in_descriptor("stage_x", "dtype", "string"), "descriptor", "stage_x in stream 'primary' has dtype 'string'",
        "expected one number",
    ),
    "frames inside events": (
        set_in_descriptor("cam_image", "external", "FILESTORE:"), "descriptor", "cam_image", "expected 'STREAM:'",
    ),
    "energy in keV": (set_in_start("energy_ev", value=0.8), "start", "energy_ev is 0.8 eV", "expected 10 to 1e+06 eV"),
    "energy hardly meant": (set_in_start("energy_ev", value=20.0), "start", "energy_ev is 20 eV", "30 to 200000"),
    "energy of the camera": (configured(900.0), "descriptor", "cam_energy is 900.0", "the scan plan says 800.0"),
    "energy's unit": (configured(800.0, "keV"), "descriptor", "cam_energy has units 'keV'", "expected 'eV'"),
    "energy negative": (set_in_start("energy_ev", value=-800.0), "start", "energy_ev is -800.0", "a positive number"),
    "distance in mm": (set_in_start("distance_m", value=121.0), "start", "distance_m is 121 m", "0.001 to 50 m"),
    "distance of the camera": (
        configured(0.2, "m", "distance"), "descriptor", "cam_distance is 0.2", "the scan plan says 0.121",
    ),
    "distance's unit": (configured(121, "mm", "distance"), "descriptor", "cam_distance has units 'mm'", "expected 'm'"),
    "unit in the descriptor": (
        set_in_descriptor("stage_y", "units", "mm"), "descriptor", "stage_y has units 'mm'", "the scan plan says 'um'",
    ),
    "unknown unit": (
        set_in_start("axes", "x", "units", value="ell"), "start", "units of stage_x are 'ell'", "expected one of",
    ),
    "unit of the values": (moved(np.eye(2) * 1e-3), "event", "stage_y is 0.003 um", "the unit looks a thousand times"),
    "no such axis": (set_in_start("axes", "x", "key", value="stage_z"), "descriptor", "stage_z", "it has cam_"),
    "swapped axes": (keys_swapped, "event", "stage_x is 1 um", "the axes look swapped"),
    "swapped values": (moved([[0, 1], [1, 0]]), "event", "stage_y is 1 um", "the axes look swapped"),
    "flipped y": (moved([[-1, 0], [0, 1]]), "event", "stage_y is -3 um", "y looks flipped"),
    "flipped x": (moved([[1, 0], [0, -1]]), "event", "stage_x is -1 um", "x looks flipped"),
    "count": (set_in_start("n_points", value=60), "start", "positions_m has shape (64, 2)", "expected (60, 2)"),
    "positions outside the field": (
        set_in_start("positions_m", 5, value=[1.0, 1.0]), "start", "positions_m[5] is (1.0, 1.0)", "within extent_m",
    ),
    "extent in um": (
        set_in_start("extent_m", value=lambda extent: [1e6 * v for v in extent]), "start", "extent_m", "expected",
    ),
}  # fmt: skip


@pytest.mark.fault(
    "17",
    "wrong shape, dtype, energy, distance, unit, swapped or flipped axes in metadata",
    bound="refused, or warned of, at the first document that shows it; the message names field, value, expectation",
)
@pytest.mark.parametrize("case", CASES)
def test_told_at_the_first_document_that_shows_it(case, tmp_path, caplog, figure):
    change, shows, *said = CASES[case]
    documents = [copy.deepcopy(d) for d in Scan(plain_plan(POSITIONS_M, (32, 32)), tmp_path, FRAMES).documents()]
    for name, doc in documents:
        change(name, doc)
    first = next(i for i, (name, _) in enumerate(documents) if name == shows)
    if shows == "event":
        first += 1  # the frame must be there, too: its stream_datum follows
    with LivePtycho(SETTINGS) as live:
        for name, doc in documents[: first + 1]:
            live(name, doc)
        told_in_time = wait_for(lambda: all(text in caplog.text for text in said))
        for name, doc in documents[first + 1 :]:
            live(name, doc)
        for analysis in list(live._running.values()):
            analysis.join(120)
    figure(f"told with the {shows}" if told_in_time else f"{case}: not told with the {shows}")
    assert told_in_time, caplog.text


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_the_same_scan_without_any_of_this_is_not_warned_of(tmp_path, caplog):
    with LivePtycho(SETTINGS) as live:
        for name, doc in Scan(plain_plan(POSITIONS_M, (32, 32)), tmp_path, FRAMES).documents():
            live(name, doc)
        outcome = live.wait(120)
    assert not caplog.text and not outcome.update.messages and not outcome.update.rejected
