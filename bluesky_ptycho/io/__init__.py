"""Files of patterns and reconstructions: pure readers and writers (h5py only)."""

from __future__ import annotations

from .clean_cxi import CleanCxiWriter
from .cxi import CxiData, read_cxi, read_result_cxi, write_result_cxi

__all__ = ["CleanCxiWriter", "CxiData", "read_cxi", "read_result_cxi", "write_result_cxi"]
