"""The command ``bluesky-ptycho reconstruct``."""

from __future__ import annotations

import argparse

from ..errors import NotFoundError, SettingsError
from .arguments import LineParser, add_output, file_name, positive, positive_whole, require_file
from .set_option import read_set, with_options
from .settings_file import add_settings, settings_of

# Named here, for help that is there at once: the tables themselves load numba.
ALGORITHMS = ("mpie", "lsqml", "ml", "rpie", "epie", "raar", "dm", "admm")
SCHEDULE = "mpie:20,lsqml"  # the solver's default
NOISES = ("gaussian", "poisson")
BACKENDS = ("auto", "numpy", "cupy")
PROPAGATIONS = ("far", "near")


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    reconstruct = commands.add_parser(
        "reconstruct",
        help="reconstruct a CXI file",
        description="Reconstruct the diffraction patterns of a CXI file with the solver of the live callback.",
    )
    add = reconstruct.add_argument
    add(
        "file",
        type=file_name,
        metavar="FILE.cxi",
        help="patterns, positions and geometry of a measurement, in SI units",
    )
    add(
        "--iterations",
        type=positive_whole,
        metavar="N",
        help="passes over all frames, more than a --schedule makes before its last algorithm (default: those of the "
        "schedule, else 100)",
    )
    _add_method(reconstruct)
    _add_geometry(reconstruct)
    add(
        "--backend",
        choices=BACKENDS,
        default=BACKENDS[0],
        metavar="NAME",
        help="numpy, cupy, or auto: a GPU if there is one (default: %(default)s)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting of the solver, as often as needed: --set fit_background=true --set probe_variations=2",
    )
    add_settings(reconstruct, "solver")
    add("--figure", action="store_true", help="show the picture in a window when done")
    add_output(reconstruct, "ptycho_reconstruction", numbered=True)
    reconstruct.set_defaults(command=run)


def _add_method(parser: LineParser) -> None:
    method = parser.add_mutually_exclusive_group()
    method.add_argument(
        "--algorithm",
        metavar="NAME",
        help=f"one algorithm for all passes: {', '.join(ALGORITHMS)}, or one of a --plugin",
    )
    method.add_argument(
        "--schedule",
        metavar="NAME:N,NAME:N",
        help=f'algorithms one after the other with their passes, as "mpie:30,lsqml:50", and frames of a batch where '
        f'wanted, as "rpie:30,lsqml@100:50" (default: {SCHEDULE})',
    )
    add = parser.add_argument
    add(
        "--modes",
        type=positive_whole,
        metavar="K",
        help="incoherent probe modes (default: as many as the file's probe guess has, else 1)",
    )
    add("--refine-positions", action="store_true", default=None, help="refine the positions with the object")
    add(
        "--noise",
        choices=NOISES,
        metavar="NAME",
        help=f"gaussian noise of the amplitudes, or poisson noise of the photons (default: {NOISES[0]})",
    )


def _add_geometry(parser: LineParser) -> None:
    add = parser.add_argument
    add(
        "--propagation",
        choices=PROPAGATIONS,
        metavar="NAME",
        help="far, or near for patterns that are Fresnel images of the sample (default: the file's attribute "
        '"propagation", else far)',
    )
    add(
        "--focus-to-sample",
        type=positive,
        metavar="M",
        help="distance in m from the beam's focus to the sample, for the near field in a diverging beam (default: the "
        'file\'s attribute "focus_to_sample_m", else a parallel beam)',
    )


def run(options: argparse.Namespace) -> int:
    """Reconstruct the file."""
    from ..io.cxi import propagation_in
    from ..offline import reconstruct_file
    from ..recon import SolverSettings

    require_file(options.file)
    given = {name: getattr(options, name) for name in ("modes", "refine_positions", "noise")}
    given["algorithm"] = options.schedule if options.algorithm is None else options.algorithm
    if options.algorithm is not None and {",", ":", "@"} & set(options.algorithm):
        raise SettingsError(
            f"--algorithm is {options.algorithm!r}; expected one name (--schedule takes names, batches and passes)"
        )
    if given["algorithm"] is not None:
        _check_algorithms("--schedule" if options.algorithm is None else "--algorithm", given["algorithm"])
    changes = with_options(given, read_set(options.set, SolverSettings))
    told = settings_of(options)
    base = SolverSettings() if told is None else told.solver
    settings = base.replace(**changes)
    if options.focus_to_sample is not None and (options.propagation or propagation_in(options.file)) != "near":
        raise SettingsError(f"--focus-to-sample is {options.focus_to_sample:g}; expected only with --propagation near")
    reconstruct_file(
        options.file,
        iterations=options.iterations,
        settings=settings,
        output=options.output,
        backend=options.backend,
        show=options.figure,
        propagation=options.propagation,
        focus_to_sample_m=options.focus_to_sample,
    )
    return 0


def _check_algorithms(option: str, text: str) -> None:
    """Refuse what is no schedule, or names an algorithm that there is not; the option that was typed is told.

    Raises
    ------
    SettingsError
        It says what there is.
    """
    from ..recon.schedule import check_schedule

    try:
        check_schedule(text)
    except (SettingsError, NotFoundError) as error:
        raise SettingsError(f"{option}: {error}") from error
