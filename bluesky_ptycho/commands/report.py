"""The command ``bluesky-ptycho report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..output_file import check_output, require_different
from ..terminal import say
from .arguments import REPLACED, RUN, LineParser, add_catalog, file_name, tell_default_catalog


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    command = commands.add_parser(
        "report",
        help="write a page about a reconstruction",
        description="Write one HTML file, or PDF, about a scan and its reconstruction: figures, quality, rejected "
        "frames, settings, provenance. A notebook makes it, which can be kept, edited and run again. It needs the "
        "extra report: python -m pip install 'bluesky-ptycho[report]'.",
    )
    command.add_argument("uid", metavar="UID", help=RUN)
    command.add_argument(
        "--output",
        type=file_name,
        default=Path("report.html"),
        metavar="FILE",
        help=f"the page, .html, or .pdf where Chromium or Chrome is installed; {REPLACED} (default: %(default)s)",
    )
    command.add_argument(
        "--notebook", type=file_name, metavar="FILE.ipynb", help=f"keep the notebook as it was run; {REPLACED}"
    )
    command.add_argument(
        "--template",
        type=file_name,
        metavar="FILE.ipynb",
        help="run this edited notebook instead",
    )
    add_catalog(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write the report; return the exit status."""
    from ..catalog import open_catalog
    from ..report import report
    from ..report.making import require_extra, require_notebook

    require_extra()
    # A page that attach(report=True) makes lies beside the reconstruction it is about.
    check_output(options.output, (".html", ".pdf"), inputs=[options.template], beside_results=True)
    if options.notebook is not None:
        check_output(options.notebook, (".ipynb",), inputs=[options.template], option="--notebook")
        require_different(options.output, options.notebook, "--notebook")
    if options.template is not None:
        require_notebook(options.template)
    with open_catalog(options.catalog, create=False) as catalog:
        path = report(options.uid, catalog, options.output, notebook=options.notebook, template=options.template)
        tell_default_catalog(options, catalog.name)
    say(f"{path} holds the report" + (f", {options.notebook} its notebook" if options.notebook else ""))
    return 0
