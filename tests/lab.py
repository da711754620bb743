"""JupyterLab with a copy of a notebook, driven in a real browser as a reader would."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import numpy as np
from PIL import Image

from ngat.paper.session import FIGURES, HEADLESS

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
# A Chromium of the machine's own; without one, playwright starts the one that it has installed.
NAMES = ("chromium", "chromium-browser", "google-chrome")
# Seconds for all cells of a notebook, on two cores that are busy otherwise.
PATIENCE = 600
# All cells are kept in the page, also those out of sight; and no news are fetched.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# What the browser has decoded, whatever it is called and however large it is shown.
PIXELS = """async img => {
  await img.decode();
  const canvas = document.createElement('canvas');
  canvas.width = img.naturalWidth; canvas.height = img.naturalHeight;
  canvas.getContext('2d').drawImage(img, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
}"""


def browser_path() -> str | None:
    """The machine's own browser (``NGAT_BROWSER``, or one of :data:`NAMES`), if it has one."""
    named = os.environ.get("NGAT_BROWSER")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def clicking_changes_the_weights(page: Any) -> tuple[int, int]:
    """Click the attention explorer in a quarter of its picture; give the row and column clicked."""
    drawing, where = page.locator("svg.drawing"), page.locator("span.where")
    before, words = weights_shown(page), where.inner_text()
    picture = base64.b64encode(drawing.screenshot())
    box = drawing.bounding_box()
    inside = 3  # screen pixels, so that rounding does not reach the pixel before
    drawing.click(position={"x": box["width"] / 4 + inside, "y": box["height"] / 4 + inside})
    assert where.inner_text() != words
    assert weights_shown(page) != before, "a click left the weights as they were"
    assert base64.b64encode(drawing.screenshot()) != picture, "a click left the picture as it was"
    row, column = re.findall(r"\d+", where.inner_text())[:2]
    return int(row), int(column)


def weights_shown(page: Any) -> dict[tuple[int, int, int], float]:
    """The weights that the attention explorer shows, by level, head and tap."""
    read = "all => all.map(r => ['level', 'head', 'tap', 'alpha'].map(k => Number(r.dataset[k])))"
    found = page.locator("rect[data-alpha]").evaluate_all(read)
    return {(int(m), int(head), int(tap)): alpha for m, head, tap, alpha in found}


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """JupyterLab over copies of the notebooks in ``folder``; gives its address, ``{}`` for a name.

    Copies have no outputs: a picture that appears was drawn by this run.
    """
    work = folder / "notebooks"
    work.mkdir()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, work / path.name)
    for name, setting in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    # Neither settings nor kernels of the person who runs this; and figures stay in the folder.
    own = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    own |= {f"JUPYTER_{what}_DIR": what.lower() for what in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"IPYTHONDIR": "ipython", FIGURES: "figures"}
    env = os.environ | {name: str(folder / place) for name, place in own.items()}
    env.pop(HEADLESS, None)  # somebody is there to move a slider
    options = [
        *(f"--ServerApp.root_dir={work}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *("--ServerApp.ip=127.0.0.1", "--ServerApp.open_browser=False", "--allow-root"),
        f"--IdentityProvider.token={token}",
    ]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            stdout=log,
            stderr=log,
            env=env,
            cwd=work,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, f"{address}/api?token={token}", folder / "server.log")
            # Without `reset` the second one would open with the first one beside it.
            yield f"{address}/lab/tree/{{}}?reset&token={token}"
        finally:
            process.terminate()  # ends its kernels too
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def drop(page: Any, path: Path) -> None:
    """Drop a file of the disk on JupyterLab's list of files, and wait until it is there."""
    box = page.locator(".jp-DirListing-content").bounding_box()
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    held = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    browser = page.context.new_cdp_session(page)  # pages cannot make files of the disk themselves
    for event in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": event, "data": held, **place})
    page.locator(".jp-DirListing-item", has_text=path.name).wait_for()


def replace_line(page: Any, begins: str, line: str) -> None:
    """Type another line over one of a cell, as a reader who sets a parameter."""
    page.locator(".jp-CodeCell .cm-line", has_text=begins).first.click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.insert_text(line)
    page.locator(".jp-CodeCell .cm-line", has_text=line).first.wait_for()


def run_all(page: Any) -> None:
    """Run > Run All Cells, and wait for the last one; an error in a cell is an error here."""
    # Without a kernel, Run would ask for one; the status bar tells when it is there.
    page.get_by_text("| Idle").wait_for(timeout=180_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    prompts = page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt")
    failed = page.locator("[data-mime-type='application/vnd.jupyter.error']")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert failed.count() == 0, failed.first.inner_text()
        said = prompts.all_inner_texts()
        if said and all(text.strip("[]: \n").isdigit() for text in said):
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"after {PATIENCE} s the cells say {prompts.all_inner_texts()}")


def pixels(picture: Any) -> np.ndarray:
    """What the browser shows in an ``img``: ``uint8 [H, W, 4]``."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(picture.evaluate(PIXELS)))))
