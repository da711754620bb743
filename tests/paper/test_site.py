"""`make site` in a real browser: opened from the disk, searched, and the explorer clicked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lab
import nbformat
import pytest

from ngat.paper.figures import explorer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    pytest.importorskip("myst_nb", reason="MyST-NB is not installed; run: make test-browser")
    out = tmp_path_factory.mktemp("site") / "html"
    options = ["-b", "html", "-q", "-W", "--keep-going", "-c", ".ci/site"]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "-d", out.with_name("doctrees"), ".", out],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Any]:
    """A page that notes what is asked of other machines, in ``page.abroad``."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; run: make test-browser"
    )
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=lab.browser_path())
        opened = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.abroad = []
        own = ("file:", "data:")
        opened.on("request", lambda r: r.url.startswith(own) or opened.abroad.append(r.url))
        yield opened
        browser.close()


def test_site_opens_from_the_disk_with_every_notebook(site: Path, page: Any) -> None:
    page.goto((site / "index.html").as_uri())
    page.wait_for_url("**/README.html")
    links = page.locator("nav a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    for notebook in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        assert f"notebooks/{notebook.stem}.html" in links
        text = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        shown = len(re.findall(r"<img [^>]*src=\"\.\./_images/", text))
        cells = nbformat.read(notebook, 4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        drawn = sum("image/png" in output.get("data", {}) for output in outputs)
        linked = sum(cell.source.count("](../figures/") for cell in cells if "![" in cell.source)
        assert shown == drawn + linked, notebook.name
    assert not page.abroad


def test_equations_are_set_without_a_network(site: Path, page: Any) -> None:
    page.goto((site / "notebooks" / "03_attention_and_network.html").as_uri())
    page.locator("mjx-container").first.wait_for(state="attached")
    assert page.locator("mjx-container").count() > 10
    assert page.locator("mjx-merror").count() == 0
    assert not page.abroad


def test_search_finds_a_page(site: Path, page: Any) -> None:
    page.goto((site / "search.html").as_uri() + "?q=plasticity")
    found = page.locator("#search-results li a")
    found.first.wait_for()
    assert any("02_plasticity" in str(a.get_attribute("href")) for a in found.all())


def test_explorer_shows_the_stored_weights_of_the_pixel_clicked(site: Path, page: Any) -> None:
    text = (ROOT / "figures" / "attention_explorer.html").read_text(encoding="utf-8")
    content = re.search(r'getElementById\("explorer"\), (\{.*\})\);', text)
    assert content
    first, second = json.loads(content[1])["pictures"]
    page.goto((site / "notebooks" / "14_attention_explorer.html").as_uri())
    page.locator("iframe.explorer").scroll_into_view_if_needed()
    page.frame_locator("iframe.explorer").locator("svg.drawing").wait_for()

    page.goto((site / "figures" / "attention_explorer.html").as_uri())
    for number, picture in enumerate((first, second)):
        page.locator("select.picture").select_option(str(number))
        row, column = lab.clicking_changes_the_weights(page)
        assert (row, column) == (picture["height"] // 4, picture["width"] // 4)
        shown = lab.weights_shown(page)
        for m, level in enumerate(picture["levels"]):
            alpha = explorer.weights(level)[:, :, row >> m, column >> m]
            for (at, head, tap), value in shown.items():
                assert at != m or value == pytest.approx(alpha[head, tap], abs=1e-12)
        heads, taps = explorer.weights(picture["levels"][0]).shape[:2]
        inner = len(picture["levels"]) - 2
        assert len(shown) == heads * (inner * taps + (taps - 4) + (taps - 1))
    assert not page.abroad
