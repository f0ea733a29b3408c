"""A result as the solver would give it, made from nothing but numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from bluesky_ptycho.frames import Snapshot
from bluesky_ptycho.geometry import Canvas, Geometry
from bluesky_ptycho.recon.metrics import frc


def make_snapshot(*, modes: int = 2, n: int = 32, n_frames: int = 25, **changes: Any) -> Snapshot:
    """Return a snapshot of a smooth object with a scan of `n_frames` points over 0.8 µm."""
    rng = np.random.default_rng(1)
    geometry = Geometry(800.0, 0.1, (200e-6, 220e-6), (n, n))
    positions = rng.uniform(-0.4e-6, 0.4e-6, (n_frames, 2)) + np.array([2e-6, 5e-6])
    canvas = Canvas.for_extent((1.6e-6, 2.4e-6, 4.6e-6, 5.4e-6), geometry)
    y, x = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    image = ((1 - 0.2 * np.sin(y / 5)) * np.exp(0.5j * np.cos(x / 7))).astype(np.complex64)
    across = np.arange(n) - n // 2
    spot = np.exp(-(across[:, None] ** 2 + across[None, :] ** 2) / 20)
    probe = np.stack([100 * spot * np.exp(1j * mode) / (mode + 1) for mode in range(modes)]).astype(np.complex64)
    noise = 0.05 * rng.normal(size=(2, *canvas.shape))
    values: dict[str, Any] = {
        "object": image,
        "probe": probe,
        "canvas": canvas,
        "geometry": geometry,
        "coverage": np.ones(canvas.shape, np.float32),
        "seq_nums": np.arange(n_frames),
        "positions_m": positions,
        "residuals": np.geomspace(0.3, 0.01, 12),
        "residual": 0.0095,
        "iteration": 12,
        "frc": frc(image + noise[0], image + noise[1], canvas.pixel_m),
        "settings": {"algorithm": "rpie", "modes": modes},
    }
    return Snapshot(**(values | changes))


def learnt(snapshot: Snapshot) -> dict[str, Any]:
    """Return all that a solver may learn beside object and probe, made up, as fields of `snapshot`."""
    rng = np.random.default_rng(3)
    n, image, window = len(snapshot.seq_nums), snapshot.object.shape, snapshot.geometry.shape
    uncertainty = rng.random(image).astype(np.float32)
    uncertainty[0] = np.nan
    return {
        "shifts_m": rng.normal(size=(n, 2)) * 1e-9,
        "drift_m": np.array([3e-9, -4e-9]),
        "gain": rng.normal(1, 0.1, n).astype(np.float32),
        "background": rng.random(window).astype(np.float32),
        "variation": (rng.normal(size=(2, *window)) + 1j).astype(np.complex64),
        "uncertainty": uncertainty,
        "slices": (rng.normal(size=(2, *image)) + 1j).astype(np.complex64),
        "converged": True,
    }
