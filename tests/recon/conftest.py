"""Known problems for the solver, and what runs the GPU engine."""

import pytest

from bluesky_ptycho.backend import get_backend

from ..cuda_on_host import COMPILER, HostCuda
from .small_problem import make_problem


@pytest.fixture(scope="session")
def host_cuda(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no g++ to compile the kernels for the host with")
    return HostCuda(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session", params=["host", pytest.param("card", marks=pytest.mark.gpu)])
def backend(request):
    return get_backend("cupy") if request.param == "card" else request.getfixturevalue("host_cuda")


@pytest.fixture(params=[1, 3])
def modes(request):
    return request.param


@pytest.fixture(scope="module")
def clean():
    return make_problem()


@pytest.fixture(scope="module")
def noisy():
    return make_problem(photons=2e5)
