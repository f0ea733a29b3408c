"""Frames, positions and seeds of the simulated beamline."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bluesky_ptycho.errors import MetadataError, SettingsError
from bluesky_ptycho.geometry import Canvas
from bluesky_ptycho.sim import Beamline, FccdNoise, StageErrors, make_beamline

PLAIN = {"camera": "plain", "shape": (64, 64), "progress": False}
POSITIONS = np.array([[0.0, 0.0], [0.1e-6, -0.2e-6], [0.3e-6, 0.1e-6]])


NOISELESS = FccdNoise(offset_spread=0.0, sigma=0.0, drift=0.0, tone=0.0, junk=0.0)


def solver_view(raw: np.ndarray) -> np.ndarray:
    """Return photons of a noiseless raw frame, as the instrument's papers say it is to be read."""
    rows = np.r_[6:486, 554:1034]
    columns = np.flatnonzero(~np.isin(np.arange(1152) % 12, (0, 11)))
    image = ((raw[np.ix_(rows, columns)] & 0x1FFF) - 4096.0) / 3.2
    return image.T[::-1, ::-1].reshape(240, 4, 240, 4).sum(axis=(1, 3))


def expose(beamline: Beamline, y_m: float, x_m: float, exposure_s: float = 0.1) -> np.ndarray:
    physics = beamline.physics
    out = np.empty(physics.camera.electronics.shape, dtype=np.uint16)
    physics.set_shutter(True)
    physics.move("y", y_m)
    physics.move("x", x_m)
    physics.expose(exposure_s, out)
    return out


def rehearse(beamline: Beamline, positions: np.ndarray | None = POSITIONS, n: int = 3) -> None:
    beamline.physics.rehearse(positions, n, (0.1,), lambda: False)


@pytest.mark.parametrize("options", [PLAIN, {"progress": False}])
def test_a_frame_rendered_ahead_is_the_frame_that_would_have_been_taken(
    tmp_path: Path, options: dict[str, object]
) -> None:
    with make_beamline(tmp_path, **options) as fresh, make_beamline(tmp_path, **options) as rehearsed:
        rehearse(rehearsed)
        assert len(rehearsed.physics._rehearsed) == 3
        for y, x in POSITIONS[::-1]:  # in any order
            np.testing.assert_array_equal(expose(rehearsed, y, x), expose(fresh, y, x))
        assert not rehearsed.physics._rehearsed  # all three were played


def test_a_frame_taken_again_has_noise_of_its_own(tmp_path: Path) -> None:
    with make_beamline(tmp_path, **PLAIN) as beamline:
        rehearse(beamline)
        first, again = expose(beamline, *POSITIONS[1]), expose(beamline, *POSITIONS[1])
        assert not np.array_equal(first, again)
        expected = beamline.physics.photons_per_s * 0.1 / first.size
        assert np.mean((first - again.astype(float)) ** 2) == pytest.approx(2 * first.mean(), rel=0.1)
        assert first.mean() <= expected


def test_seeds_reproduce_frames_and_positions(tmp_path: Path) -> None:
    def record(seed: int) -> tuple[np.ndarray, float]:
        with make_beamline(tmp_path, seed=seed, **PLAIN) as beamline:
            return expose(beamline, *POSITIONS[2]), beamline.stage.y.position

    (frame, y), (same, same_y), (other, other_y) = record(3), record(3), record(4)
    assert np.array_equal(frame, same) and y == same_y
    assert not np.array_equal(frame, other) and y != other_y


def test_dark_frames_hold_no_light_and_differ(tmp_path: Path) -> None:
    with make_beamline(tmp_path, progress=False) as beamline:
        frames = np.empty((3, 1040, 1152), dtype=np.uint16)
        rehearse(beamline, None, 2)  # the third is rendered when it is taken
        for frame in frames:
            beamline.physics.expose(0.1, frame)
        live = frames[:, 6:486].astype(float) - frames[:, 6:486].mean(axis=(0, 1))
        assert live.std() < 5
        assert not np.array_equal(frames[0], frames[1]) and not np.array_equal(frames[1], frames[2])


