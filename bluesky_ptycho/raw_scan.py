"""A scan's raw frames with all that preprocessing needs, from a catalog or from a file of its own."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .callbacks.dark_choice import DarkChoice, choose_darks
from .callbacks.dark_store import Darks, DarkStore
from .callbacks.document_keys import Point, read_plan
from .callbacks.frame_reader import FrameReader, as_reason
from .callbacks.intake import Intake
from .catalog import Catalog
from .errors import MetadataError, NotFoundError, refused
from .given import check_positive
from .io import hdf5
from .io.clean_cxi import is_clean
from .io.raw_cxi import read_raw_facts
from .io.raw_file import RawFileFacts, open_frames, read_facts, read_positions
from .io.zone_plate import read_zone_plate
from .preprocess import DarkAccumulator, PreprocessSettings
from .preprocess.layouts import layout_of
from .replay import stored_documents
from .scan_plan import DetectorInfo, Illumination, ScanPlan
from .spelling import spelled

if TYPE_CHECKING:
    import h5py

FCCD_PIXEL_M = 30e-6
FCCD_ADU_PER_EV = 0.004
FCCD_LAYOUTS = {(1040, 1152): "fccd-assembled", (1940, 1152): "fccd-full"}
"""What frames of these shapes are unless told; frames in wire order have the same shapes."""
DARKS_AT_ONCE = 16

Read = Callable[[Sequence[Point]], tuple[NDArray[Any], dict[int, str]]]


@dataclass(frozen=True)
class RawScan:
    """Raw frames and their circumstances.

    Parameters
    ----------
    plan : ScanPlan
    title : str
        Name of the sample.
    uid : str
        Of the run; empty for a file.
    points : tuple of Point
        Scan points whose frames are stored, in order.
    darks : DarkChoice
    read : callable
        ``read(points)`` gives the frames ``(n, K, H, W)`` of those that can be read, in order, and place in `points` →
        reason for the others.
    """

    plan: ScanPlan
    title: str
    uid: str
    points: tuple[Point, ...]
    darks: DarkChoice
    read: Read


@contextmanager
def stored_scan(uid: str, catalog: Catalog, settings: PreprocessSettings) -> Iterator[RawScan]:
    """Give a scan of a catalog, with the darks that the live callback would choose.

    Parameters
    ----------
    uid : str
        As for ``catalog[uid]``: of the scan, or of one of its reconstructions.
    catalog : Catalog
    settings : PreprocessSettings

    Raises
    ------
    NotFoundError
        If there is no such run, or it is none of ours.
    SettingsError
        If `settings` are none of the preprocessing.
    MetadataError
        If its documents cannot be used.
    """
    if not isinstance(settings, PreprocessSettings):
        raise refused("settings", settings, "PreprocessSettings (of LiveSettings, their .preprocess)")
    intake = read_intake(uid, catalog)
    points = tuple(intake.take_points(sys.maxsize))
    if not points:
        raise NotFoundError(f"run {intake.start['uid']} has no frame")
    plan = intake.plan
    store = DarkStore(catalog.find_darks, find_nearest=catalog.nearest_darks)
    darks = _darks_of_run(intake, catalog, store, settings.gain)
    with FrameReader(intake.source(dark=False), patience_s=0.0) as reader:

        def read(points: Sequence[Point]) -> tuple[NDArray[Any], dict[int, str]]:
            frames, problems = reader.read_good(np.array([p.row for p in points], dtype=np.intp), plan.frames_per_point)
            return frames, {i: as_reason(problem) for i, problem in problems.items()}

        yield RawScan(plan, str(intake.start.get("sample_name", "")), intake.start["uid"], points, darks, read)


def read_intake(uid: str, catalog: Catalog) -> Intake:
    """Return what the documents of a stored run tell of its frames; raises as :func:`stored_scan` does."""
    intake: Intake | None = None
    run = catalog[uid]
    raw_uid = run.metadata["start"].get("raw_uid")  # of a reconstruction: its scan is meant
    for name, doc in stored_documents(run if raw_uid is None else catalog[raw_uid]):
        if name == "start":
            plan = read_plan(doc)
            if plan is None:
                raise NotFoundError(f"run {doc['uid']} carries no ptychography scan")
            intake = Intake(doc, plan, frame_roots=catalog.readable_roots)
        elif intake is not None:
            intake(name, doc)
    if intake is None:
        raise NotFoundError(f"run {uid!r} has no start document")
    if intake.problem is not None:
        raise intake.problem
    return intake


def _darks_of_run(intake: Intake, catalog: Catalog, store: DarkStore, gain: int) -> DarkChoice:
    """Choose darks; a run whose own cannot be read goes on as one without any, and that is said."""
    own: Darks | None = None
    said: tuple[str, ...] = ()
    try:
        own = catalog.find_darks(intake.start["uid"])
    except MetadataError as error:
        said = (f"the run's own darks cannot be read: {error}",)
    needed = layout_of(intake.plan).fccd
    choice = choose_darks(intake.start, intake.plan, own, store, gain, needed=needed)
    return dataclasses.replace(choice, objections=(*said, *choice.objections))


@dataclass(frozen=True)
class RawFileOptions:
    """What a person tells of a raw file; None where the file itself, or the usual, is to be believed.

    Parameters
    ----------
    dataset : str or None
        Data set of the frames.
    darks : str or None
        Dark frames, ``FILE`` or ``FILE::DATASET``.
    positions : str or None
        As :func:`~bluesky_ptycho.io.raw_file.read_positions` takes it.
    position_units : str or None
    layout : str or None
        Name of the frames' layout; the file's, else by their shape.
    energy_ev, distance_m, pixel_m : float or None
    adu_per_ev : float or None
        The file's, else :data:`FCCD_ADU_PER_EV`.
    exposures_s : tuple of float or None
        Exposure times of the frames of a scan point in s; relative ones serve. The file's, else one frame.
    illumination : Illumination or None
        Zone plate, from which a first guess of the probe is made.
    """

    dataset: str | None = None
    darks: str | None = None
    positions: str | None = None
    position_units: str | None = None
    layout: str | None = None
    energy_ev: float | None = None
    distance_m: float | None = None
    pixel_m: float | None = None
    adu_per_ev: float | None = None
    exposures_s: tuple[float, ...] | None = None
    illumination: Illumination | None = None


@contextmanager
def raw_file(path: Path, options: RawFileOptions) -> Iterator[RawScan]:
    """Give the scan that a raw HDF5 file holds.

    Raises
    ------
    SettingsError
        If a number of the options is not positive.
    NotFoundError, MetadataError
        If a file cannot be used; one line names all that is lacking.
    """
    told = {name: getattr(options, name) for name in ("energy_ev", "distance_m", "pixel_m", "adu_per_ev")}
    # A 0 would count as not told, and the file's own or the usual number be taken.
    check_positive(**{name: value for name, value in told.items() if value is not None})
    facts, gain = read_facts(path, options.dataset), options.adu_per_ev
    options = _with_what_the_file_tells(path, options)
    plan = _plan_of(path, facts, options)
    if gain is not None and not layout_of(plan).fccd:
        name = spelled("adu_per_ev")
        raise MetadataError(f"{name} is {gain:g}; expected none, as frames of this layout are in photons already")
    assert plan.positions_m is not None
    points = tuple(
        Point(i + 1, i * plan.frames_per_point, (float(y), float(x)), 0.0) for i, (y, x) in enumerate(plan.positions_m)
    )
    darks = _darks_of(path, facts, options, plan)
    with open_frames(path, facts.dataset) as frames:
        yield RawScan(plan, path.stem, "", points, darks, _reading(frames, plan.frames_per_point))


def _with_what_the_file_tells(path: Path, options: RawFileOptions) -> RawFileOptions:
    """Fill in, from a file that ``convert --stage raw`` wrote, what the person has not told."""
    told = {} if options.dataset is not None else read_raw_facts(path) or {}
    with hdf5.open_for_reading(path) as file:
        light = options.illumination or read_zone_plate(file)
    return dataclasses.replace(
        options,
        layout=options.layout or told.get("layout"),
        adu_per_ev=options.adu_per_ev or told.get("adu_per_ev", FCCD_ADU_PER_EV),
        exposures_s=options.exposures_s or told.get("exposures_s", (1.0,)),
        illumination=light,
    )


def _plan_of(path: Path, facts: RawFileFacts, options: RawFileOptions) -> ScanPlan:
    layout = options.layout or FCCD_LAYOUTS.get(facts.frame_shape, "plain")
    positions = facts.positions_m
    if options.positions is not None:
        positions = read_positions(options.positions, options.position_units)
    energy, distance = options.energy_ev or facts.energy_ev, options.distance_m or facts.distance_m
    pixel = (options.pixel_m, options.pixel_m) if options.pixel_m else facts.pixel_m
    if pixel is None and layout != "plain":
        pixel = (FCCD_PIXEL_M, FCCD_PIXEL_M)
    wanted = {
        spelled("energy_ev", "--energy"): energy,
        spelled("distance_m", "--distance"): distance,
        spelled("positions"): positions,
        spelled("pixel_m", "--pixel"): pixel,
    }
    lacking = [name for name, value in wanted.items() if value is None]
    if lacking:
        raise MetadataError(f"{path} does not tell all that is needed; expected {', '.join(lacking)} beside it")
    assert energy is not None and distance is not None and positions is not None and pixel is not None
    assert options.adu_per_ev is not None and options.exposures_s is not None
    k = len(options.exposures_s)
    if facts.n_frames != len(positions) * k:
        raise MetadataError(
            f"{path} holds {facts.n_frames} frames and there are {len(positions)} positions; "
            f"expected {k} frame{'s' if k > 1 else ''} for each position "
            f"({spelled('exposures_s', '--exposures')} tells how many)"
        )
    detector = DetectorInfo("file", "frames", "index", facts.frame_shape, pixel, layout, options.adu_per_ev)
    return ScanPlan.from_positions(
        positions,
        energy_ev=energy,
        distance_m=distance,
        detector=detector,
        exposures_s=options.exposures_s,
        illumination=options.illumination,
    )


def _darks_of(path: Path, facts: RawFileFacts, options: RawFileOptions, plan: ScanPlan) -> DarkChoice:
    """Make the models of the dark frames, which come in the order of the exposures, as the others do."""
    if options.darks is not None:
        name, _, dataset = options.darks.partition("::")
        dark_path = Path(name)
        dataset = dataset or read_facts(dark_path).dataset
    elif facts.dark_dataset is not None:
        dark_path, dataset = path, facts.dark_dataset
    else:
        needed = layout_of(plan).fccd
        return DarkChoice(None, None, fitting=not needed, objections=("there are no darks",) if needed else ())
    found, k = read_facts(dark_path, dataset), plan.frames_per_point
    if found.frame_shape != facts.frame_shape or found.n_frames % k:
        if options.darks is None and is_clean(path):
            raise MetadataError(
                f"{path} holds clean frames, whose darks are of the raw ones; expected raw frames "
                "(bluesky-ptycho reconstruct takes clean ones)"
            )
        raise MetadataError(
            f"darks {dark_path}: {dataset} has {found.n_frames} frames of {found.frame_shape}; "
            f"expected frames of {facts.frame_shape}, {k} for each dark point"
        )
    with open_frames(dark_path, found.dataset) as frames:
        accumulators = [DarkAccumulator.for_plan(plan) for _ in plan.exposures_s]
        for first in range(0, found.n_frames, DARKS_AT_ONCE * k):
            for i, accumulator in enumerate(accumulators):
                accumulator.add(frames[first + i : first + DARKS_AT_ONCE * k : k])
        darks = tuple(a.model(t) for a, t in zip(accumulators, plan.exposures_s, strict=True))
        return DarkChoice(darks, None, fitting=True)


def _reading(frames: h5py.Dataset, k: int) -> Read:
    """Return what reads points that follow each other in a data set."""

    def read(points: Sequence[Point]) -> tuple[NDArray[Any], dict[int, str]]:
        rows = np.asarray(frames[points[0].row : points[-1].row + k])
        return rows.reshape(-1, k, *frames.shape[1:]), {}

    return read
