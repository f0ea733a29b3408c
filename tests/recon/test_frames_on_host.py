"""Frames that do not fit on the card lie in the host's memory, where kernels read them."""

import numpy as np
import pytest

from bluesky_ptycho import backend as backends
from bluesky_ptycho.backend import Backend, get_backend

from .small_problem import make_problem


def test_host_frames_are_plain_arrays():
    zeros = Backend().zeros_of_frames((3, 4, 5), np.uint16)
    assert zeros.shape == (3, 4, 5)
    assert zeros.dtype == np.uint16
    assert not zeros.any()


@pytest.mark.gpu
def test_frames_beyond_the_cards_memory_give_the_same_image(monkeypatch):
    problem, images = make_problem(photons=1e5), []
    for share in (backends.FRAMES_SHARE, 0.0):
        monkeypatch.setattr(backends, "FRAMES_SHARE", share)
        with problem.solver(backend=get_backend("cupy")) as solver:
            solver.add(problem.batch())
            solver.step(10)
            images.append(solver.snapshot().object)
    assert np.abs(images[0] - images[1]).max() < 1e-3
