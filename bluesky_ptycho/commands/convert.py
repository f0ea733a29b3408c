"""``bluesky-ptycho convert``: its arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..output_file import check_output
from .arguments import REPLACED, RUN, LineParser, add_catalog, file_name, tell_default_catalog
from .set_option import read_set
from .settings_file import add_settings, settings_of

# Named here, for help that is there at once.
FORMATS = ("cxi", "nxs", "ptyd", "tiff")
STAGES = ("raw", "clean", "result")
SUFFIXES = {"tiff": (".tiff", ".tif")}
"""Of the files of a format, where they are not its name alone."""


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command and its arguments."""
    convert = commands.add_parser(
        "convert",
        help="write a stored run to a file that other programs read",
        description="Write a stored run to one file: its raw frames (cxi, nxs), its patterns in photons (cxi, nxs, "
        "ptyd), or its reconstruction (cxi, tiff). The file appears whole or not at all, and replaces another.",
    )
    add = convert.add_argument
    add("uid", metavar="UID", help=RUN)
    add(
        "--to",
        required=True,
        choices=FORMATS,
        help="cxi; nxs: NeXus' NXcxi_ptycho, which readers of CXI take too; ptyd: PtyPy; tiff: phase and amplitude",
    )
    add(
        "--stage",
        choices=STAGES,
        help="raw: frames as the camera gave them; clean: patterns; result: object and probe of the reconstruction, "
        "the newest if UID is a scan's (default: clean, for tiff result)",
    )
    add(
        "--output",
        type=file_name,
        metavar="FILE",
        help=f"file to write; {REPLACED} (default: STAGE.FORMAT, as clean.cxi)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the preprocessing that makes patterns of frames, as often as needed: --set binning=2",
    )
    add_settings(convert, "preprocess")
    add_catalog(convert)
    convert.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write the file and say what is in it; return the exit status."""
    from ..catalog import open_catalog
    from ..converting import check, convert
    from ..errors import SettingsError
    from ..preprocess import PreprocessSettings

    stage = check(options.to, options.stage)
    output = options.output or Path(f"{stage}.{options.to}")
    check_output(output, SUFFIXES.get(options.to, (f".{options.to}",)), inputs=[options.settings])
    if (options.set or options.settings) and stage != "clean":
        raise SettingsError(f"settings are given for stage {stage!r}; expected 'clean', which alone is preprocessed")
    given = settings_of(options)
    base = PreprocessSettings() if given is None else given.preprocess
    settings = base.replace(**read_set(options.set, PreprocessSettings))
    with open_catalog(options.catalog, create=False) as catalog:
        written = convert(options.uid, catalog, options.to, output, stage=stage, settings=settings)
        tell_default_catalog(options, catalog.name)
    print(f"{written}; {output} holds them")
    return 0
