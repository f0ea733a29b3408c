from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ptycho.figure import LivePicture
from bluesky_ptycho.figure.live_picture import AXES, PARTS, STRIP
from bluesky_ptycho.figure.live_view import duration_text
from bluesky_ptycho.figure.steady import SteadyLimits, SteadyPhase
from tests.conftest import REPOSITORY
from tests.live_views import make_view
from tests.snapshots import make_snapshot

BASELINE = REPOSITORY / "tests" / "baseline" / "live_picture.png"


def drawn(picture, view) -> np.ndarray:
    """Return the picture as grey values 0 to 255, ``(1080, 1920)``."""
    picture.show(view)
    picture.figure.canvas.draw()
    return np.asarray(picture.figure.canvas.buffer_rgba())[..., :3].mean(axis=2)


def shrunk(grey) -> np.ndarray:
    return grey.reshape(270, 4, 480, 4).mean(axis=(1, 3))


def test_the_picture_is_the_one_that_was_approved():
    """Blurred to a quarter of its size, so that a font's hinting does not matter; a panel that is missing does."""
    grey = shrunk(drawn(LivePicture(), make_view()))
    approved = 255 * imread(BASELINE)
    assert np.sqrt(np.mean((grey - approved) ** 2)) < 6  # Matplotlib 3.8 sets its letters otherwise: 4.9
    without = shrunk(drawn(LivePicture(), make_view(newest_clean=None)))
    assert np.sqrt(np.mean((without - approved) ** 2)) > 8


def test_png_is_full_hd():
    picture = LivePicture()
    picture.show(make_view())
    assert imread(io.BytesIO(picture.encoded())).shape[:2] == (1080, 1920)


@pytest.mark.parametrize("panel", ["phase", "amplitude", "stxm", "coverage"])
def test_a_spot_is_drawn_where_the_stage_saw_it_and_the_browser_finds_it(panel):
    spot_y, spot_x = 2.2e-6, 4.75e-6
    snapshot = make_snapshot()
    y, x = snapshot.canvas.coordinates_m()
    inside = (np.abs(y - spot_y) < 80e-9)[:, None] & (np.abs(x - spot_x) < 80e-9)[None, :]
    image = np.where(inside, 0.2 * np.exp(-1.5j), 1.0).astype(np.complex64)
    light = np.where(inside, 0.1, 1.0).astype(np.float32)
    # Positions at the edge leave the middle of the maps free.
    corners = np.array([[1.6e-6, 4.6e-6], [1.6e-6, 5.4e-6], [2.4e-6, 5.4e-6], [2.4e-6, 4.6e-6]])
    shown = make_snapshot(object=image, coverage=light, positions_m=corners, seq_nums=np.arange(4))
    plan = make_view().plan.from_positions(corners, energy_ev=800.0, distance_m=0.1)
    picture = LivePicture()
    grey = drawn(picture, make_view(snapshot=shown, stxm=np.abs(image), plan=plan))
    (place,) = [m for name, m in zip(("phase", "amplitude", "stxm", "coverage"), picture.stage_maps(), strict=True)
                if name == panel]  # fmt: skip

    def shade(at_y: float, at_x: float) -> float:
        across = place["left"] + place["width"] * (at_x * 1e6 - place["x_min"]) / (place["x_max"] - place["x_min"])
        down = place["top"] + place["height"] * (place["y_max"] - at_y * 1e6) / (place["y_max"] - place["y_min"])
        return float(grey[round(down), round(across)])

    assert shade(spot_y, spot_x) < 0.6 * shade(4e-6 - spot_y, spot_x)
    assert shade(spot_y, spot_x) < 0.6 * shade(spot_y, 10e-6 - spot_x)


def test_no_label_leaves_the_picture_or_meets_another_panel():
    """Each panel with its labels lies within the part of the picture that a narrow screen shows of it."""
    picture = LivePicture()
    drawn(picture, make_view())
    renderer = picture.figure.canvas.get_renderer()
    for name, (left, top, width, height) in PARTS.items():
        box = picture.axes[name].get_tightbbox(renderer)
        assert left <= box.x0 and box.x1 <= left + width, name
        assert top <= 1080 - box.y1 and 1080 - box.y0 <= top + height, name
    assert set(PARTS) == set(AXES)


