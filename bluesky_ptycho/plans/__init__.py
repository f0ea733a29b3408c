"""Plans: trajectories, step and fly scans, darks and the check before the shutter opens."""

from .darks import DarkRecords, dark_records, keep_dark_records
from .fly import ptycho_fly_scan
from .ptycho_scan import ptycho_list_scan, ptycho_scan
from .trajectories import offsets, trajectories

__all__ = [
    "DarkRecords",
    "dark_records",
    "keep_dark_records",
    "offsets",
    "ptycho_fly_scan",
    "ptycho_list_scan",
    "ptycho_scan",
    "trajectories",
]
