"""What a photon threshold costs: false photons, lost photons, error of the object.

``python -m benchmarks.photon_threshold --json FILE --figure FILE`` draws photons and read noise for
single pixels, and renders one scene on the simulated FCCD to reconstruct it from frames cleaned with fixed
thresholds and with each pixel's own. The error is compared with that from the same photons without a camera.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIXED = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
LIGHT = (0.0, 0.01, 0.1, 1.0)
EXPOSURE_S = 0.1


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--figure", type=Path, help="where to draw them")
    parser.add_argument("--photons", type=float, nargs="+", default=[1e5, 1e6, 1e7])
    parser.add_argument("--sample", default="goldballs")
    parser.add_argument("--side", type=int, default=12, help="square root of the number of scan points")
    parser.add_argument("--passes", type=int, default=50)
    options = parser.parse_args(arguments)
    scenes = {f"{n:g}": measure_scene(options.sample, n, options.side, options.passes) for n in options.photons}
    result = {"pixels": measure_pixels(0.31), "object_error": scenes}
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    if options.figure:
        draw(result, options.figure)


def measure_pixels(noise: float, shape: tuple[int, int, int] = (4, 960, 960)) -> dict[str, Any]:
    """Return the mean of counted pixels for each threshold and light, in photons."""
    from bluesky_ptycho.preprocess.single_photons import SinglePhotons

    rng = np.random.default_rng(0)
    means: dict[str, Any] = {"noise": noise, "light": LIGHT, "own": [], "fixed": {f"{t:g}": [] for t in FIXED}}
    for light in LIGHT:
        values = (rng.poisson(light, shape) + rng.normal(0, noise, shape)).astype(np.float32)
        means["own"].append(float(SinglePhotons(noise).count(values, np.ones(shape, bool)).mean()))
        for threshold in FIXED:
            means["fixed"][f"{threshold:g}"].append(float(np.where(values >= threshold, values, 0).mean()))
    return means


def measure_scene(sample: str, photons: float, side: int, passes: int) -> dict[str, Any]:
    """Return the object error from clean frames, and from raw ones cleaned in several ways."""
    from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline
    from bluesky_ptycho.sim import make_beamline

    with (
        tempfile.TemporaryDirectory() as root,
        make_beamline(root, sample=sample, photons=photons, exposure_s=EXPOSURE_S, seed=1, progress=False) as beamline,
    ):
        positions = spiral(side**2, 0.08e-6)
        raw, clean = render(beamline, positions)
        plan, dark = plan_of(beamline, positions), dark_of(beamline)
        error = _solver_of(beamline, plan, positions, passes)
        errors = {"clean": error(clean, np.ones(clean.shape, bool)), "fixed": {}}
        for threshold in (*FIXED, None):
            with make_pipeline(plan, PreprocessSettings(photon_threshold=threshold)) as pipeline:
                cleaned = pipeline(raw[:, None], (dark,))
            found = error(cleaned.photons, cleaned.mask)
            if threshold is None:
                errors["own"] = found
            else:
                errors["fixed"][f"{threshold:g}"] = found
    return errors


def spiral(n: int, step_m: float) -> NDArray[np.float64]:
    """Return a Fermat spiral about 0, ``(n, 2)`` in m."""
    k = np.arange(n) + 0.5
    radius, angle = step_m * np.sqrt(k / np.pi), np.pi * (3 - np.sqrt(5)) * k
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def render(beamline: Any, positions_m: NDArray[np.float64]) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Return raw frames and the same photons without a camera, summed to solver pixels."""
    from bluesky_ptycho.sim.sampling import poisson_of_field

    physics = beamline.physics
    physics.diffraction.cover(positions_m)
    electronics, b = physics.camera.electronics, physics.camera.binning
    ny, nx = physics.camera.solver_geometry.shape
    raw = np.empty((len(positions_m), *electronics.shape), dtype=np.uint16)
    clean = np.empty((len(positions_m), ny, nx), dtype=np.float32)

    def take(i: int) -> None:
        photons = np.empty(physics.camera.geometry.shape, dtype=np.float32)
        field = physics.diffraction.field(positions_m[i])
        poisson_of_field(field, physics.photons_per_s * EXPOSURE_S, np.uint64(i + 1), photons)
        electronics.raw(photons, np.random.default_rng([7, i]), raw[i])
        clean[i] = photons.reshape(ny, b, nx, b).sum(axis=(1, 3))

    with ThreadPoolExecutor() as pool:
        list(pool.map(take, range(len(positions_m))))
    return raw, clean