def test_no_value_of_the_strip_is_cut_off():
    reasons = "1234: 1000 corrupt, 200 saturated, 34 position"
    picture = LivePicture()
    drawn(picture, make_view(facts=(("rejected", reasons), ("lag", "12345 points, 123.4 s"), ("used", "7"))))
    top = 1080 - STRIP[1]
    rows = [t for t in picture.figure.texts if t.get_window_extent().x0 > 1620 and t.get_window_extent().y1 < top]
    said = [text for text in rows if text.get_text() not in ("", "rejected", "lag", "used")]
    assert " ".join(text.get_text() for text in said) == f"{reasons} 12345 points, 123.4 s 7"
    assert max(text.get_window_extent().x1 for text in rows) <= 1920


def test_rows_that_are_empty_do_not_darken_the_rest_of_a_raw_frame():
    raw = np.full((1, 80, 80), 50_000)
    raw[0, ::2, ::2] += 300
    raw[0, 38:42] = 0
    picture = LivePicture()
    drawn(picture, make_view(newest_raw=raw))
    assert picture.axes["raw"].images[0].get_clim() == (50_000, 50_300)


def test_what_was_not_lit_is_not_shown():
    light = np.ones(make_snapshot().canvas.shape, np.float32)
    light[: len(light) // 2] = 0.01
    picture = LivePicture()
    drawn(picture, make_view(snapshot=make_snapshot(coverage=light)))
    phase = np.ma.filled(picture.axes["phase"].images[0].get_array(), np.nan)
    assert np.isnan(phase[0]).all() and np.isfinite(phase[-1]).all()


def test_the_mask_is_shown_and_counted():
    picture = LivePicture()
    drawn(picture, make_view())
    legend = picture.axes["clean"].texts[0]
    assert legend.get_text() == "masked: 8 of 1,024 pixels"
    shown = np.ma.filled(np.ma.masked_invalid(picture.axes["clean"].images[0].get_array()), -1)
    assert (shown == -1).sum() == 8


@pytest.mark.parametrize(
    ("snapshot", "said"), [(None, "no frame yet"), (make_snapshot(), "not shown of a scan\nread from a catalog")]
)
def test_why_there_is_no_frame_is_said(snapshot, said):
    picture = LivePicture()
    picture.show(make_view(snapshot=snapshot, newest_point=None, newest_raw=None, newest_clean=None))
    for panel in ("raw", "clean"):
        assert [text.get_text() for text in picture.axes[panel].texts if text.get_visible()][-1] == said
    picture.show(make_view())
    for panel in ("raw", "clean"):
        assert said not in [text.get_text() for text in picture.axes[panel].texts if text.get_visible()]


@pytest.mark.parametrize(("passes", "end"), [(3, 10), (13, 14), (79, 80), (233, 240), (1000, 1000)])
def test_the_axis_of_the_residual_ends_near_the_last_pass(passes, end):
    picture = LivePicture()
    picture.show(make_view(snapshot=make_snapshot(residuals=np.geomspace(1, 0.1, passes))))
    assert picture.axes["residual"].get_xlim() == (0.5, end)


def test_limits_do_not_jump_with_noise_and_follow_a_change():
    rng = np.random.default_rng(0)
    limits = SteadyLimits()
    first = limits.follow(0.0, 1.0)
    for _ in range(50):
        assert limits.follow(*(np.array([0.0, 1.0]) + rng.uniform(-0.1, 0.1, 2))) == first
    assert limits.follow(0.0, 3.0) == (0.0, 2.0)  # half of the way
    for _ in range(10):
        _, high = limits.follow(0.0, 3.0)
    assert high == pytest.approx(3.0, abs=0.4)


def test_the_scale_of_the_phase_grows_at_once_and_shrinks_late():
    scale = SteadyPhase()
    reached = [scale.follow(reach) for reach in (0.1, 0.9, 0.75, 0.6, 0.5, 2.0, 1.5, 4.0, 0.2)]
    quarter, half = math.pi / 4, math.pi / 2
    assert reached == [math.pi / 16, half, half, half, quarter, math.pi, math.pi, math.pi, math.pi / 8]


def test_colours_stay_while_a_scan_grows_and_begin_anew_with_another():
    picture = LivePicture()
    image = make_snapshot().object
    picture.show(make_view())
    before = picture.axes["amplitude"].images[0].get_clim()
    picture.show(make_view(snapshot=make_snapshot(object=1.02 * image)))
    assert picture.axes["amplitude"].images[0].get_clim() == before
    picture.show(make_view(uid="4567", snapshot=make_snapshot(object=3 * image)))
    assert picture.axes["amplitude"].images[0].get_clim()[0] > before[1]


@pytest.mark.parametrize(
    ("resolutions", "text"),
    [([], "not known yet"), ([np.nan], "not resolved"), ([2e-8], "20 nm"), ([np.nan, 2e-8, np.nan], "not resolved")],
)
def test_the_resolution_is_the_newest_as_in_the_strip(resolutions, text):
    reached = np.array(list(enumerate(resolutions, start=1))).reshape(-1, 2)
    picture = LivePicture()
    picture.show(make_view(resolutions=reached))
    assert picture.axes["resolution"].texts[-1].get_text() == text


def test_a_zoom_is_kept():
    picture = LivePicture()
    picture.show(make_view())
    picture.axes["phase"].set_xlim(4.9, 5.1)
    picture.show(make_view(taken=20))
    assert picture.axes["phase"].get_xlim() == (4.9, 5.1)


def test_the_cursor_reads_absolute_stage_coordinates():
    assert LivePicture().axes["phase"].format_coord(5.01, -2.0) == "stage y -2.0000 µm, x 5.0100 µm"


EMPTY = {"snapshot": None, "stxm": None, "newest_point": None, "newest_raw": None, "newest_clean": None}


@pytest.mark.parametrize(
    "changes",
    [
        EMPTY | {"taken": 0, "facts": (), "messages": (), "resolutions": np.zeros((0, 2)), "state": "warming up"},
        {"snapshot": make_snapshot(positions_m=np.array([[2e-6, 5e-6]]), seq_nums=np.zeros(1, int))},
        {"snapshot": make_snapshot(positions_m=np.array([[2e-6, 4.7e-6], [2e-6, 5.3e-6]]), seq_nums=np.arange(2))},
        {"snapshot": make_snapshot(object=np.full(make_snapshot().object.shape, np.nan, np.complex64))},
        {"snapshot": make_snapshot(probe=np.full((2, 32, 32), np.nan, np.complex64), residuals=np.array([np.nan]))},
        {"snapshot": make_snapshot(modes=5), "newest_raw": np.zeros((3, 40, 60), np.uint16)},
        {"newest_clean": np.full((32, 32), np.nan, np.float32), "stxm": np.full((80, 80), np.nan, np.float32)},
        {"title": "scan 1 $x_1$ <b>" * 9, "facts": (("n", "$" * 99),) * 40, "messages": ("${" * 900, "b\nc") * 20},
    ],
    ids=["nothing yet", "one point", "a line", "not finite", "no probe", "modes and exposures", "all masked", "texts"],
)
def test_beginnings_and_failures_are_drawn_too(changes):
    assert np.ptp(drawn(LivePicture(), make_view(**changes))) > 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (187, "3:07 min"), (3720, "1:02 h"), (math.nan, "–"), (math.inf, "–")],
)
def test_durations_are_said_as_a_person_does(seconds, text):
    assert duration_text(seconds) == text


def test_without_a_scan_there_are_no_panels():
    picture = LivePicture()
    assert not any(axes.get_visible() for axes in picture.figure.axes)
    first = drawn(picture, make_view())
    assert np.array_equal(drawn(picture, make_view(uid="another")), first)
    assert all(axes.get_visible() for axes in picture.axes.values())
