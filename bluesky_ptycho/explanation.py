"""What every step of the preprocessing made of one scan point; computed in `preprocess`, drawn in `figure`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class StepView:
    """One step.

    Photons and masked pixels are counted on the image alone, without junk, overscan and empty rows, so that they
    compare from step to step; photons on valid pixels, over all exposures as long as they are not merged. ADU
    count as the photons that they would be.

    Parameters
    ----------
    name : str
    unit : {"raw", "ADU", "photon"}
        Of `values`.
    values : ndarray (K, H, W), (K, rows, columns) or (rows, columns)
        What the step gave for the K exposures, or for the scan point once they are merged.
    damaged, saturated : ndarray of bool
        Masks of the same shape, of the image; what is neither is valid.
    oriented : bool
        Whether rows and columns run along +q_y and +q_x, as the solver wants them.
    photons_in, photons_out : float
        Before and after the step; NaN for raw words.
    n_damaged, n_saturated : int
        Masked pixels of the image after the step.
    seconds : float
        What the step took, in NumPy.
    changed : bool
        False where there was nothing to do.
    empty : ndarray of bool or None
        What is of no use outside of the image: of whole frames, rows that are sent empty. None where there is none.
    """

    name: str
    unit: str
    values: NDArray[np.generic]
    damaged: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    oriented: bool
    photons_in: float
    photons_out: float
    n_damaged: int
    n_saturated: int
    seconds: float
    changed: bool = True
    empty: NDArray[np.bool_] | None = None

    @property
    def valid(self) -> NDArray[np.bool_]:
        """True where the step left a pixel valid."""
        valid = ~(self.damaged | self.saturated)
        return valid if self.empty is None else valid & ~self.empty

    @property
    def spread(self) -> tuple[float, float, float]:
        """Least, median and greatest valid value; NaN if there is none."""
        values = self.values[self.valid & np.isfinite(self.values)]
        if not values.size:
            return math.nan, math.nan, math.nan
        return float(values.min()), float(np.median(values)), float(values.max())


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The steps in order; printed, it is a table.

    Parameters
    ----------
    steps : tuple of StepView
    exposures_s : tuple of float
        Exposures of the scan point in s.
    preset : str
        Where the steps come from.
    dark_corrected : bool
        False where no fitting darks were there.
    rejected : str or None
        Why the frame would not reach the solver, as far as can be told without the other frames.
    """

    steps: tuple[StepView, ...]
    exposures_s: tuple[float, ...]
    preset: str
    dark_corrected: bool
    rejected: str | None

    def __getitem__(self, name: str) -> StepView:
        """Return the step called `name`; KeyError if it was not run."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(f"step {name!r} was not run; run: {', '.join(s.name for s in self.steps)}")

    @property
    def verdict(self) -> str:
        """What became of the frame, in a few words."""
        darks = "dark corrected" if self.dark_corrected else "without darks"
        return f"{darks}, {'accepted' if self.rejected is None else self.rejected}"

    def __repr__(self) -> str:
        head = ("step", "shape", "unit", "photons in", "out", "damaged", "saturated", "min", "median", "max", "ms")
        rows = [head, *(_row(step) for step in self.steps)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        exposures = ", ".join(f"{t:g}" for t in self.exposures_s)
        lines = [f"preset {self.preset}, exposures {exposures} s: {self.verdict}"]
        for row in rows:
            cells = [_cell(text, i, width) for i, (text, width) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


def number_text(value: float) -> str:
    """Return a number with four digits, a dash where it is unknown."""
    return "–" if math.isnan(value) else f"{value:.4g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def _row(step: StepView) -> tuple[str, ...]:
    shape = " × ".join(str(n) for n in step.values.shape)
    numbers = (number_text(v) for v in (step.photons_in, step.photons_out))
    spread = (number_text(v) for v in step.spread)
    return (
        step.name, shape, step.unit, *numbers, str(step.n_damaged), str(step.n_saturated), *spread,
        f"{1e3 * step.seconds:.0f}",
    )  # fmt: skip


def _cell(text: str, column: int, width: int) -> str:
    return text.ljust(width) if column < 3 else text.rjust(width)
