from __future__ import annotations

import math
import subprocess
import sys
import threading

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ptycho.figure import display, panels, reconstruction_figure, save_reconstruction_png
from tests.snapshots import make_snapshot


def axes_named(figure, start: str):
    (found,) = [a for a in figure.axes if a.get_title(loc="left").startswith(start)]
    return found


def drawn(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].mean(axis=2)


def test_png_is_full_hd_and_whole(tmp_path):
    snapshot = make_snapshot()
    path = tmp_path / "reconstruction.png"
    save_reconstruction_png(path, snapshot, stxm=snapshot.coverage, truth=snapshot.object, title="scan 7 gold")
    assert imread(path).shape[:2] == (1080, 1920)
    assert [p.name for p in tmp_path.iterdir()] == ["reconstruction.png"]


@pytest.mark.parametrize("panel", ["Object amplitude", "Known amplitude", "STXM"])
def test_a_spot_is_drawn_where_the_stage_saw_it(panel):
    """A dark square in the upper left quarter of the stage must be dark there in the picture."""
    snapshot = make_snapshot()
    y, x = snapshot.canvas.coordinates_m()
    spot_y, spot_x = 2.2e-6, 4.75e-6
    dark = (np.abs(y - spot_y) < 80e-9)[:, None] & (np.abs(x - spot_x) < 80e-9)[None, :]
    image = np.where(dark, 0.2, 1.0).astype(np.complex64)
    empty = np.ones(snapshot.canvas.shape)
    source = {"Object amplitude": "object", "Known amplitude": "truth", "STXM": "stxm"}[panel]
    layers = {"object": empty.astype(np.complex64), "truth": empty, "stxm": empty} | {source: image}
    figure = reconstruction_figure(
        make_snapshot(object=layers["object"]), stxm=np.abs(layers["stxm"]), truth=layers["truth"]
    )
    grey = drawn(figure)
    axes = axes_named(figure, panel)

    def shade(at_y: float, at_x: float) -> float:
        across, up = axes.transData.transform((at_x * 1e6, at_y * 1e6))
        return float(grey[round(grey.shape[0] - up), round(across)])

    assert shade(spot_y, spot_x) < 60
    # The mirrored places are bright.
    assert shade(4e-6 - spot_y, spot_x) > 200
    assert shade(spot_y, 10e-6 - spot_x) > 200
    # y grows upwards, x to the right, in µm of the stage.
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    assert 4.4 < left < right < 5.6
    assert 1.4 < bottom < top < 2.6


def test_phase_ramp_is_removed_and_contrast_kept():
    y, x = np.mgrid[:60, :80]
    step = np.where(x < 60, 0.0, 0.5)
    image = 0.7 * np.exp(1j * (step + 0.03 * y - 0.02 * x + 2))
    flat = display.without_phase_ramp(image, (slice(5, 55), slice(5, 75)))
    phase = np.angle(flat)
    assert np.ptp(phase[:, :55], axis=0).max() < 1e-3
    assert phase[:, 61].mean() - phase[:, 59].mean() == pytest.approx(0.5, abs=0.02)


def test_region_without_sample_becomes_flat_and_zero():
    y, x = np.mgrid[:60, :80]
    grain = (np.hypot(y - 12, x - 15) < 9) | (np.hypot(y - 30, x - 30) < 8)
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.normal(size=grain.shape)
    image = np.exp(1j * (np.where(grain, -1.5 + 0.05 * y, 0.0) + 0.02 * y + 0.01 * x + noise - 2))
    phase = np.angle(display.without_phase_ramp(image, (slice(2, 58), slice(2, 78))))
    corners = [phase[rows, cols].mean() for rows in (slice(5), slice(-5, None)) for cols in (slice(-12, None),)]
    np.testing.assert_allclose(corners, 0, atol=0.06)


def test_phases_that_wrap_get_cyclic_colours():
    snapshot = make_snapshot()
    y, _ = np.mgrid[: snapshot.canvas.shape[0], : snapshot.canvas.shape[1]]
    wrapped = np.exp(4j * np.sin(y / 4)).astype(np.complex64)
    colours = [
        axes_named(reconstruction_figure(make_snapshot(**changes)), "Object phase").images[0].get_cmap().name
        for changes in ({}, {"object": wrapped})
    ]
    assert colours == ["inferno", "twilight"]


@pytest.mark.parametrize("centre", [0.0, math.pi, -2.0])
def test_phase_span_does_not_mind_the_branch_cut(centre):
    rng = np.random.default_rng(0)
    phases = centre + rng.uniform(-0.5, 0.5, (100, 100))
    beginning, reach = display.phase_arc(np.exp(1j * phases))
    assert reach == pytest.approx(1.0, abs=0.25)
    shown = display.phase_from(np.exp(1j * phases), beginning)
    assert np.ptp(shown) == pytest.approx(np.ptp(phases), abs=1e-6)


