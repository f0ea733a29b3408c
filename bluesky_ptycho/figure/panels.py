"""The panels of the picture: each function draws one thing into one axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from ..frames import Snapshot
from ..geometry import DISPLAY_ORIGIN, Canvas
from . import display
from .display import Box, Complex
from .length_ticks import LengthTicks

INK, PALE, ACCENT, SECOND = "#1b1f24", "#6b7480", "#0b62c4", "#c4470b"
CYCLIC_SPAN = 1.7 * math.pi
"""Phases that fill more than this wrap: they get a cyclic colour map over the whole circle."""
ONE_SEVENTH = 0.143
WIDE_INCHES = 2.2
"""Axes of this width have place for five labels of the stage beside each other."""


def draw_amplitude(axes: Axes, image: Complex, canvas: Canvas, box: Box, inner: Box, name: str) -> None:
    """Draw an object's amplitude in grey."""
    amplitude = np.abs(image)
    low, high = display.limits(amplitude[inner])
    colour_bar(axes, _show(axes, amplitude, canvas, box, cmap="gray", vmin=low, vmax=high), "")
    name_panel(axes, name)


def draw_phase(axes: Axes, image: Complex, canvas: Canvas, box: Box, inner: Box, name: str) -> None:
    """Draw an object's phase in radian; cyclic colours if it goes all the way around."""
    beginning, reach = display.phase_arc(image[inner])
    phase: NDArray[np.floating[Any]] = np.angle(image)
    if reach > CYCLIC_SPAN:
        colours: dict[str, Any] = {"cmap": "twilight", "vmin": -math.pi, "vmax": math.pi}
    else:
        phase = display.phase_from(image, beginning)
        low, high = display.limits(phase[inner])
        colours = {"cmap": "inferno", "vmin": low, "vmax": high}
    colour_bar(axes, _show(axes, phase, canvas, box, **colours), "rad")
    name_panel(axes, name)


def draw_stxm(axes: Axes, stxm: NDArray[np.floating[Any]] | None, canvas: Canvas, box: Box) -> None:
    """Draw the transmission map; grey where nothing is known."""
    name_panel(axes, "STXM (relative transmission)")
    if stxm is None or not np.isfinite(stxm[box]).any():
        show_absent(axes, "no transmission map")
        return
    low, high = display.limits(stxm[box])
    colour_bar(axes, _show(axes, stxm, canvas, box, cmap="gray", vmin=low, vmax=high), "")


def draw_coverage(axes: Axes, snapshot: Snapshot, box: Box) -> None:
    """Draw where the light went, with the scan positions."""
    name_panel(axes, "Illumination and positions")
    coverage = np.nan_to_num(snapshot.coverage)
    if not coverage[box].max() > 0:
        show_absent(axes, "no frame yet")
        return
    top = float(np.percentile(coverage[box], 99)) or float(coverage[box].max())
    _show(axes, coverage / top, snapshot.canvas, box, cmap="gray", vmin=0, vmax=1)
    y, x = 1e6 * snapshot.positions_m.T
    axes.plot(x, y, ".", color="#ff8c1a", ms=float(np.clip(60 / np.sqrt(max(1, len(x))), 1.0, 6.0)), mew=0)


