"""Speed and truth of the preprocessing of full FCCD frames.

``python -m benchmarks.preprocess --json FILE`` measures, on simulated raw frames of 1040 × 1152:

- ``cosmic_fps``, ``nanosurveyor_fps``: frames per second of each preset, frames in memory (median of the repeats);
  ``cosmic_fixed_threshold_fps``: `cosmic` with one photon threshold for all pixels, which a fused kernel does;
- ``numpy_reference_fps``: the steps of `cosmic` written down straightforwardly with NumPy and SciPy, as many threads;
  ``numpy_steps_fps``: the package's own chains step by step in NumPy;
- ``share``: where the time of a frame goes, on one thread;
- ``memory_bandwidth``: time to copy the raw frames once over the time to clean them, one thread and all;
- ``end_to_end_fps`` and ``end_to_end``: from an HDF5 file of distinct frames, read again and again (so from the page
  cache), through the package's reader to clean batches in memory: as fast as it goes, and the lag at the camera's rate;
- ``truth``: see :mod:`benchmarks.preprocess_truth`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bluesky_ptycho.callbacks.document_keys import FrameSource
from bluesky_ptycho.callbacks.frame_reader import FrameReader
from bluesky_ptycho.preprocess import (
    Pipeline,
    PreprocessSettings,
    channel_kernels,
    image_kernels,
    kernels,
    make_pipeline,
    pattern_kernels,
    staged,
)
from bluesky_ptycho.preprocess.layouts import GAIN_BITS, image_columns
from bluesky_ptycho.preprocess.overscan import bias_of, dark_overscan, limits_of
from bluesky_ptycho.preprocess.recipe import make_recipe, prepare_darks

from .preprocess_reference import Reference
from .preprocess_scene import Scene, diffraction, simulate
from .preprocess_truth import TruthScenes, measure_truth

THRESHOLD = 0.6
"""Photons, where one threshold serves all pixels."""
CHAINS: dict[str, dict[str, Any]] = {
    "cosmic": {"preset": "cosmic"},
    "cosmic_fixed_threshold": {"preset": "cosmic", "photon_threshold": THRESHOLD},
    "nanosurveyor": {"preset": "nanosurveyor"},
}
CHUNK = 16
"""Frames cleaned at once, as the live callback does."""
DATASET = "entry/data/data"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--frames", type=int, default=64, help="distinct frames (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="how often each speed is measured (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the end-to-end run (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="frames/s of the camera (default: %(default)s)")
    parser.add_argument(
        "--truth-frames", type=int, default=6, help="for each figure of truth, 2 or more (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    figures = measure(options)
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    scene = simulate(diffraction(), options.frames, lost_packets=0.3)
    speeds = measure_speeds(scene, options.threads, options.repeats)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "raw.h5"
        write_frames(path, scene.frames[:, 0])
        end_to_end = {
            preset: measure_end_to_end(path, scene, preset, options.threads, options.seconds, rate)
            for preset, rate in (("cosmic", options.rate), ("nanosurveyor", options.rate / 2))
        }
    truths = TruthScenes.of(options.truth_frames)
    return {
        **speeds,
        "end_to_end_fps": end_to_end["cosmic"]["fps"],
        "end_to_end": end_to_end,
        "share": {preset: measure_share(scene, preset) for preset in CHAINS},
        "truth": {name: measure_truth(settings, truths) for name, settings in CHAINS.items()},
        "conditions": {
            "threads": options.threads,
            "cores": os.cpu_count(),
            "distinct_frames": options.frames,
            "load_before": os.getloadavg()[0],
        },
    }


# -- frames in memory -----------------------------------------------------------------------------


def measure_speeds(scene: Scene, threads: int, repeats: int) -> dict[str, Any]:
    """Return frames per second of chains and references, measured in turn in each round."""
    reference = _reference(scene)
    raw = scene.frames[:, 0]
    few = scene.frames[: min(len(scene.frames), CHUNK)]
    pipelines = {preset: _pipeline(scene, preset, threads) for preset in CHAINS}
    steps = {preset: _pipeline(scene, preset, threads, fused=False) for preset in CHAINS}
    single = {preset: _pipeline(scene, preset, 1) for preset in CHAINS}
    target = np.empty_like(raw[0])

    def copy() -> None:
        for frame in raw:
            np.copyto(target, frame)

    def straightforward() -> None:
        for _ in pool.map(reference, few[:, 0]):
            pass

    with ThreadPoolExecutor(threads) as pool:
        runs: dict[str, tuple[int, Callable[[], Any]]] = {"copy": (len(raw), copy)}
        for preset in CHAINS:
            runs[preset] = (len(raw), lambda p=pipelines[preset]: _clean_all(p, scene))  # type: ignore[misc]
            runs[f"{preset} 1 thread"] = (len(raw), lambda p=single[preset]: _clean_all(p, scene))  # type: ignore[misc]
            runs[f"{preset} steps"] = (len(few), lambda p=steps[preset]: p(few, scene.darks))  # type: ignore[misc]
        runs["reference"] = (len(few), straightforward)
        fps = _in_turn(runs, repeats)
    for pipeline in (*pipelines.values(), *steps.values(), *single.values()):
        pipeline.close()
    return {
        **{f"{preset}_fps": fps[preset] for preset in CHAINS},
        "numpy_reference_fps": fps["reference"],
        "numpy_steps_fps": {preset: fps[f"{preset} steps"] for preset in CHAINS},
        "one_thread_fps": {preset: fps[f"{preset} 1 thread"] for preset in CHAINS},
        "memory_bandwidth": {
            "copy_gb_per_s": fps["copy"] * raw[0].nbytes / 1e9,
            **{preset: fps[preset] / fps["copy"] for preset in CHAINS},
            **{f"{preset}_one_thread": fps[f"{preset} 1 thread"] / fps["copy"] for preset in CHAINS},
        },
    }


def _in_turn(runs: dict[str, tuple[int, Callable[[], Any]]], repeats: int) -> dict[str, float]:
    """Time all runs in each of several rounds; return the median rate of each, so that drifts hit all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _, run in runs.values():
        run()
    for _ in range(repeats):
        for name, (_, run) in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return {name: n / statistics.median(seconds[name]) for name, (n, _) in runs.items()}


