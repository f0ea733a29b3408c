"""The page in a real browser: what a person sees, a click, a rectangle, a phone."""

from __future__ import annotations

import itertools
import re
import shutil
from contextlib import closing

import numpy as np
import pytest
from matplotlib.image import imread

from bluesky_ptycho.callbacks import LivePtychoFigure
from bluesky_ptycho.devices import ReconControl
from bluesky_ptycho.figure.live_words import STATE_COLOURS
from tests.live_updates import make_update

pytestmark = pytest.mark.slow

COLOUR_OF_STATE = "getComputedStyle(document.querySelector('#state')).color.match(/\\d+/g).map(Number)"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: python -m pip install '.[screens]'")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def figure():
    with closing(LivePtychoFigure("web", port=0, token="correct-horse-battery")) as figure:
        figure(make_update("snapshot"))
        yield figure


@pytest.fixture
def open_page(browser, figure):
    """Return a function that opens the page in a window of some size; nothing may go wrong in it."""
    troubles = []

    def open_in(width, height, **options):
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
        page.goto(figure.url)
        page.wait_for_selector("body.drawn", timeout=120_000)
        return page

    yield open_in
    assert not troubles


def map_in_window(page, name, image):
    """Return where a map lies on the screen, and its limits in µm."""
    state = page.evaluate("fetch('state').then(answer => answer.json())")
    place = state["maps"][["phase", "amplitude", "stxm", "coverage"].index(name)]
    box = page.locator(image).bounding_box()
    scale = box["width"] / state["size"][0]
    return (box["x"] + scale * place["left"], box["y"] + scale * place["top"], scale * place["width"],
            scale * place["height"], place)  # fmt: skip


def test_the_picture_a_click_and_a_rectangle(open_page, tmp_path):
    page = open_page(1920, 1160)
    assert page.url.endswith("/") and "token" not in page.url
    assert page.title() == "scan 12 <b>gold</b>"  # names are text, never markup
    page.screenshot(path=tmp_path / "page.png")
    shown = imread(tmp_path / "page.png")[..., :3]
    left, top, width, height, place = map_in_window(page, "amplitude", "#whole img")
    inside = shown[round(top) : round(top + height), round(left) : round(left + width)]
    assert np.ptp(inside) > 0.5 and inside.std() > 0.05

    page.mouse.click(left + 0.25 * width, top + 0.75 * height)
    said = page.inner_text("#cursor")
    y, x = (float(value) for value in re.findall(r"(-?\d+\.\d+) µm", said))
    assert y == pytest.approx(place["y_min"] + 0.25 * (place["y_max"] - place["y_min"]), abs=0.01)
    assert x == pytest.approx(place["x_min"] + 0.25 * (place["x_max"] - place["x_min"]), abs=0.01)

    page.mouse.move(left + 0.75 * width, top + 0.8 * height)  # from the lower right to the upper left
    page.mouse.down()
    page.mouse.move(left + 0.5 * width, top + 0.5 * height, steps=3)
    page.mouse.move(left + 0.25 * width, top + 0.2 * height, steps=3)
    page.mouse.up()
    page.wait_for_selector("#line:not(:empty)")
    line = page.inner_text("#line")
    centre, across, high = re.search(r"centre=\[(.*?)\], width=(.*?), height=(.*?),", line).groups()
    middle = [(place[f"{a}_min"] + place[f"{a}_max"]) / 2 for a in "yx"]
    assert [float(v) for v in centre.split(",")] == pytest.approx(middle, abs=0.01)
    assert float(across) == pytest.approx(0.5 * (place["x_max"] - place["x_min"]), abs=0.01)
    assert float(high) == pytest.approx(0.6 * (place["y_max"] - place["y_min"]), abs=0.01)


