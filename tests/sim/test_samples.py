"""Samples are functions of stage coordinates."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bluesky_ptycho.errors import NotFoundError, SettingsError
from bluesky_ptycho.sim.samples import GoldBalls, GoldSample, ImageSample, SiemensStar, gold_transmission, make_sample

PITCH = 6.5e-9


def grid(first: float, n: int, pitch: float = PITCH) -> np.ndarray:
    return first + pitch * np.arange(n)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    grey = np.zeros((60, 80), dtype=np.uint8)
    grey[:20, :30] = 255  # top left of the picture
    path = tmp_path / "picture.png"
    Image.fromarray(grey).save(path)
    return path


@pytest.mark.parametrize("name", ["goldballs", "siemens", "picture"])
def test_a_part_of_the_grid_has_the_values_of_the_whole(name: str, picture: Path) -> None:
    sample = make_sample(picture if name == "picture" else name, seed=2)
    y, x = grid(0.6e-6, 260), grid(-1.5e-6, 240)
    whole = sample.thickness_m(y, x)
    part = sample.thickness_m(y[70:190], x[33:200])
    assert whole[70:190, 33:200].max() > 20e-9
    # The grid's own rounding may move a sub-pixel across an edge.
    np.testing.assert_allclose(part, whole[70:190, 33:200], atol=3e-9)
    assert np.mean(np.abs(part - whole[70:190, 33:200]) > 1e-12) < 1e-3


@pytest.mark.parametrize("sample", [GoldBalls(1), SiemensStar()])
def test_edges_are_antialiased(sample: GoldSample) -> None:
    """The mean thickness of an area does not depend on the pixels it is divided into."""
    n = 64
    coarse = sample.thickness_m(grid(0.15e-6, n, 4 * PITCH), grid(-0.2e-6, n, 4 * PITCH))
    offset = -1.5 * PITCH
    fine = sample.thickness_m(grid(0.15e-6 + offset, 4 * n), grid(-0.2e-6 + offset, 4 * n))
    binned = fine.reshape(n, 4, n, 4).mean(axis=(1, 3))
    assert np.sqrt(np.mean((coarse - binned) ** 2)) < 0.06 * np.sqrt(np.mean(binned**2))


def test_gold_attenuates_and_delays_as_it_should() -> None:
    """Gold at 800 eV absorbs all but 1/e of the power in about 0.1 um, and its n is below 1."""
    one = gold_transmission(np.float32(100e-9), 800.0)
    assert np.exp(-1.3) < abs(one) ** 2 < np.exp(-0.75)
    assert -1.5 < np.angle(one) < -0.8
    assert gold_transmission(np.float32(0.0), 800.0) == 1


def test_gold_balls_go_on_beyond_any_scan() -> None:
    far = GoldBalls(0).thickness_m(grid(120e-6, 300), grid(-80e-6, 300))
    assert 0.02 < np.mean(far > 0) < 0.7


def test_seeds_draw_other_gold_balls() -> None:
    y = x = grid(0, 200)
    assert np.array_equal(GoldBalls(4).thickness_m(y, x), GoldBalls(4).thickness_m(y, x))
    assert not np.array_equal(GoldBalls(4).thickness_m(y, x), GoldBalls(5).thickness_m(y, x))


def test_a_picture_lies_with_its_top_at_positive_y_and_its_left_at_negative_x(picture: Path) -> None:
    sample = ImageSample(picture, width_m=4e-6, gold_m=100e-9)

    def mean_around(y: float, x: float) -> float:
        return float(sample.thickness_m(grid(y, 9), grid(x, 9)).mean())

    assert mean_around(1.2e-6, -1.5e-6) == pytest.approx(100e-9, rel=1e-3)
    for y, x in ((1.2e-6, 1.5e-6), (-1.2e-6, -1.5e-6), (-1.2e-6, 1.5e-6)):
        assert mean_around(y, x) < 1e-12


def test_what_is_no_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        make_sample("nowhere.png")
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(SettingsError, match="cannot be read as an image"):
        make_sample(text)
