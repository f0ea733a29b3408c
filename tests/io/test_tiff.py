"""Reconstructions as TIFF, read with a program of others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bluesky_ptycho import convert
from tests.snapshots import make_snapshot
from tests.stored import store_result, store_scan


def pages(path):
    with Image.open(path) as file:
        read = []
        for page in range(file.n_frames):
            file.seek(page)
            read.append(np.array(file))
        return read, dict(file.tag_v2)


def test_a_result_becomes_phase_and_amplitude_without_wraps_and_noise(catalog, tmp_path):
    snapshot = make_snapshot()
    y, x = np.mgrid[: snapshot.object.shape[0], : snapshot.object.shape[1]]
    rows, cols = snapshot.canvas.scanned_box(snapshot.positions_m)
    centre = (rows.start + rows.stop) / 2 + 3, (cols.start + cols.stop) / 2 - 4  # off centre: a flip is seen
    thick = -4.0 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 18)  # beyond -π
    coverage = np.ones(thick.shape, np.float32)
    coverage[: rows.start // 2] = 0
    noise = np.random.default_rng(0).normal(size=(2, *thick.shape))
    image = np.where(coverage > 0, 0.9 * np.exp(1j * (thick + 0.02 * y - 0.01 * x + 2)), noise[0] + 1j * noise[1])
    start = store_scan(catalog)
    store_result(catalog, start, make_snapshot(object=image.astype(np.complex64), coverage=coverage))
    assert convert(-1, catalog, "tiff", tmp_path / "a.tiff").startswith("phase and amplitude of")
    (phase, amplitude), tags = pages(tmp_path / "a.tiff")
    assert phase.dtype == amplitude.dtype == np.float32
    known = coverage > 0
    np.testing.assert_allclose(phase[::-1][known], thick[known], atol=0.06)
    np.testing.assert_allclose(amplitude[::-1][known], 0.9, rtol=1e-5)
    assert np.isnan(phase[::-1][~known]).all() and np.isnan(amplitude[::-1][~known]).all()
    per_um = [1e-6 / pitch for pitch in snapshot.canvas.pixel_m]
    assert [float(tags[283]), float(tags[282])] == pytest.approx(per_um, rel=1e-5)
    lines = dict(line.split("=", 1) for line in tags[270].splitlines() if "=" in line)
    told = json.loads(lines["bluesky_ptycho"])
    assert lines["unit"] == "um" and lines["pages"] == "phase, amplitude"
    assert told["raw_uid"] == start["uid"] and told["origin_m"] == list(snapshot.canvas.origin_m)