def test_a_few_thick_spots_stay_on_their_side_of_the_branch_cut():
    thick = np.zeros((200, 200))
    thick[:60] = np.linspace(0, -2.9, 60)[:, None]
    thick[60, :5] = -3.6, -4.2, -4.7, -5.0, -5.3
    image = np.exp(1j * thick + 0.6 * thick)
    beginning, reach = display.phase_arc(image)
    np.testing.assert_allclose(display.phase_from(image, beginning), thick, atol=1e-6)
    assert reach < 1.1 * math.pi


def test_limits_come_from_the_scanned_region_and_ignore_hot_pixels():
    snapshot = make_snapshot()
    image = snapshot.object.copy()
    image[:3] = 1000
    image[snapshot.canvas.shape[0] // 2, snapshot.canvas.shape[1] // 2] = 1000
    axes = axes_named(reconstruction_figure(make_snapshot(object=image)), "Object amplitude")
    low, high = axes.images[0].get_clim()
    assert 0.75 < low < high < 1.25


@pytest.mark.parametrize(
    "changes",
    [
        {"positions_m": np.zeros((0, 2)), "seq_nums": np.zeros(0, int), "frc": None, "residuals": np.zeros(0)},
        {"positions_m": np.array([[2e-6, 5e-6]]), "seq_nums": np.zeros(1, int), "residual": math.nan},
        {"positions_m": np.array([[2e-6, 4.7e-6], [2e-6, 5.3e-6]]), "seq_nums": np.arange(2)},
        {"object": np.full((180, 180), np.nan, np.complex64), "residuals": np.array([math.nan, 0.1])},
        {"probe": np.zeros((1, 32, 32), np.complex64), "coverage": None},
    ],
    ids=["nothing yet", "one frame", "a line", "not finite", "no probe"],
)
def test_beginnings_and_failures_are_drawn_too(changes):
    shape = make_snapshot().canvas.shape
    if "object" in changes:
        changes = changes | {"object": np.full(shape, np.nan, np.complex64)}
    if "coverage" in changes:
        changes = changes | {"coverage": np.zeros(shape, np.float32)}
    figure = reconstruction_figure(make_snapshot(**changes), stxm=np.full(shape, np.nan, np.float32))
    assert np.ptp(drawn(figure)) > 100


def test_resolution_is_said_in_words():
    snapshot = make_snapshot()
    frc = dict(snapshot.frc)

    def text(half_bit_m: float) -> str:
        return panels.resolution_text(make_snapshot(frc=frc | {"half_bit_m": half_bit_m}))

    assert text(48.66e-9) == "48.7 nm half pitch (½ bit)"
    assert text(0.5 / frc["frequency_per_m"][-1]).startswith("≤ ")
    assert text(math.nan) == "not resolved (½ bit)"
    assert panels.resolution_text(make_snapshot(frc=None)) == "–"


def test_facts_are_those_of_the_snapshot():
    facts = dict(panels.facts(make_snapshot()))
    assert facts["frames"] == "25 of 32 × 32 pixels"
    assert facts["passes"] == "12, rpie"
    assert facts["residual"] == "0.0095"
    assert facts["photon energy"] == "800 eV"
    assert facts["object pixel"] == "22 nm × 24.2 nm"


def test_frc_of_an_older_result_has_no_curve_of_its_criterion():
    frc = {k: v for k, v in make_snapshot().frc.items() if k != "half_bit"}
    axes = axes_named(reconstruction_figure(make_snapshot(frc=frc)), "Fourier ring")
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["0.143"]


@pytest.mark.parametrize(
    ("metres", "text"), [(5e-7, "500 nm"), (1.254e-6, "1.25 µm"), (6.5e-9, "6.5 nm"), (2e-3, "2 mm")]
)
def test_length_text(metres, text):
    assert display.length_text(metres) == text


@pytest.mark.parametrize(("most", "bar"), [(1e-6, 1e-6), (9.9e-7, 5e-7), (4.9e-6, 2e-6), (3e-8, 2e-8)])
def test_scale_bars_are_round(most, bar):
    assert display.round_length(most) == pytest.approx(bar)


def test_scale_bar_has_the_length_it_says():
    axes = axes_named(reconstruction_figure(make_snapshot()), "Object phase")
    (bar,) = axes.patches
    (label,) = axes.texts
    number, unit = label.get_text().split()
    assert bar.get_width() == pytest.approx(float(number) * {"nm": 1e-3, "µm": 1}[unit])


def test_probe_is_shown_where_its_power_is():
    intensity = np.zeros((64, 64))
    intensity[40:44, 20:24] = 1
    rows, cols = display.power_box(intensity)
    assert rows.start < 40 and rows.stop > 44
    assert cols.start < 20 and cols.stop > 24
    assert rows.stop - rows.start < 16


def test_drawing_in_a_thread_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    figures = []
    thread = threading.Thread(target=lambda: figures.append(reconstruction_figure(make_snapshot())))
    thread.start()
    thread.join()
    assert len(figures) == 1
    assert dict(mpl.rcParams) == before


def test_pyplot_is_not_needed():
    code = (
        "import sys; from bluesky_ptycho.figure import reconstruction_figure as draw\n"
        "from tests.snapshots import make_snapshot\n"
        "draw(make_snapshot()).canvas.draw(); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280, check=True)
    assert done.stdout.strip() == "False"
