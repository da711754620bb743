"""Notebooks 1, 13 and 14 in JupyterLab in a real browser: sliders, clicks, and a dropped picture.

`make test-browser` installs what this needs and runs it. ``NGAT_SCREENSHOTS`` names a folder for
pictures of the page.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lab
import numpy as np
import pytest
from PIL import Image

import ngat
from ngat.data import load

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def open_notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """A function that opens a notebook by its number and runs all its cells, after ``before``."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; run: make test-browser"
    )
    found = {path.name[:2]: path.name for path in lab.NOTEBOOKS.glob("*.ipynb")}
    committed = {path: path.read_bytes() for path in lab.NOTEBOOKS.glob("*.ipynb")}
    with lab.server(tmp_path_factory.mktemp("lab")) as address, api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=lab.browser_path())

        def opened(number: str, before: Callable[[Any], None] = lambda page: None) -> Any:
            for earlier in browser.contexts:
                earlier.close()
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.goto(address.format(found[number]))
            page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=180_000)
            before(page)
            lab.run_all(page)
            return page

        yield opened
        browser.close()
    now = {path: path.read_bytes() for path in committed}
    assert now == committed, "the real notebooks were changed"


class Workbench:
    """Sliders and the picture that follows them, in one output of a page."""

    def __init__(self, page: Any, name: str) -> None:
        self.page, self.name = page, name
        self.area = page.locator(".jp-OutputArea-output:has(.widget-hslider)")
        self.area.scroll_into_view_if_needed()
        self.picture = self.area.locator("img.widget-image")
        self.picture.wait_for()

    def readout(self, slider: str) -> float:
        """The number beside a slider."""
        return float(self._of(slider).locator(".widget-readout").inner_text())

    def press(self, slider: str, key: str, times: int) -> None:
        """Press an arrow key on a slider's handle."""
        handle = self._of(slider).locator(".noUi-handle")
        handle.focus()
        for _ in range(times):
            handle.press(key)

    def settled(self) -> np.ndarray:
        """The picture once the kernel has been idle, and it unchanged, for two seconds."""
        idle = self.page.get_by_text("| Idle")
        seen, since = lab.pixels(self.picture), time.monotonic()
        end = since + 120
        while time.monotonic() < since + 2:
            assert time.monotonic() < end, "the picture does not come to rest"
            self.page.wait_for_timeout(200)
            now = lab.pixels(self.picture)
            if not idle.count() or not np.array_equal(now, seen):
                seen, since = now, time.monotonic()
        return seen

    def photograph(self, what: str) -> None:
        """A screenshot for people to look at, where they asked for it."""
        if folder := os.environ.get("NGAT_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{self.name}-{what}.png")

    def _of(self, slider: str) -> Any:
        return self.area.locator(".widget-hslider").filter(
            has=self.page.get_by_text(slider, exact=True)
        )


def moves_there_and_back(
    bench: Workbench, slider: str, step: float, times: int, at_most: int = 1
) -> None:
    """Move a slider ``times`` steps, again up to ``at_most`` times until the picture has changed.

    A negative step moves it to the left. Moved back, it gives the first picture again.
    """
    there, back = ("ArrowRight", "ArrowLeft") if step > 0 else ("ArrowLeft", "ArrowRight")
    first, start = bench.settled(), bench.readout(slider)
    assert first[..., :3].std() > 10, "the picture is blank"
    bench.photograph("start")
    for moves in range(times, times * at_most + 1, times):
        bench.press(slider, there, times)
        moved = bench.settled()
        assert bench.readout(slider) == pytest.approx(start + moves * step, abs=0.001)
        if not np.array_equal(moved, first):
            break
    bench.photograph(f"{slider}-moved")
    assert not np.array_equal(moved, first), f"moving {slider} left the picture as it was"
    bench.press(slider, back, moves)
    again = bench.settled()
    assert bench.readout(slider) == start
    assert np.array_equal(again, first), f"moving {slider} back gave another picture than the first"


def test_a_moved_node_sees_something_else(open_notebook: Callable[..., Any]) -> None:
    page = open_notebook("01")
    # The notebook's other pictures are there too: figures 1 and 3 and the taps.
    assert page.locator(".jp-RenderedImage img").count() >= 4
    bench = Workbench(page, "01")
    # In the middle of 8 × 8 nodes over 128 × 128 pixels, above its own 16 × 16 pixels.
    home = {"x": 72 / 128, "y": 72 / 128, "z": 16 / 2**0.5 / 128}
    for slider, start in home.items():
        assert bench.readout(slider) == pytest.approx(start, abs=0.001)
        step = (1 / 2**0.5 if slider == "z" else 1 / 2) / 128
        moves_there_and_back(bench, slider, step, 5)


def test_a_click_shows_the_weights_of_another_pixel(open_notebook: Callable[..., Any]) -> None:
    page = open_notebook("14")
    drawing = page.locator("svg.drawing")
    drawing.wait_for()
    drawing.scroll_into_view_if_needed()
    lab.clicking_changes_the_weights(page)


def test_nuclei_follow_the_thresholds(open_notebook: Callable[..., Any]) -> None:
    page = open_notebook("13")
    assert page.locator(".jp-RenderedImage img").count() >= 3
    bench = Workbench(page, "13")
    moves_there_and_back(bench, "nucleus", 0.05, 4)
    # Where every nucleus has one clear maximum, few values of the prominence change anything.
    moves_there_and_back(bench, "prominence", -0.01, 4, at_most=3)


def test_a_picture_dropped_beside_the_notebook_is_segmented(
    open_notebook: Callable[..., Any], tmp_path: Path
) -> None:
    image = load("synthetic", "val", limit=1)[0].image[:96, :120]
    path = tmp_path / "dropped.png"
    Image.fromarray(image).save(path)

    def drop(page: Any) -> None:
        lab.drop(page, path)
        lab.replace_line(page, 'image = ""', 'image = "dropped.png"')

    page = open_notebook("13", drop)
    said = page.locator(".jp-OutputArea-output").get_by_text("dropped.png: ")
    assert f": {len(ngat.segment(path))} nuclei in 96 × 120 pixels" in said.first.inner_text()
