"""How Sphinx builds the documentation: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the package need not be installed

from bluesky_ptycho import __version__

project = "bluesky_ptycho"
author = "the bluesky_ptycho contributors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"bluesky_ptycho {release}"
nitpicky = False

myst_enable_extensions = ["attrs_block"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository, which are no pages

autosummary_generate = True
autodoc_typehints = "none"
autodoc_mock_imports = [name for name in ("cupy", "papermill", "nbconvert") if importlib.util.find_spec(name) is None]
numpydoc_show_class_members = False
