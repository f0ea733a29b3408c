"""Faults injected for real, into documents and HDF5 files, and what must come of them."""
