"""The site (`make site`): README, notebooks as they were committed, glossary, ledger, results.

Sphinx with MyST-NB and the book theme, the tools below Jupyter Book. Nothing is executed, and no
page asks another server for anything: equations are set by a MathJax that lies in the site.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

import ngat

ROOT = Path(__file__).resolve().parents[2]
EXPLORER = "figures/attention_explorer.html"
NOTEBOOKS = sorted(p.stem for p in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

project, html_title = "NGAT", "NGAT"
release = version = ngat.__version__
root_doc = "README"
include_patterns = [
    *("README.md", "data/README.md", "data/results/README.md", "peers/README.md"),
    *("notebooks/[0-9][0-9]_*.ipynb", "notebooks/*.md"),
]
extensions = ["myst_nb", "sphinx-mathjax-offline"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
# Notebooks begin with a title and badges, pages of results with long tables.
suppress_warnings = ["myst.header"]

html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "home_page_in_toc": True,
}
html_static_path = ["style"]
html_css_files = ["site.css"]
html_copy_source = True
html_show_sphinx = False

CONTENTS = "\n\n".join(
    "```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(pages) + "\n```"
    for caption, pages in {
        "Notebooks": [f"notebooks/{name}" for name in NOTEBOOKS],
        "Results and data": ["data/results/README", "data/README", "peers/README"],
        "Reference": [f"notebooks/{name}" for name in ("OWN_IMAGES", "GLOSSARY", "LEDGER")],
    }.items()
)
FRAME = f'<iframe class="explorer" src="../{EXPLORER}" title="attention explorer"></iframe>'
BADGE = re.compile(r"\[!\[(Binder|Colab)\]\([^)]*\)\]")


def adapt(app: Sphinx, name: str, source: list[str]) -> None:
    """Add the contents to the README; take from notebooks what is for those who run them."""
    if name == root_doc:
        source[0] += "\n\n" + CONTENTS
    if name.removeprefix("notebooks/") in NOTEBOOKS:
        notebook = json.loads(source[0])
        for number, cell in enumerate(notebook["cells"]):
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                text = BADGE.sub(r"[Open in \1]", text)  # a badge is a picture of another server
                if f"](../{EXPLORER})" in text:
                    text += "\n\n```{raw} html\n" + FRAME + "\n```"
            else:
                text = text.removeprefix("# NBVAL_CHECK_OUTPUT\n")
                if number < 3:  # parameters and set-up
                    cell["metadata"].setdefault("tags", []).append("hide-input")
            cell["source"] = text
        source[0] = json.dumps(notebook)


def finish(app: Sphinx, failed: Exception | None) -> None:
    """The first page also by the name that servers look for, and the attention explorer."""
    if failed is not None:
        return
    out = Path(app.outdir)
    shutil.rmtree(out.parent / "jupyter_execute", ignore_errors=True)  # left by MyST-NB
    away = '<!DOCTYPE html><meta charset="utf-8"><title>NGAT</title>'
    away += '<meta http-equiv="refresh" content="0; url=README.html">\n'
    (out / "index.html").write_text(away, encoding="utf-8")
    if (ROOT / EXPLORER).is_file():
        (out / EXPLORER).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / EXPLORER, out / EXPLORER)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", adapt)
    app.connect("build-finished", finish)
