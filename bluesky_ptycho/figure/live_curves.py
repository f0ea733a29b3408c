"""Curves that grow with a scan: residual and resolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from . import display
from .live_view import LiveView
from .panels import ACCENT, INK, PALE, SECOND, curve_style, make_logarithmic, name_panel


class ResidualCurve:
    """The residual of each pass, logarithmic."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        name_panel(axes, "Residual  Σ(√I − |Ψ|)² / ΣI")
        (self._line,) = axes.plot([], [], color=ACCENT, lw=2)
        self._value = _corner_text(axes)
        make_logarithmic(axes)
        axes.set_xlabel("pass over the frames", color=PALE, labelpad=2)
        _growing(axes)

    def show(self, view: LiveView) -> None:
        """Show the residuals of `view`."""
        residuals = np.zeros(0) if view.snapshot is None else np.asarray(view.snapshot.residuals, dtype=np.float64)
        known = np.isfinite(residuals) & (residuals > 0)
        passes = np.arange(1, len(residuals) + 1)
        self._line.set_data(passes[known], residuals[known])
        self._line.set_marker("o" if known.sum() < 2 else "")
        value = residuals[known][-1] if known.any() else math.nan
        if view.snapshot is not None and math.isfinite(view.snapshot.residual):
            value = view.snapshot.residual  # of the object as it is, not as it was in the middle of a pass
        self._value.set_text(f"{value:.3g}" if math.isfinite(value) else "no pass yet")
        self._axes.set_xlim(0.5, _room(len(residuals)))
        self._axes.yaxis.set_visible(bool(known.any()))
        if known.any():
            low, high = residuals[known].min(), residuals[known].max()
            self._axes.set_ylim(low / 1.3, max(high * 1.3, low * 3))
            self._axes.yaxis.set_major_locator(LogLocator(subs=(1,) if high > 50 * low else (1, 2, 5)))


class ResolutionCurve:
    """Half pitch by FRC of two half data sets against the points used, with the pixel as its end."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        name_panel(axes, "Resolution  FRC, ½ bit, half pitch")
        (self._line,) = axes.plot([], [], color=ACCENT, lw=2, marker="o", ms=4)
        self._limit = axes.axhline(1.0, color=SECOND, lw=1.2, ls="--", visible=False)
        self._limit_name = axes.annotate(
            "pixel", (0.015, 1.0), xycoords=("axes fraction", "data"), xytext=(0, -2), textcoords="offset points",
            va="top", color=SECOND, fontsize=10, visible=False,
        )  # fmt: skip
        self._value = _corner_text(axes)
        axes.set_xlabel("scan points used", color=PALE, labelpad=2)
        axes.set_ylabel("nm", color=PALE, labelpad=2)
        _growing(axes)

    def show(self, view: LiveView) -> None:
        """Show the resolutions of `view`."""
        points, half_pitch = view.resolutions.T
        known = np.isfinite(half_pitch)
        self._line.set_data(points[known], 1e9 * half_pitch[known])
        self._value.set_text(display.half_pitch_text(half_pitch[-1]) if len(half_pitch) else "not known yet")
        self._axes.set_xlim(0, max(1.0, 1.02 * view.planned))
        self._axes.yaxis.set_visible(bool(known.any()))
        limit_m = None if view.snapshot is None else view.snapshot.frc_limit_m
        for part in (self._limit, self._limit_name):
            part.set_visible(bool(known.any()) and limit_m is not None)
        if known.any():
            lowest = min(v for v in (limit_m, half_pitch[known].min()) if v is not None)
            self._axes.set_ylim(0, 1e9 * max(1.15 * half_pitch[known].max(), 2 * lowest))
        if limit_m is not None:
            self._limit.set_ydata([1e9 * limit_m] * 2)
            self._limit_name.xy = (0.015, 1e9 * limit_m)


def _growing(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    curve_style(axes)


def _corner_text(axes: Axes) -> Any:
    return axes.text(
        0.97, 0.95, "", transform=axes.transAxes, ha="right", va="top", color=INK, fontsize=14, fontweight="bold"
    )


def _room(n: int) -> int:
    """Return a round number of passes that holds `n`, near it, so that the axis does not move with every one."""
    step = 10 ** len(str(max(n, 10))) // 50
    return max(10, math.ceil(n / step) * step)