def _pipeline(scene: Scene, preset: str, threads: int, **more: Any) -> Pipeline:
    pipeline = make_pipeline(scene.plan, PreprocessSettings(**CHAINS[preset], threads=threads, **more))
    pipeline.warm_up()
    return pipeline


def _clean_all(pipeline: Pipeline, scene: Scene) -> None:
    for first in range(0, len(scene.frames), CHUNK):
        pipeline(scene.frames[first : first + CHUNK], scene.darks)


def _reference(scene: Scene) -> Reference:
    dark = np.where(scene.darks[0].bad_pixels(5.0), np.nan, scene.darks[0].mean).astype(np.float32)
    assert scene.plan.detector is not None
    return Reference(dark, scene.plan.detector.adu_per_ev * scene.plan.energy_ev, THRESHOLD)


# -- shares ---------------------------------------------------------------------------------------


def measure_share(scene: Scene, preset: str, n: int = 16) -> dict[str, float]:
    """Return the share of one thread's time that each part of the chain takes.

    The staged chain calls its kernels one by one, which are timed as they are called. The fused one is a single
    kernel; those of its parts that are functions of their own are timed on the same frames, and the rest is
    what it does in one pass over the pixels.
    """
    frames = scene.frames[: min(n, len(scene.frames))]
    with _pipeline(scene, preset, 1) as pipeline:
        pipeline(frames[:1], scene.darks)
        with timed_kernels() as parts:
            began = time.perf_counter()
            pipeline(frames, scene.darks)
            total = time.perf_counter() - began
        if not parts:
            return _fused_shares(scene, frames, pipeline)
    parts["between the kernels"] = total - sum(parts.values())
    return {name: seconds / total for name, seconds in parts.items()}


@contextmanager
def timed_kernels() -> Iterator[dict[str, float]]:
    """Note the time that the staged chain spends in each function that it calls."""
    seconds: dict[str, float] = {}
    replaced: list[tuple[Any, str, Any]] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began

        return call

    for module in (channel_kernels, image_kernels, pattern_kernels, staged):
        for name, function in list(vars(module).items()):
            if hasattr(function, "py_func"):
                replaced.append((module, name, function))
                setattr(module, name, timed(name, function))
    try:
        yield seconds
    finally:
        for module, name, function in replaced:
            setattr(module, name, function)


