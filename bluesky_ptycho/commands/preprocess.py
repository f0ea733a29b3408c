"""``bluesky-ptycho preprocess``: its arguments, and which of the sources they mean."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from ..output_file import check_output
from .arguments import (
    PRESETS,
    REPLACED,
    RUN,
    LineParser,
    add_catalog,
    between,
    file_meant,
    file_name,
    positive,
    positive_numbers,
    positive_whole,
    refuse_idle,
    tell_default_catalog,
    zone_plate,
)
from .set_option import read_set, with_options
from .settings_file import add_settings, settings_of

OF_FILES = (
    "energy",
    "distance",
    "positions",
    "position_unit",
    "darks",
    "dataset",
    "layout",
    "pixel",
    "adu_per_ev",
    "exposures",
    "zone_plate",
)
"""Options that tell of a raw file what a run's documents tell of it."""


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command and its arguments."""
    preprocess = commands.add_parser(
        "preprocess",
        help="turn raw frames into a CXI file of clean ones",
        description="Clean the raw frames of a stored run or of an HDF5 file and write them to a CXI file, with darks, "
        "mask, positions and geometry. What a raw file tells where CXI has it need not be told again.",
    )
    add = preprocess.add_argument
    add(
        "source",
        metavar="FILE|UID",
        help=f"raw HDF5 file; or {RUN}",
    )
    add(
        "--output",
        type=file_name,
        default=Path("clean.cxi"),
        metavar="FILE.cxi",
        help=f"the clean frames; {REPLACED} (default: %(default)s)",
    )
    add(
        "--preset",
        choices=PRESETS,
        metavar="NAME",
        help=f"steps to take: {' or '.join(PRESETS)} (default: {PRESETS[0]})",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the preprocessing, as often as needed: --set binning=2 --set optical_centre=478,481",
    )
    add(
        "--explain",
        type=positive_whole,
        metavar="POINT",
        help="draw what each step makes of a scan point, counted from 1, to a PNG beside the output",
    )
    add_settings(preprocess, "preprocess")
    add_catalog(preprocess)
    raw = preprocess.add_argument_group("for a raw HDF5 file, not for a run")
    add = raw.add_argument
    add("--energy", type=between(1, 1e6, "eV"), metavar="EV", help="photon energy in eV (default: the file's)")
    add("--distance", type=between(1e-4, 1e3, "m"), metavar="M", help="sample to detector in m (default: the file's)")
    add(
        "--positions",
        metavar="FILE",
        help="CSV with columns x and y, or HDF5 as FILE::DATASET with columns x, y (default: the file's)",
    )
    add("--position-unit", metavar="UNIT", help="unit of --positions: m, mm, um or nm (default: um in CSV, m in HDF5)")
    add("--darks", metavar="FILE", help="dark frames, as FILE or FILE::DATASET (default: the file's)")
    add("--dataset", metavar="NAME", help="data set of the frames (default: the usual one, or the only one)")
    add(
        "--layout",
        metavar="NAME",
        help="how the camera lays out a frame: fccd-assembled, fccd-wire, fccd-full, fccd-full-wire or plain "
        "(default: the file's, else by shape)",
    )
    add("--pixel", type=positive, metavar="UM", help="detector pixel in µm (default: the file's, or the FCCD's 30)")
    add(
        "--adu-per-ev",
        type=positive,
        metavar="G",
        help="gain of the camera in ADU for each eV (default: the file's, else 0.004)",
    )
    add(
        "--exposures",
        type=positive_numbers,
        metavar="S,S,...",
        help="exposure times of the frames of each scan point in s, in their order (default: the file's, else one)",
    )
    add(
        "--zone-plate",
        type=zone_plate,
        metavar="UM,NM,UM,UM",
        help="diameter in µm, outermost zone in nm, stop and defocus in µm: for a first guess of the probe "
        "(default: the file's)",
    )
    preprocess.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Clean the frames of a run or a file, write them, and say so; return the exit status."""
    from ..preprocess import PreprocessSettings
    from ..raw_scan import RawFileOptions, raw_file, stored_scan
    from ..raw_to_cxi import picture_beside, write_clean_cxi
    from ..scan_plan import Illumination

    output: Path = options.output
    inputs = (options.source, options.positions, options.darks, options.settings)
    check_output(output, (".cxi",), inputs=inputs)
    if options.explain is not None:
        check_output(picture_beside(output, options.explain), inputs=inputs, option="the picture beside --output")
    changes = with_options({"preset": options.preset}, read_set(options.set, PreprocessSettings))
    given = settings_of(options)
    base = PreprocessSettings() if given is None else given.preprocess
    settings = base.replace(**changes)
    file = file_meant(options.source)
    if file is None:
        refuse_idle(options, OF_FILES, f"expected only for a raw HDF5 file: run {options.source} tells it itself")
    else:
        refuse_idle(options, ["catalog"], f"expected only for a run: {file} is a file")
    if options.positions is None:
        refuse_idle(options, ["position_unit"], "expected only beside --positions")
    with ExitStack() as opened:
        if file is not None:
            told = RawFileOptions(
                dataset=options.dataset,
                darks=options.darks,
                positions=options.positions,
                position_units=options.position_unit,
                layout=options.layout,
                energy_ev=options.energy,
                distance_m=options.distance,
                pixel_m=None if options.pixel is None else 1e-6 * options.pixel,
                adu_per_ev=options.adu_per_ev,
                exposures_s=options.exposures,
                illumination=None if options.zone_plate is None else Illumination(*options.zone_plate),
            )
            scan = opened.enter_context(raw_file(file, told))
        else:
            from ..catalog import open_catalog

            catalog = opened.enter_context(open_catalog(options.catalog, create=False))
            scan = opened.enter_context(stored_scan(options.source, catalog, settings))
        written = write_clean_cxi(scan, output, settings, explain=options.explain)
        if file is None:
            tell_default_catalog(options, catalog.name)
    picture = (
        ""
        if options.explain is None
        else f", the steps of point {options.explain} {picture_beside(output, options.explain)}"
    )
    print(f"{written.describe()}; {output} holds them{picture}")
    return 0