def dark_of(beamline: Any, n: int = 25) -> Any:
    """Return a dark model of `n` frames."""
    from bluesky_ptycho.preprocess import DarkAccumulator

    electronics = beamline.physics.camera.electronics
    accumulator, frame = DarkAccumulator("fccd-assembled"), np.empty((1, *electronics.shape), dtype=np.uint16)
    nothing = np.zeros(electronics.image_shape, dtype=np.float32)
    for i in range(n):
        electronics.raw(nothing, np.random.default_rng([8, i]), frame[0])
        accumulator.add(frame)
    return accumulator.model(EXPOSURE_S)


def plan_of(beamline: Any, positions_m: NDArray[np.float64]) -> Any:
    """Return the scan plan of the positions."""
    from bluesky_ptycho.scan_plan import ScanPlan

    (top, left), (bottom, right) = positions_m.min(axis=0), positions_m.max(axis=0)
    geometry = beamline.physics.camera.geometry
    return ScanPlan(
        len(positions_m), (top, bottom, left, right), geometry.energy_ev, geometry.distance_m,
        detector=beamline.fccd.info(), exposures_s=(EXPOSURE_S,), illumination=beamline.fccd.illumination,
    )  # fmt: skip


def _solver_of(beamline: Any, plan: Any, positions_m: NDArray[np.float64], passes: int) -> Any:
    """Return a function of photons and masks that gives the error of the object."""
    from bluesky_ptycho.frames import Batch
    from bluesky_ptycho.preprocess import output_geometry
    from bluesky_ptycho.recon import IncrementalSolver
    from bluesky_ptycho.recon.metrics import object_nrmse

    def error(photons: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
        with IncrementalSolver(plan, output_geometry(plan), backend="numpy") as solver:
            solver.add(Batch(np.arange(len(photons)), positions_m, np.sqrt(photons), mask))
            solver.step(passes)
            snapshot = solver.snapshot()
        box = snapshot.canvas.scanned_box(positions_m)
        return float(object_nrmse(snapshot.object, beamline.truth(snapshot.canvas), box))

    return error


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the trade-off: what happens to a pixel, and what it does to the object."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    pixel, scene = figure.subplots(1, 2)
    pixels, colours = result["pixels"], ("C3", "C0", "C2", "C1")
    kept = {t: np.array(means) for t, means in pixels["fixed"].items()}
    for k, light in enumerate(LIGHT):
        label = "none" if not light else f"{light:g} per pixel"
        scale = light or 1.0
        own = pixels["own"][k] / scale
        values = [m[k] / scale for m in kept.values()]
        pixel.plot([float(t) for t in kept], values, "o-", color=colours[k], label=label)
        pixel.axhline(own, color=colours[k], linestyle=":")
    pixel.set(
        xlabel="fixed threshold (photons)", ylabel="counted / true photons  (none: photons per pixel)", ylim=(0, 2),
        title=f"A pixel, read noise {pixels['noise']:g} photon",
    )  # fmt: skip
    for k, (photons, errors) in enumerate(result["object_error"].items()):
        ratio = [e / errors["clean"] for e in errors["fixed"].values()]
        scene.plot(
            [float(t) for t in errors["fixed"]], ratio, "o-", color=f"C{k}", label=f"{float(photons):.0e} photons"
        )
        scene.axhline(errors["own"] / errors["clean"], color=f"C{k}", linestyle=":")
    scene.set(
        xlabel="fixed threshold (photons)", ylabel="object error / error without camera noise", ylim=(0.95, 2.5),
        title="The object",
    )  # fmt: skip
    for axes, title in ((pixel, "light"), (scene, "open beam, per frame")):
        axes.grid(alpha=0.3)
        axes.legend(title=f"{title}; dotted: own thresholds", fontsize=8, title_fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