def test_it_follows(open_page, figure):
    page = open_page(1280, 800)
    before = page.evaluate("document.querySelector('#whole img').src")
    figure(make_update("final", exit_status="success"))
    page.wait_for_selector("#state:text-is('done')", state="attached", timeout=60_000)
    page.wait_for_selector(f"#whole img:not([src='{before}'])", timeout=120_000)
    page.set_viewport_size({"width": 390, "height": 844})  # where the page itself says how the scan stands
    assert "#{:02x}{:02x}{:02x}".format(*page.evaluate(COLOUR_OF_STATE)) == STATE_COLOURS["done"]
    assert not page.is_visible("footer")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.is_visible("text=Point at a map")


def test_a_phone_gets_the_parts_one_below_the_other_and_words_to_read(open_page, tmp_path):
    page = open_page(390, 844, is_mobile=True, has_touch=True, device_scale_factor=2)
    assert not page.is_visible("#whole")
    parts = page.locator(".part")
    assert parts.count() == 9
    boxes = [parts.nth(i).bounding_box() for i in range(9)]
    assert all(box["width"] > 300 and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert all(a["y"] + a["height"] <= b["y"] for a, b in itertools.pairwise(boxes))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "16" in page.inner_text("#facts") and page.inner_text("#title") == "scan 12 <b>gold</b>"
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert not page.is_visible("footer")  # no mouse is spoken of
    box = boxes[0]
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "stage y" in page.inner_text("#cursor")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last, footer = page.locator("#facts dd").last.bounding_box(), page.locator("footer").bounding_box()
    assert last["y"] + last["height"] <= footer["y"]
    assert footer["y"] + footer["height"] == pytest.approx(844, abs=1)


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (390, 844)])
def test_knobs_are_turned_by_a_click_and_say_what_they_refuse(browser, tmp_path, width, height):
    playwright, recon = pytest.importorskip("playwright.sync_api"), ReconControl()
    with (
        closing(LivePtychoFigure("web", port=0, knobs=recon)) as figure,
        closing(browser.new_page(viewport={"width": width, "height": height})) as page,
    ):
        figure(make_update("snapshot"))
        page.goto(figure.url)
        page.wait_for_selector("body.drawn", timeout=120_000)
        page.click("text=Knobs")
        page.fill("#knob-step", "0.8")
        page.click("form:has(#knob-step) button")
        page.wait_for_selector("#answer:text-is('step = 0.8')")
        assert recon.step.get() == 0.8

        page.fill("#knob-beta", "8")
        page.press("#knob-beta", "Enter")
        page.wait_for_selector("#answer.refused:has-text('expected a number, 0 <= value <= 1')")
        assert recon.beta.get() is None and page.input_value("#knob-beta") == "8"  # to be mended

        page.select_option("#knob-position_model", "affine")
        page.click("form:has(#knob-position_model) button")
        page.wait_for_selector("#answer:text-is('position_model = affine')")
        page.click("text=Pause")
        page.wait_for_selector("button:text-is('Pause')[disabled]")  # the page has asked how it stands
        assert (recon.position_model.get(), recon.paused.get()) == ("affine", True)
        page.click("text=Resume")
        page.wait_for_selector("button:text-is('Resume')[disabled]")
        assert recon.paused.get() is False

        recon.modes.put(3)  # at the prompt
        playwright.expect(page.locator("#knob-modes")).to_have_value("3")
        page.screenshot(path=tmp_path / "knobs.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_without_knobs_shows_none(open_page):
    assert not open_page(1280, 800).is_visible("#knobs")


def test_a_page_of_another_site_gets_nothing_but_may_link_here(browser, figure):
    page = browser.new_page()
    address = figure.url.partition("?")[0]
    page.route("http://evil.example/", lambda route: route.fulfill(
        body=f"<a href='{figure.url}'>the scan</a>", content_type="text/html"
    ))  # fmt: skip
    page.goto("http://evil.example/")
    for path in ("state", "picture"):
        assert (
            page.evaluate(f"fetch('{address}{path}', {{credentials: 'include'}}).then(() => 'read', () => 'refused')")
            == "refused"
        )
    page.click("a")
    page.wait_for_selector("body.drawn", timeout=120_000)
    assert page.url == address
