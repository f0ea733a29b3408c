"""Plans: trajectories, step and fly scans, darks and the check before the shutter opens."""

from .dark_preprocessor import DarkPreprocessor, ShutterDarks, dark_preprocessor
from .darks import DarkRecords, dark_records, keep_dark_records
from .fly import ptycho_fly_scan
from .step import ptycho_list_scan, ptycho_scan

__all__ = [
    "DarkPreprocessor",
    "DarkRecords",
    "ShutterDarks",
    "dark_preprocessor",
    "dark_records",
    "keep_dark_records",
    "ptycho_fly_scan",
    "ptycho_list_scan",
    "ptycho_scan",
]
