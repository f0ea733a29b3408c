"""From position to far field."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_ptycho.geometry import Canvas, Geometry
from bluesky_ptycho.sim.diffraction import Diffraction
from bluesky_ptycho.sim.probe import DEFAULT_ILLUMINATION
from bluesky_ptycho.sim.samples import GoldBalls

GEOMETRY = Geometry(800.0, 0.121, (120e-6, 120e-6), (96, 80))
PIXEL = np.array(GEOMETRY.object_pixel_m)


@dataclass(frozen=True)
class Wedge:
    """A transparent wedge: a phase of so many radians per m of the stage's y and x."""

    y: float = 0.0
    x: float = 0.0

    def transmission(
        self, y_m: NDArray[np.float64], x_m: NDArray[np.float64], energy_ev: float
    ) -> NDArray[np.complex64]:
        return np.exp(1j * (self.y * y_m[:, None] + self.x * x_m[None, :])).astype(np.complex64)


class RightHalfOpaque:
    """A knife edge that covers +x."""

    def transmission(
        self, y_m: NDArray[np.float64], x_m: NDArray[np.float64], energy_ev: float
    ) -> NDArray[np.complex64]:
        return np.broadcast_to(1.0 - (x_m > 0), (len(y_m), len(x_m))).astype(np.complex64)


def centroid(intensity: NDArray[np.float32]) -> tuple[float, float]:
    """Return the centroid ``(y, x)`` from the zero frequency, in pixels."""
    total = intensity.sum()
    rows, columns = (np.arange(n) - n // 2 for n in intensity.shape)
    return float(intensity.sum(axis=1) @ rows / total), float(intensity.sum(axis=0) @ columns / total)


def pattern(sample: object, position_m: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float32]:
    return np.abs(Diffraction(GEOMETRY, DEFAULT_ILLUMINATION, sample).field(position_m)) ** 2  # type: ignore[arg-type]


def test_an_empty_sample_passes_all_light_around_the_axis() -> None:
    empty = pattern(Wedge())
    assert empty.sum() == pytest.approx(1, rel=1e-4)
    assert centroid(empty) == pytest.approx((0, 0), abs=1e-3)


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_wedge_deflects_to_the_side_its_phase_rises_to(axis: str, sign: int) -> None:
    """A phase ramp of 2 pi q r moves the pattern by +q; one detector pixel is 1 / (N object pixels)."""
    shift_px = 4.0
    n, pixel = (GEOMETRY.shape[0], PIXEL[0]) if axis == "y" else (GEOMETRY.shape[1], PIXEL[1])
    moved = centroid(pattern(Wedge(**{axis: 2 * np.pi * sign * shift_px / (n * pixel)})))
    expected = (sign * shift_px, 0) if axis == "y" else (0, sign * shift_px)
    assert moved == pytest.approx(expected, abs=0.05)


def test_the_position_says_which_part_of_the_sample_the_beam_meets() -> None:
    """An obstacle on the side of +x takes the light when the stage reads +x."""
    sample = RightHalfOpaque()
    assert pattern(sample, (0.0, 0.6e-6)).sum() < 0.03
    assert pattern(sample, (0.0, -0.6e-6)).sum() > 0.97
    assert pattern(sample, (0.6e-6, 0.0)).sum() == pytest.approx(pattern(sample, (-0.6e-6, 0.0)).sum())


def test_the_field_is_probe_times_truth_on_the_solvers_canvas() -> None:
    """On a canvas with pixels at the stage's own grid, a solver's forward model gives the same field."""
    diffraction = Diffraction(GEOMETRY, DEFAULT_ILLUMINATION, GoldBalls(3))
    position = (7 * PIXEL[0], -5 * PIXEL[1])
    n = np.array(GEOMETRY.shape)
    first = np.array([7, -5]) - n // 2
    canvas = Canvas(GEOMETRY.shape, tuple(first * PIXEL), tuple(PIXEL), GEOMETRY.shape)
    assert canvas.corners_px([position])[0] == pytest.approx((0, 0), abs=1e-9)
    wave = diffraction.probe(np.zeros(2)) * diffraction.truth(canvas)
    expected = np.abs(np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))) ** 2
    found = np.abs(diffraction.field(position)) ** 2
    assert np.abs(found - expected).max() < 2e-3 * expected.max()


def test_subpixel_positions_move_the_probe_not_the_grid() -> None:
    diffraction = Diffraction(GEOMETRY, DEFAULT_ILLUMINATION, GoldBalls(3))
    shifted = diffraction.probe(np.array([0.3, -0.4]))
    power = np.abs(shifted) ** 2
    assert power.sum() == pytest.approx(1, rel=1e-5)
    assert centroid(power) == pytest.approx((0.3, -0.4), abs=0.01)
    whole = diffraction.probe(np.array([1.0, 0.0]))
    np.testing.assert_allclose(whole, np.roll(diffraction.probe(np.zeros(2)), 1, axis=0), atol=1e-5)


def test_the_field_changes_smoothly_across_a_pixel_boundary() -> None:
    """At 0.49 and 0.51 pixels the window jumps by a whole pixel; the pattern must not."""
    diffraction = Diffraction(GEOMETRY, DEFAULT_ILLUMINATION, GoldBalls(3))
    at = [np.abs(diffraction.field((f * PIXEL[0], 0.0))) ** 2 for f in (0.47, 0.49, 0.51)]
    inside, across = np.abs(at[1] - at[0]).sum(), np.abs(at[2] - at[1]).sum()
    assert across < 3 * inside + 1e-3


def test_a_scan_far_away_needs_no_canvas_in_between() -> None:
    diffraction = Diffraction(GEOMETRY, DEFAULT_ILLUMINATION, GoldBalls(3))
    here = diffraction.field((0.0, 0.0))
    diffraction.field((400e-6, -400e-6))
    assert diffraction._tile is not None and diffraction._tile.transmission.size < 1e6
    np.testing.assert_array_equal(diffraction.field((0.0, 0.0)), here)