def _fused_shares(scene: Scene, frames: np.ndarray, pipeline: Pipeline) -> dict[str, float]:
    """Time the whole and its parts on one frame after the other, and take medians: a busy moment hits all alike."""
    settings = pipeline.settings
    recipe = make_recipe(scene.plan, settings)
    darks = prepare_darks(scene.darks, recipe)
    zero, bias, limits = dark_overscan(darks, recipe)[0], bias_of(darks)[0], limits_of(recipe, darks)
    rows, columns = recipe.layout.image_rows(), image_columns()
    gain_bits = np.uint16(GAIN_BITS[settings.gain])
    scratch = kernels.make_scratch(settings.overscan_rows, len(rows) // 2)
    state = np.zeros((len(rows), recipe.frame_shape[1]), dtype=np.uint8)
    flagged, background = np.zeros(len(rows), dtype=np.uint8), np.empty((len(rows), 96), dtype=np.float32)

    def flag(raw: np.ndarray) -> None:
        kernels.flag_pixels(raw, gain_bits, rows, columns, state, flagged)

    def overscan(raw: np.ndarray) -> None:
        kernels.find_background(
            raw, zero, gain_bits, rows, settings.overscan_rows, limits, bias, scratch, state, flagged, background
        )

    runs: dict[str, Callable[[np.ndarray], Any]] = {
        "whole": lambda raw: pipeline(raw[None, None], scene.darks),
        "flag_pixels": flag,
        "overscan median": overscan,
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for raw in (frames[0, 0], *frames[:, 0]):
        for name, run in runs.items():
            began = time.perf_counter()
            run(raw)
            seconds[name].append(time.perf_counter() - began)
    typical = {name: statistics.median(taken) for name, taken in seconds.items()}
    whole = typical.pop("whole")
    rest = whole - sum(typical.values())
    return {name: t / whole for name, t in {**typical, "dark to box sum in one pass, and checks": rest}.items()}


# -- end to end -----------------------------------------------------------------------------------


def write_frames(path: Path, frames: np.ndarray) -> None:
    """Write frames ``(n, H, W)`` as the detector does: one chunk each, in a file that readers may follow."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset(DATASET, data=frames, chunks=(1, *frames.shape[1:]), maxshape=(None, *frames.shape[1:]))


def measure_end_to_end(
    path: Path, scene: Scene, preset: str, threads: int, seconds: float, rate: float
) -> dict[str, float]:
    """Read and clean the file's frames again and again.

    Returns
    -------
    dict
        ``fps`` as fast as it goes, ``reading_share`` of that time; ``rate``, and ``lag_s`` in the end and at most
        (``lag_most_s``) behind a camera of that rate, from a chunk's last frame on; ``rss_growth_mb`` at most.
    """
    source = FrameSource("", path, DATASET, None)
    with _pipeline(scene, preset, threads) as pipeline, FrameReader(source) as reader:
        run = _Run(pipeline, reader, scene)
        run.chunk(run.rows(0))
        before = resident_bytes()
        free = run.go(seconds, None)
        paced = run.go(seconds, rate)
    return {
        "fps": free["frames"] / free["seconds"],
        "reading_share": free["reading_s"] / free["seconds"],
        "rate": rate,
        "lag_s": paced["lag_s"],
        "lag_most_s": paced["lag_most_s"],
        "rss_growth_mb": (max(free["rss"], paced["rss"]) - before) / 1e6,
    }


class _Run:
    """Chunks of a file's frames, over and over."""

    def __init__(self, pipeline: Pipeline, reader: FrameReader, scene: Scene) -> None:
        self._pipeline, self._reader, self._darks = pipeline, reader, scene.darks
        self._n = len(scene.frames)
        self.reading_s = 0.0

    def rows(self, index: int) -> np.ndarray:
        """Return the rows of a chunk."""
        per_round = -(-self._n // CHUNK)
        first = index % per_round * CHUNK
        return np.arange(first, min(first + CHUNK, self._n))

    def chunk(self, rows: np.ndarray) -> int:
        """Read and clean a chunk; return its number of frames."""
        began = time.perf_counter()
        frames = self._reader.read(rows, 1)
        self.reading_s += time.perf_counter() - began
        return len(self._pipeline(frames, self._darks).photons)

    def go(self, seconds: float, rate: float | None) -> dict[str, float]:
        """Go on for some time, at a rate or as fast as it goes."""
        frames, index, rss, lag, most = 0, 0, 0, 0.0, 0.0
        self.reading_s = 0.0
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            rows = self.rows(index)
            if rate is not None:
                there = began + (frames + len(rows)) / rate
                time.sleep(max(0.0, there - time.perf_counter()))
            frames += self.chunk(rows)
            index += 1
            if rate is not None:
                lag = time.perf_counter() - there
                most = max(most, lag)
            rss = max(rss, resident_bytes())
        took = time.perf_counter() - began
        figures = {"frames": frames, "seconds": took, "reading_s": self.reading_s, "rss": rss}
        return {**figures, "lag_s": lag, "lag_most_s": most}


def resident_bytes() -> int:
    """Return the memory that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