def draw_probe(axes: Axes, snapshot: Snapshot) -> None:
    """Draw the strongest probe mode, hue = phase and brightness = √amplitude, and say the powers of all modes."""
    power = np.sum(np.abs(snapshot.probe.astype(np.complex128)) ** 2, axis=(1, 2))
    name_panel(axes, "Probe at the sample")
    if not power.sum() > 0:
        show_absent(axes, "no probe yet")
        return
    probe = snapshot.probe[0]
    box = display.power_box(np.abs(probe) ** 2)
    dy, dx = snapshot.canvas.pixel_m
    rows, cols = box
    middle = tuple(n // 2 for n in probe.shape)
    edges = (
        (cols.start - middle[1] - 0.5) * dx,
        (cols.stop - middle[1] - 0.5) * dx,
        (rows.start - middle[0] - 0.5) * dy,
        (rows.stop - middle[0] - 0.5) * dy,
    )
    left, right, bottom, top = (1e6 * e for e in edges)
    axes.imshow(display.complex_to_rgb(probe[box]), origin=DISPLAY_ORIGIN, extent=(left, right, bottom, top))
    axes.set_xlabel("from the beam axis, µm", fontsize=9, color=PALE, labelpad=2)
    for axis, name in ((axes.xaxis, "from the beam axis"), (axes.yaxis, "")):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(LengthTicks(axis, name))
    axes.yaxis.label.set_visible(False)
    axes.tick_params(labelsize=9, colors=PALE)
    if len(power) > 1:
        shares = ", ".join(f"{100 * p / power.sum():.0f}" for p in power)
        axes.text(0.03, 0.97, f"modes {shares} %", transform=axes.transAxes, va="top", fontsize=9, color="white")
    draw_scale_bar(axes)


def draw_pupil(axes: Axes, snapshot: Snapshot) -> None:
    """Draw the amplitude of the probe's spectrum, which a far-field detector would see without a sample."""
    near = snapshot.geometry.propagation == "near"
    name_panel(axes, "Spectrum of the probe" if near else "Probe at the detector")
    pupil = np.sqrt(np.sum(np.abs(np.fft.fftshift(np.fft.fft2(snapshot.probe), axes=(1, 2))) ** 2, axis=0))
    if not pupil.max() > 0:
        show_absent(axes, "no probe yet")
        return
    axes.imshow(pupil, origin=DISPLAY_ORIGIN, cmap="gray", vmax=float(np.percentile(pupil, 99.9)))
    axes.set_xticks([])
    axes.set_yticks([])


def draw_residuals(axes: Axes, snapshot: Snapshot) -> None:
    """Draw the residual of each pass on a logarithmic scale."""
    residuals = np.asarray(snapshot.residuals, dtype=np.float64)
    known = np.isfinite(residuals) & (residuals > 0)
    name_panel(axes, "Residual  Σ(√I − |Ψ|)² / ΣI")
    if not known.any():
        show_absent(axes, "no pass yet")
        return
    passes = np.arange(1, len(residuals) + 1)
    axes.plot(passes[known], residuals[known], color=ACCENT, lw=2, marker="o" if known.sum() < 30 else "", ms=4)
    make_logarithmic(axes)
    if math.isfinite(snapshot.residual) and snapshot.residual > 0:
        axes.axhline(snapshot.residual, color=SECOND, lw=1, ls="--")
        label = f"final state, all frames: {snapshot.residual:.4g}"
        axes.text(0.98, 0.95, label, transform=axes.transAxes, ha="right", va="top", color=SECOND)
    axes.set_xlabel("pass over the frames", color=PALE)
    axes.set_xlim(0.5, max(2, len(residuals)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    curve_style(axes)


def draw_frc(axes: Axes, snapshot: Snapshot) -> None:
    """Draw the Fourier ring correlation of two half data sets with its criteria."""
    frc = snapshot.frc
    if frc is None:
        name_panel(axes, "Fourier ring correlation")
        show_absent(axes, "not computed")
        return
    name_panel(axes, f"Fourier ring correlation: {resolution_text(snapshot)}")
    draw_ring_correlation(axes, frc)


def draw_ring_correlation(axes: Axes, frc: Mapping[str, Any]) -> None:
    """Draw a Fourier ring correlation as `recon.metrics.frc` gives it, with its criteria."""
    frequency = np.asarray(frc["frequency_per_m"]) * 1e-6
    axes.plot(frequency, frc["correlation"], color=ACCENT, lw=2)
    if "half_bit" in frc:
        axes.plot(frequency, frc["half_bit"], color=SECOND, lw=1.2, ls="--", label="½ bit")
    axes.axhline(ONE_SEVENTH, color=PALE, lw=1.2, ls=":", label="0.143")
    half_pitch = float(frc["half_bit_m"])
    if math.isfinite(half_pitch):
        axes.axvline(0.5e-6 / half_pitch, color=SECOND, lw=1)
    axes.set_xlabel("spatial frequency, 1/µm", color=PALE)
    axes.set_xlim(0, frequency[-1])
    axes.set_ylim(min(-0.05, float(np.nanmin(frc["correlation"]))), 1.05)
    axes.legend(loc="best", ncols=2, frameon=True, framealpha=0.9, edgecolor="none", fontsize=10)
    curve_style(axes)


def draw_facts(axes: Axes, snapshot: Snapshot) -> None:
    """Write the figures of the reconstruction."""
    axes.set_axis_off()
    for row, (name, value) in enumerate(facts(snapshot)):
        y = 1.0 - 0.125 * row
        axes.text(0.0, y, name, transform=axes.transAxes, va="center", color=PALE, fontsize=12)
        axes.text(0.34, y, value, transform=axes.transAxes, va="center", color=INK, fontsize=12.5)


def facts(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return names and values of the figures that :func:`draw_facts` writes."""
    geometry, pixel = snapshot.geometry, snapshot.canvas.pixel_m
    field = tuple(s.stop - s.start for s in display.scanned_box(snapshot))
    photons = float(np.sum(np.abs(snapshot.probe.astype(np.complex128)) ** 2))
    pixels = " × ".join(dict.fromkeys(display.length_text(p) for p in pixel[::-1]))
    sizes = [display.length_text(n * p) for n, p in zip(field[::-1], pixel[::-1], strict=True)]
    energy = geometry.energy_ev
    return [
        ("frames", f"{len(snapshot.seq_nums)} of {geometry.shape[0]} × {geometry.shape[1]} pixels"),
        ("passes", f"{snapshot.iteration}, {snapshot.settings.get('algorithm', '')}".rstrip(", ")),
        ("residual", f"{snapshot.residual:.4g}" if math.isfinite(snapshot.residual) else "–"),
        ("resolution", resolution_text(snapshot)),
        ("object pixel", pixels),
        ("scanned region", " × ".join(sizes)),
        ("photon energy", f"{energy / 1e3:.4g} keV" if energy >= 2000 else f"{energy:.4g} eV"),
        ("brightest frames", f"{float(f'{photons:.3g}'):,.0f} photons"),
    ]


def resolution_text(snapshot: Snapshot) -> str:
    """Return the half-pitch resolution at the 1/2-bit criterion in words."""
    limit_m = snapshot.frc_limit_m
    if snapshot.frc is None or limit_m is None:
        return "–"
    half_pitch = float(snapshot.frc["half_bit_m"])
    if not math.isfinite(half_pitch):
        return "not resolved (½ bit)"
    sign = "≤ " if half_pitch <= limit_m * (1 + 1e-6) else ""
    return f"{sign}{display.length_text(half_pitch)} half pitch (½ bit)"


def draw_scale_bar(axes: Axes, part: float = 0.3) -> list[Artist]:
    """Draw a bar of a round length into the lower left corner; the axes' unit is µm.

    Parameters
    ----------
    axes : Axes
    part : float
        Of the width, that it has at most.

    Returns
    -------
    list of Artist
        Bar and label.
    """
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    width, height = right - left, top - bottom
    length = display.round_length(part * width * 1e-6) * 1e6
    x, y, thick = left + 0.045 * width, bottom + 0.045 * height, 0.014 * height
    bar = axes.add_patch(Rectangle((x, y), length, thick, facecolor="white", edgecolor="black", lw=0.8, zorder=5))
    text = axes.text(
        x,
        y + 1.6 * thick,
        display.length_text(length * 1e-6),
        ha="left",
        va="bottom",
        color="white",
        fontsize=11,
        fontweight="bold",
        zorder=5,
    )
    text.set_path_effects([withStroke(linewidth=2.2, foreground="black")])
    return [bar, text]


def _show(axes: Axes, values: NDArray[Any], canvas: Canvas, box: Box, **colours: Any) -> AxesImage:
    image = axes.imshow(values[box], origin=DISPLAY_ORIGIN, extent=display.extent_um(canvas, box), **colours)
    stage_axes(axes)
    draw_scale_bar(axes)
    return image


def stage_axes(axes: Axes) -> None:
    """Give axes ticks and labels in µm of the stage, grey where nothing is known."""
    axes.set_facecolor("#8b9097")
    wide = axes.bbox.width > WIDE_INCHES * axes.figure.dpi  # elsewhere labels as "−0.25" meet
    axes.xaxis.set_major_locator(MaxNLocator(4 if wide else 3, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(labelsize=10, colors=PALE)
    for axis, name in ((axes.xaxis, "stage x"), (axes.yaxis, "stage y")):
        axis.set_label_text(f"{name}, µm", fontsize=10, color=PALE)
        axis.labelpad = 2
        axis.set_major_formatter(LengthTicks(axis, name))


def colour_bar(axes: Axes, image: AxesImage, unit: str) -> Axes:
    """Draw the colour bar of an image beside it; return its axes."""
    inset = axes.inset_axes((1.02, 0.0, 0.03, 1.0))
    ticks = None if isinstance(image.norm, LogNorm) else MaxNLocator(7, steps=[1, 2, 2.5, 5, 10])
    bar = axes.figure.colorbar(image, cax=inset, ticks=ticks)
    bar.ax.tick_params(labelsize=10, colors=PALE)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.set_title(unit, fontsize=10, color=PALE, pad=4, y=1.0)
    return inset


def set_colour_limits(image: AxesImage, low: float, high: float) -> None:
    """Set both ends at once: in between, the colour bars of older Matplotlibs would mend what they see as reversed."""
    with image.norm.callbacks.blocked():
        image.norm.vmin, image.norm.vmax = low, high  # type: ignore[misc]
    image.changed()


def name_panel(axes: Axes, text: str) -> None:
    """Write the name of a panel above its left end."""
    axes.set_title(text, loc="left", fontsize=13, color=INK, pad=7, y=1.0)  # y: it need not be searched for


def show_absent(axes: Axes, text: str) -> None:
    """Say in an empty panel why there is nothing."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#f1f3f5")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=PALE, fontsize=12)


def make_logarithmic(axes: Axes) -> None:
    """Give the y axis a logarithmic scale with plain numbers, of which short ranges have several."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def curve_style(axes: Axes) -> None:
    """Give axes of a curve a grid and no frame at the top and on the right."""
    axes.grid(True, which="major", color="#e2e5e9", lw=0.8)
    axes.tick_params(labelsize=10, colors=PALE, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b7bdc5")
