"""The figures of a report; each function draws one, or nothing where there is no image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from ..figure import display, panels
from ..figure.sheet import new_figure
from .contents import ReportedScan

MOST_MODES = 5
"""Probe modes that are drawn; the others hold next to nothing."""


def object_figure(scan: ReportedScan) -> Figure | None:
    """Draw amplitude and phase of the object over the scanned field; the phase ramp, which is free, is taken off."""
    if (snapshot := scan.snapshot) is None:
        return None
    box, inner = display.shown_box(snapshot), display.scanned_box(snapshot)
    figure, (left, right) = _figure(2, height=5.8)
    image = display.without_phase_ramp(snapshot.object, inner)
    panels.draw_amplitude(left, image, snapshot.canvas, box, inner, "Object amplitude")
    panels.draw_phase(right, image, snapshot.canvas, box, inner, "Object phase")
    return figure


def maps_figure(scan: ReportedScan) -> Figure | None:
    """Draw the transmission map and where the light went."""
    if (snapshot := scan.snapshot) is None:
        return None
    box = display.shown_box(snapshot)
    figure, (left, right) = _figure(2, height=5.0)
    panels.draw_stxm(left, scan.stxm, snapshot.canvas, box)
    panels.draw_coverage(right, snapshot, box)
    return figure


def probe_figure(scan: ReportedScan) -> Figure | None:
    """Draw the probe's modes at the sample, hue = phase and brightness = √amplitude, and their light far from it."""
    if (snapshot := scan.snapshot) is None:
        return None
    power = np.sum(np.abs(snapshot.probe.astype(np.complex128)) ** 2, axis=(1, 2))
    shown = min(MOST_MODES, len(power))
    figure, axes = _figure(shown + 1, height=3.9 if shown < 3 else 2.9)
    for i in range(shown):
        panels.draw_probe(axes[i], replace(snapshot, probe=snapshot.probe[i : i + 1]))
        if shown > 1:
            panels.name_panel(axes[i], f"Mode {i + 1}: {100 * power[i] / power.sum():.3g} %")
    panels.draw_pupil(axes[-1], snapshot)
    if shown > 1:
        panels.name_panel(axes[-1], "Spectrum")
    return figure


def quality_figure(scan: ReportedScan) -> Figure | None:
    """Draw the residual of each pass and the Fourier ring correlation of two half data sets."""
    if (snapshot := scan.snapshot) is None:
        return None
    figure, (left, right) = _figure(2, height=4.0)
    panels.draw_residuals(left, snapshot)
    panels.draw_frc(right, snapshot)
    return figure


def _figure(columns: int, height: float) -> tuple[Figure, list[panels.Axes]]:
    figure = new_figure((13.0, height))
    grid = figure.add_gridspec(1, columns, left=0.06, right=0.95, top=0.9, bottom=0.14, wspace=0.3)
    return figure, [figure.add_subplot(grid[i]) for i in range(columns)]
