"""A scan whose reconstruction hardly depends on chance, so that one per cent of its error means something.

A hundred passes of conjugate gradients after the last frame bring the error to the same value within 0.2 %, whatever
the order of the frames and the moments at which they came; with the default settings it varies by 1 to 2 %.
"""

from __future__ import annotations

import numpy as np

from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.recon.metrics import object_nrmse, scanned_box
from tests.callbacks.small_data import PIXEL_M, small_scan

from .scene import plain_plan

SETTINGS = LiveSettings(
    frc=False, progress_interval_s=0.05, snapshot_interval_s=5.0, patience_s=5.0, checkpoint_interval_s=0.5, passes=20
).with_changes(**{"solver.algorithm": "mpie:20,ml", "solver.tail_passes": 100})


class Repeatable:
    """196 points of 64 x 64 pixels, the truth, and how far a snapshot is from it."""

    def __init__(self):
        self.positions_m, self.frames, self.sample, _ = small_scan(n_side=14, step=2, photons=2e5)

    @property
    def plan(self):
        return plain_plan(self.positions_m, (64, 64))

    def error(self, snapshot):
        low = np.round(snapshot.canvas.corners_px(self.positions_m)).astype(int).min(axis=0)
        corner = low - np.round((self.positions_m / PIXEL_M - 32).min(axis=0)).astype(int)
        truth = np.ones(snapshot.object.shape, dtype=np.complex128)
        rows = slice(corner[0], corner[0] + len(self.sample)), slice(corner[1], corner[1] + len(self.sample))
        truth[rows] = self.sample
        return object_nrmse(snapshot.object, truth, scanned_box(snapshot.canvas, self.positions_m))