def test_photons_go_with_exposure_and_with_what_was_asked_for(tmp_path: Path) -> None:
    with make_beamline(tmp_path, photons=2e5, exposure_s=0.05, **PLAIN) as beamline:
        short, long = (expose(beamline, 0, 0, t).sum() for t in (0.05, 0.5))
        assert 0.5 * 2e5 < short < 2e5 * 1.02  # gold takes some
        assert long / short == pytest.approx(10, rel=0.02)


def test_the_stage_has_the_errors_it_was_given(tmp_path: Path) -> None:
    errors = StageErrors(position_m=5e-9, encoder_m=1e-9)
    with make_beamline(tmp_path, errors=errors, **PLAIN) as beamline:
        physics = beamline.physics
        setpoints = np.linspace(-2e-6, 2e-6, 500)
        true = np.array([physics.true_position_m("x", s) for s in setpoints])
        again = np.array([physics.true_position_m("x", s) for s in setpoints])
        assert np.array_equal(true, again)
        assert stats.kstest((true - setpoints) / 5e-9, "norm").pvalue > 1e-3
        physics.move("x", setpoints[7])
        readings = np.array([physics.readback_m("x") for _ in range(500)])
        assert stats.kstest((readings - true[7]) / 1e-9, "norm").pvalue > 1e-3
        y = np.array([physics.true_position_m("y", s) for s in setpoints])
        assert abs(np.corrcoef(y - setpoints, true - setpoints)[0, 1]) < 0.2


def test_frames_are_taken_where_the_stage_truly_is(tmp_path: Path) -> None:
    """A stage that is 50 nm off at every setpoint takes the frames of those places."""
    errors = StageErrors(position_m=50e-9, encoder_m=0.0)
    with make_beamline(tmp_path, errors=errors, photons=1e7, **PLAIN) as beamline:
        frame = expose(beamline, *POSITIONS[1]).astype(float)
        true = [beamline.physics.true_position_m(a, p) for a, p in zip("yx", POSITIONS[1], strict=True)]
        at_true, at_setpoint = beamline.clean_patterns(np.array([true, POSITIONS[1]]), exposure_s=0.1)

        def distance(pattern: np.ndarray) -> float:
            return float(((np.sqrt(pattern) - np.sqrt(frame)) ** 2).mean())

        assert distance(at_true) < 0.6  # two Poisson draws of the same pattern: 1/2, less where it is dark
        assert distance(at_setpoint) > 2 * distance(at_true)


def test_clean_patterns_are_the_solvers_pixels_of_the_fccd(tmp_path: Path) -> None:
    """What is left of a raw frame without electronics is clean pattern: same place, same photons."""
    errors = StageErrors(position_m=0.0, encoder_m=0.0)
    with make_beamline(
        tmp_path, noise=NOISELESS, errors=errors, photons=3e6, exposure_s=1.0, progress=False
    ) as beamline:
        measured = solver_view(expose(beamline, *POSITIONS[1], 1.0))
        (clean,) = beamline.clean_patterns(POSITIONS[1:2])
        assert clean.shape == beamline.geometry.shape == (240, 240)
        assert measured.sum() == pytest.approx(clean.sum(), rel=2e-3)
        bright = clean > 50
        z = (measured - clean)[bright] / np.sqrt(2 * clean[bright])
        assert z.std() == pytest.approx(1, abs=0.1)
        assert abs(z.mean()) < 0.1


@dataclass(frozen=True)
class Wedge:
    """A transparent wedge, radians per m of the stage's y and x."""

    y: float = 0.0
    x: float = 0.0

    def transmission(
        self, y_m: NDArray[np.float64], x_m: NDArray[np.float64], energy_ev: float
    ) -> NDArray[np.complex64]:
        return np.exp(1j * (self.y * y_m[:, None] + self.x * x_m[None, :])).astype(np.complex64)


