"""A page as PDF, printed by whatever Chromium is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..errors import PtychoError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PATIENCE_S = 120.0


def html_to_pdf(page: bytes) -> bytes:
    """Return a page of HTML as PDF.

    Raises
    ------
    PtychoError
        If no browser is installed that prints, or it fails.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise PtychoError("a PDF needs Chromium or Chrome, which is not installed; write a report as .html")
    # A browser from a sandboxed package sees the home directory and not /tmp; its own profile must not be disturbed.
    with tempfile.TemporaryDirectory(prefix="ptycho_report_", dir=Path.home()) as directory:
        source, printed = Path(directory) / "report.html", Path(directory) / "report.pdf"
        source.write_bytes(page)
        command = [browser, "--headless", "--disable-gpu", f"--user-data-dir={directory}/profile"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []  # root's Chromium refuses to start with it
        command += ["--no-pdf-header-footer", f"--print-to-pdf={printed}", source.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired:
            raise PtychoError(f"{browser} has not printed the report in {PATIENCE_S:g} s") from None
        if done.returncode or not printed.is_file():
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise PtychoError(f"{browser} cannot print the report: {last}")
        return printed.read_bytes()
