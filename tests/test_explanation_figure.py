from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ptycho.explanation import Explanation, StepView
from bluesky_ptycho.figure import explanation_figure, save_explanation_png
from bluesky_ptycho.figure.explanation import DAMAGED, SATURATED

NAN = float("nan")


def view(name, unit, values, *, oriented=False, damaged=None, saturated=None, **more):
    none = np.zeros(values.shape, dtype=bool)
    damaged, saturated = (none if mask is None else mask for mask in (damaged, saturated))
    counts = {"n_damaged": int(damaged.sum()), "n_saturated": int(saturated.sum())}
    figures = {"photons_in": 4.0, "photons_out": 1.25e6, "seconds": 0.01, **counts, **more}
    return StepView(name, unit, values, damaged, saturated, oriented, **figures)


@pytest.fixture
def explanation():
    rng = np.random.default_rng(0)
    raw = rng.integers(53000, 53400, (2, 104, 120)).astype(np.uint16)
    adu = rng.normal(0, 1, (2, 104, 120)).astype(np.float32)
    adu[:, 40:60, 50:70] += 300
    adu[0, 0, 0] = np.nan
    photons = np.where(np.hypot(*np.mgrid[-24:24, -24:24]) < 10, 50.0, 0.0).astype(np.float32)
    damaged, saturated = np.zeros((2, 48, 48), dtype=bool)
    damaged[5, 7] = saturated[40:44, 30:36] = True
    steps = (
        view("descramble", "raw", raw, photons_in=NAN, photons_out=NAN, changed=False),
        view("flag_pixels", "ADU", adu + np.float32(4096), photons_in=NAN),
        view("subtract_dark", "ADU", adu, damaged=np.isnan(adu)),
        view("photons", "photon", photons, damaged=damaged, saturated=saturated),
        view("orient", "photon", photons, damaged=damaged, saturated=saturated, oriented=True),
        view("nothing", "photon", photons, damaged=np.ones((48, 48), dtype=bool)),
    )
    return Explanation(steps, (0.01, 0.1), "cosmic", True, None)


def shade(figure, axes, x, y):
    """Colour of the picture at a place of an axes' data."""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    across, up = axes.transData.transform((x, y))
    return picture[round(picture.shape[0] - up), round(across)]


def panel(figure, name):
    (found,) = [axes for axes in figure.axes if name in axes.get_title(loc="left")]
    return found


def test_each_step_has_its_panel_with_its_statistics(explanation):
    figure = explanation_figure(explanation, "scan 7")
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [
        "1  descramble (nothing to do)", "2  flag_pixels", "3  subtract_dark", "4  photons", "5  orient", "6  nothing",
    ]  # fmt: skip
    said = [text.get_text() for text in panel(figure, "photons").texts]
    assert said == ["48 × 48, photon: 0 to 50, median 0\nphotons 4 → 1.25e6, damaged 1, saturated 24"]
    assert "scan 7" in {text.get_text() for text in figure.texts}
    assert "exposures 0.01 s | 0.1 s: dark corrected, accepted" in figure.texts[1].get_text()


def test_masked_pixels_are_seen_and_orientation_is_the_solvers(explanation):
    figure = explanation_figure(explanation)
    for name, down in (("photons", True), ("orient", False)):
        axes = panel(figure, name)
        np.testing.assert_allclose(shade(figure, axes, 7, 5), DAMAGED, atol=0.02)
        np.testing.assert_allclose(shade(figure, axes, 33, 42), SATURATED, atol=0.02)
        assert axes.yaxis_inverted() == down
        assert shade(figure, axes, 24, 24).mean() > 0.6  # 50 photons
        assert shade(figure, axes, 2, 24).mean() < 0.05  # none: black, not absent


def test_a_single_masked_pixel_of_a_large_frame_is_seen():
    values = np.zeros((960, 960), dtype=np.float32)
    damaged = np.zeros((960, 960), dtype=bool)
    damaged[501, 333] = True
    told = Explanation((view("photons", "photon", values, damaged=damaged),), (1.0,), "cosmic", True, None)
    figure = explanation_figure(told)
    np.testing.assert_allclose(shade(figure, panel(figure, "photons"), 333 / 3, 501 / 3), DAMAGED, atol=0.02)


def test_exposures_stand_side_by_side(explanation):
    axes = panel(explanation_figure(explanation), "subtract_dark")
    assert axes.images[0].get_array().shape == (104, 240)


def test_the_file_appears_whole(explanation, tmp_path):
    save_explanation_png(tmp_path / "steps.png", explanation, title="scan 7")
    assert imread(tmp_path / "steps.png").shape[2] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["steps.png"]
    with pytest.raises(FileNotFoundError):
        save_explanation_png(tmp_path / "absent" / "steps.png", explanation)


def test_preprocessing_draws_nothing():
    code = "import sys, bluesky_ptycho.preprocess; sys.exit(any(m.split('.')[0] == 'matplotlib' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_that_are_sent_empty_are_grey_and_no_damage():
    values = np.ones((1, 40, 30), np.float32)
    empty = np.zeros(values.shape, dtype=bool)
    empty[:, 18:22] = True
    figure = explanation_figure(
        Explanation((view("flag_pixels", "ADU", values, empty=empty),), (0.1,), "cosmic", True, None)
    )
    shown, overlay = figure.axes[0].images
    assert np.ma.getmaskarray(shown.get_array())[18:22].all() or np.isnan(shown.get_array()[18:22]).all()
    assert not np.asarray(overlay.get_array())[..., 3].any()
