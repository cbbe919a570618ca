"""How Sphinx makes a site of these pages: `sphinx-build -W docs site`."""

import re
from importlib.metadata import version as installed
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring

project = "mmearth"
release = installed("mmearth-infer")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
html_theme = "furo"
html_title = f"{project} {release}"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "code"  # docstrings are written with Markdown's backticks
highlight_language = "none"  # of blocks that name no language
myst_heading_anchors = 3  # links lead to headings, as they do on a forge
smartquotes = False  # flags keep their two hyphens


def from_here(_app: Sphinx, _path: Path, _parent: str, content: list[str]) -> None:
    """Let the links of README, which is the first page, start from this folder."""
    content[0] = re.sub(r"\]\((?![a-z]+:|#)", "](../", content[0])


def google(
    _app: Sphinx,
    what: str,
    _name: str,
    _obj: object,
    _options: object,
    lines: list[str],
) -> None:
    """Read sections of docstrings; those of fields are sentences, and have none."""
    if what not in {"attribute", "property"}:
        lines[:] = GoogleDocstring(lines, what=what).lines()


def setup(app: Sphinx) -> None:
    """Add what the settings cannot say."""
    app.connect("include-read", from_here)
    app.connect("autodoc-process-docstring", google)
