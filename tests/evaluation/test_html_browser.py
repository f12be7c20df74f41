"""The report in a browser: headless Chromium opens it, plays it and measures it."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.html_files import FRAMES, write_clips, write_run
from unimo.evaluation.html.page import write_evaluation_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NUMBER = re.compile(r"[−-]?[\d,]+(\.\d+)?")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of capture, two side by side, one of generate."""
    place = tmp_path_factory.mktemp("report")
    clips = write_clips(place / "clips")
    write_run(place / "old.json", clips, name="a bundle with a long name")
    write_run(place / "new.json", clips, shift=-10)
    write_run(place / "made.json", clips, "generate")
    wanted = {"one": ["old"], "two": ["old", "new"], "made": ["made"]}
    return {
        name: write_evaluation_report([place / f"{run}.json" for run in runs], place / f"{name}.html", worst=2)
        for name, runs in wanted.items()
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as starter:
        own = Path(starter.chromium.executable_path)
        found = own if own.is_file() else next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        if found is None:
            # the page needs no browser to be made; test_html_page.py holds its content without one
            pytest.skip("no Chromium is on this machine to open the page in (apt install chromium)")
        # Chromium's sandbox refuses to run as root
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = starter.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Returns visit(name, width, scheme, motion): an open page; the test fails if it logs or asks for anything."""
    contexts, told = [], []

    def open_page(name: str, width: int = 1180, scheme: str = "light", motion: str = "reduce") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion=motion
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        address = pages[name].as_uri()
        page.on("request", lambda request: request.url.startswith("data:") or told.append(request.url))
        page.goto(address)
        assert told.pop(0) == address
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []


@pytest.mark.parametrize("name", ["one", "two", "made"])
def test_every_picture_is_decoded_and_every_number_is_there(name: str, visit: Callable[..., Any]) -> None:
    page = visit(name)
    sizes = page.evaluate(
        "Promise.all([...document.images].map(async i => { await i.decode(); return [i.naturalWidth, i.width]; }))"
    )
    assert len(sizes) >= 4 and all(natural > 0 and shown > 0 for natural, shown in sizes)
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("svg:not([aria-label])").count() == 0 and page.locator("svg").count() >= 4
    values = page.locator("table[aria-label^='Results'] tbody tr td:nth-of-type(1)").all_inner_texts()
    assert len(values) >= 2 and all(NUMBER.fullmatch(value) for value in values)
    printed = page.locator(".paper td").all_inner_texts()
    assert len(printed) > 20 and all(re.fullmatch(r"–|[\d.]+[%M]?", value) for value in printed)
    text = page.inner_text("body")
    assert not re.search(r"\b(nan|none of|undefined|null|inf)\b", text, re.IGNORECASE)


@pytest.mark.parametrize("name", ["one", "two", "made"])
@pytest.mark.parametrize("width", [390, 1180])
def test_nothing_sticks_out_sideways(name: str, width: int, visit: Callable[..., Any]) -> None:
    page = visit(name, width)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    outside = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, p, figure, svg, .film, .controls, .box, nav, output, dl')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0).length"
    )
    assert outside == 0
    cut = page.evaluate("[...document.querySelectorAll('svg')].filter(s => [...s.querySelectorAll('text')].some(t => {"
                        "const a = t.getBoundingClientRect(), b = s.getBoundingClientRect();"
                        "return a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1; }))"
                        ".map(s => s.getAttribute('aria-label'))")  # fmt: skip
    assert cut == []


def shown_frame(figure: Any) -> int:
    """Which frame of its sheet a player shows, told from the pixels on the screen."""
    source = figure.locator("img").get_attribute("src")
    sheet = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
    columns, rows = (int(figure.get_attribute(f"data-{side}")) for side in ("columns", "rows"))
    screen = Image.open(io.BytesIO(figure.locator(".film").screenshot())).convert("RGB")
    width, height = sheet.width // columns, sheet.height // rows
    # the outermost pixels are rounded corners and neighbours
    inner = (8, 8, screen.width - 8, screen.height - 8)
    seen = np.asarray(screen.crop(inner), np.int16)
    differences = []
    for frame in range(FRAMES):
        left, top = frame % columns * width, frame // columns * height
        tile = sheet.crop((left, top, left + width, top + height)).resize(screen.size, Image.Resampling.BILINEAR)
        differences.append(np.abs(np.asarray(tile.crop(inner), np.int16) - seen).mean())
    assert min(differences) < 6
    return int(np.argmin(differences))


def test_the_slider_shows_the_frame_it_stands_at(visit: Callable[..., Any]) -> None:
    page = visit("one")
    figure = page.locator(".player").first
    slider = figure.locator("input")
    assert shown_frame(figure) == 0 and slider.get_attribute("aria-valuetext") == "frame 1 of 9, 0.00 s"
    slider.focus()
    for wanted in (1, 2):
        page.keyboard.press("ArrowRight")
        assert slider.input_value() == str(wanted) and shown_frame(figure) == wanted
    page.keyboard.press("End")
    assert shown_frame(figure) == FRAMES - 1 and figure.locator("output").inner_text() == "0.53 s"
    assert slider.get_attribute("aria-valuetext") == "frame 9 of 9, 0.53 s"


def until(page: Any, condition: str) -> None:
    """Waits for a condition; the page's policy forbids the browser's own way of waiting for one."""
    end = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(30)


def test_the_button_plays_and_stops_from_the_keyboard(visit: Callable[..., Any]) -> None:
    page = visit("one", motion="reduce")
    figure = page.locator(".player").first
    figure.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    assert figure.locator("input").input_value() == "0"  # no motion that nobody asked for
    button = figure.locator("button")
    button.focus()
    page.keyboard.press("Enter")
    assert button.inner_text() == "Pause" and button.get_attribute("aria-label").startswith("Pause 0000")
    until(page, "document.querySelector('.player input').value >= 3")
    page.keyboard.press("Enter")
    stopped = figure.locator("input").input_value()
    assert button.inner_text() == "Play" and shown_frame(figure) == int(stopped)
    page.wait_for_timeout(300)
    assert figure.locator("input").input_value() == stopped


def test_players_start_by_themselves_only_where_motion_is_welcome_and_seen(visit: Callable[..., Any]) -> None:
    page = visit("one", motion="no-preference")
    button = page.locator(".player button").first
    none_plays = "[...document.querySelectorAll('.player button')].every(button => button.textContent == 'Play')"
    assert page.evaluate(none_plays)  # out of sight
    button.scroll_into_view_if_needed()
    until(page, "document.querySelector('.player button').textContent == 'Pause'")
    button.click()
    page.evaluate("scrollTo(0, 0)")
    until(page, none_plays)
    button.scroll_into_view_if_needed()
    until(page, "document.querySelectorAll('.player button')[1].textContent == 'Pause'")
    assert button.inner_text() == "Play"  # who stopped it wants it stopped


def test_tab_reaches_everything_that_moves_or_scrolls(visit: Callable[..., Any]) -> None:
    page = visit("one", width=390)
    wanted = (
        "[...document.querySelectorAll('nav a, .box, summary, .player button, .player input')]"
        ".filter(element => element.checkVisibility())"
    )
    count, reached = page.evaluate(f"{wanted}.length"), set()
    for _ in range(count):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(f"{wanted}.indexOf(document.activeElement)"))
    assert reached == set(range(count)) and count > 15


def test_light_and_dark(visit: Callable[..., Any]) -> None:
    def contrast(page: Any, scheme: str, selector: str) -> float:
        colours = page.evaluate(
            """selector => {
              const element = document.querySelector(selector), own = getComputedStyle(element);
              const back = own.backgroundColor == 'rgba(0, 0, 0, 0)' ? getComputedStyle(document.body) : own;
              return [own.color, back.backgroundColor];
            }""",
            selector,
        )
        lights = []
        for colour in colours:
            parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
            linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
            lights.append(float(linear @ [0.2126, 0.7152, 0.0722]))
        assert (lights[1] > 0.5) == (scheme == "light")
        return (max(lights) + 0.05) / (min(lights) + 0.05)

    for scheme in ("light", "dark"):
        page = visit("two", scheme=scheme)
        for selector in ("body", "p", ".badge", ".better", "nav a", "button"):
            assert contrast(page, scheme, selector) >= 4.5, (scheme, selector)