@pytest.mark.parametrize(("axis", "expected"), [("none", (0, 0)), ("y", (5, 0)), ("x", (0, 5))])
def test_a_wedge_deflects_the_beam_on_the_camera(tmp_path: Path, axis: str, expected: tuple[int, int]) -> None:
    """Phase that rises with the stage's +x moves the image by +q_x, once the image is transposed and flipped.

    The optical axis meets the middle of the solver's pixel [120, 120].
    """
    energy_wavelength = 1.239842e-6 / 800
    radians_per_m = 2 * np.pi * 5 * 120e-6 / (energy_wavelength * 0.121)  # 5 pixels of 120 um at 0.121 m
    wedge = Wedge(**{axis: radians_per_m} if axis != "none" else {})
    with make_beamline(tmp_path, sample=wedge, noise=NOISELESS, exposure_s=1.0, progress=False) as beamline:
        pattern = solver_view(expose(beamline, *POSITIONS[0], 1.0))
    index = np.arange(240) - 120
    found = [float(pattern.sum(axis=1 - k) @ index / pattern.sum()) for k in (0, 1)]
    assert found == pytest.approx(expected, abs=0.06)


def test_the_truth_on_any_canvas_is_the_same_sample(tmp_path: Path) -> None:
    with make_beamline(tmp_path, sample="siemens", **PLAIN) as beamline:
        g = beamline.geometry
        small = Canvas.for_extent((-0.2e-6, 0.2e-6, -0.2e-6, 0.2e-6), g)
        large = Canvas.for_extent((-0.2e-6 - 3 * g.object_pixel_m[0], 0.5e-6, -0.4e-6, 0.6e-6), g)
        a, b = beamline.truth(small), beamline.truth(large)
        shift = (np.array(small.origin_m) - large.origin_m) / g.object_pixel_m
        row, column = np.rint(shift).astype(int)
        assert a.dtype == np.complex64 and a.shape == small.shape
        assert np.ptp(np.abs(a)) > 0.2
        if np.allclose(shift, np.rint(shift), atol=1e-6):
            np.testing.assert_allclose(b[row : row + a.shape[0], column : column + a.shape[1]], a, atol=1e-3)
        else:  # different by a part of a pixel: equal where it is flat
            part = b[row : row + a.shape[0], column : column + a.shape[1]]
            assert np.mean(np.abs(part - a) < 1e-3) > 0.5


def test_rehearsal_stops_when_it_is_cancelled(tmp_path: Path) -> None:
    with make_beamline(tmp_path, **PLAIN) as beamline:
        beamline.physics.rehearse(POSITIONS, 3, (0.1,), lambda: True)
        assert not beamline.physics._rehearsed


def test_scratch_space_is_given_back(tmp_path: Path) -> None:
    """The file has no name, so even a killed process leaves nothing behind."""
    beamline = make_beamline(tmp_path, **PLAIN)
    rehearse(beamline)
    assert list(tmp_path.iterdir()) == []
    file = beamline.physics._scratch._file  # type: ignore[union-attr]
    beamline.close()
    assert file.closed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"photons": -1.0}, "photons is -1"),
        ({"exposure_s": 0.0}, "exposure_s is 0"),
        ({"frame_rate": 500.0}, "frame_rate is 500"),
        ({"photons": "many"}, r"photons is 'many' \(str\); expected a positive number"),
        ({"frame_rate": None}, r"frame_rate is None \(NoneType\); expected a positive number"),
        ({"distance_m": float("nan")}, "distance_m is nan"),
        ({"energy_ev": "800"}, "energy_ev is '800'"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"settle_time_s": -1}, "settle_time_s is -1"),
        ({"camera": "eiger"}, "'eiger'"),
        ({"shape": (64, 64)}, "only 'plain' takes a shape"),
        ({"camera": "plain", "noise": FccdNoise()}, "noise was given"),
        ({"camera": "plain", "layout": "fccd-wire"}, "layout is 'fccd-wire'"),
    ],
)
def test_impossible_beamlines_are_refused(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_beamline(tmp_path, **arguments)


def test_an_energy_in_kev_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"energy_ev is 0\.8 eV; expected 10 to "):
        make_beamline(tmp_path, energy_ev=0.8)
