"""Stored runs reconstructed again with other settings: a queue, and what it asks for."""

from .queue import Job, ReconQueue, State

__all__ = ["Job", "ReconQueue", "State"]
