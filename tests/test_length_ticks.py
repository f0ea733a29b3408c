"""Labels of the stage stay short and within the picture for any field."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_ptycho.figure import reconstruction_figure
from bluesky_ptycho.figure.panels import stage_axes
from bluesky_ptycho.figure.sheet import new_figure
from bluesky_ptycho.geometry import Canvas, Geometry
from tests.snapshots import make_snapshot

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("limits", "name", "labels"),
    [
        ((1.6, 2.4), "stage y, µm", ["1.6", "1.8", "2.0", "2.2", "2.4"]),
        ((123.39, 123.41), "stage y, nm from 123.400 µm", [f"{MINUS}10", f"{MINUS}5", "0", "5", "10"]),
        ((-0.001, 0.001), "stage y, nm", [f"{MINUS}1.0", f"{MINUS}0.5", "0.0", "0.5", "1.0"]),
        (
            (-456.71, -456.69), f"stage y, nm from {MINUS}456.700 µm",
            [f"{MINUS}10", f"{MINUS}5", "0", "5", "10"],
        ),
    ],
)  # fmt: skip
def test_labels_tell_their_unit_and_place(limits, name, labels):
    figure = new_figure((4, 4))
    axes = figure.add_subplot()
    stage_axes(axes)
    axes.set_ylim(limits)
    figure.canvas.draw()
    assert axes.get_ylabel() == name
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert [text for text in shown if text in labels] == labels


@pytest.mark.parametrize("centre_um", [(2, 5), (-1234.5, 456.7)])
def test_nothing_is_pushed_out_of_the_picture_of_a_few_points(centre_um):
    geometry = Geometry(8000.0, 0.02, (250e-6, 250e-6), (64, 64))
    steps = np.mgrid[-1:2, -1:2].reshape(2, -1).T * 10e-9
    positions = steps + 1e-6 * np.array(centre_um)
    (low_y, low_x), (high_y, high_x) = positions.min(axis=0), positions.max(axis=0)
    canvas = Canvas.for_extent((low_y, high_y, low_x, high_x), geometry)
    image = np.exp(0.5j * np.indices(canvas.shape).sum(axis=0) / 9).astype(np.complex64)
    figure = reconstruction_figure(
        make_snapshot(
            n=64, geometry=geometry, canvas=canvas, object=image, coverage=np.ones(canvas.shape, np.float32),
            seq_nums=np.arange(9), positions_m=positions, frc=None,
        )
    )  # fmt: skip
    figure.canvas.draw()
    width, height = figure.bbox.size
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
