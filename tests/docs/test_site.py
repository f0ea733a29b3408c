"""The documentation as a site: it builds without a warning, and its links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from bluesky_ptycho.preprocess.settings import PRESETS
from bluesky_ptycho.recon import IncrementalSolver  # noqa: F401  (fills the table of algorithms)
from bluesky_ptycho.recon.algorithms import __all__ as algorithm_files
from bluesky_ptycho.registry import algorithms
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)[^)]*\)")
PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"_build", "generated"} & set(p.relative_to(DOCS).parts))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_to_files(page):
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "generated/" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page} links to {missing}"


def test_each_algorithm_and_each_preset_has_a_page():
    own = {name for name, function in algorithms._entries.items() if function.__module__.startswith("bluesky_ptycho")}
    assert algorithm_files and own
    assert {p.stem for p in (DOCS / "algorithms").glob("*.md")} == own | {"index"}
    assert {p.stem for p in (DOCS / "presets").glob("*.md")} == set(PRESETS) | {"plain", "index"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site_builds_without_a_warning(tmp_path):
    for needed in ("sphinx", "myst_parser", "numpydoc", "furo"):
        pytest.importorskip(needed, reason="needs the extra docs")
    source = shutil.copytree(
        DOCS, tmp_path / "bluesky_ptycho" / "docs", ignore=shutil.ignore_patterns("_build", "generated")
    )
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(source)]
    done = subprocess.run(
        [*command, str(tmp_path / "site")], cwd=REPOSITORY, capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "generated" / "bluesky_ptycho.callbacks.live_ptycho.LivePtycho.html").read_text()
    assert "Reconstruct every ptychography scan" in page
