"""Options and fixtures for all tests.

Tests of arrays alone run where there is nothing but the array stack, as on a machine lent for its card: so this module
imports no more, and sets up what else is installed.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bluesky_ptycho.backend import cpu_count, cupy_usable

if TYPE_CHECKING:
    from bluesky_ptycho.catalog import Catalog

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = REPOSITORY.parent / "shared" / "data"

MOST_WORKERS = 4  # each has catalogs, cameras and compiled kernels of its own in memory
MOST_SECONDS = 300  # for one test
SHORT = ("io", "preprocess", "recon", "sim")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-data",
        type=Path,
        default=REAL_DATA,
        metavar="DIR",
        help="directory with measured data sets (default: ../shared/data beside the repository)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Limit each test, and share the whole suite between the cores; what was asked for by name starts at once, here."""
    option, plugins = config.option, config.pluginmanager
    if plugins.hasplugin("timeout") and option.timeout is None:
        option.timeout = MOST_SECONDS
    if plugins.hasplugin("xdist") and not hasattr(config, "workerinput"):
        whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not option.keyword
        if option.numprocesses is None:
            option.numprocesses = min(cpu_count() + 1, MOST_WORKERS) if whole else 0  # many tests wait for others
        if option.numprocesses and option.dist == "no":
            option.dist = "loadfile"
        option.loadscopereorder = False  # the order below counts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the many short tests of arrays last, when cores would wait for the one that has a long test."""
    items.sort(key=lambda item: item.path.parent.name in SHORT)


def pytest_configure() -> None:
    if find_spec("matplotlib"):
        import matplotlib as mpl

        mpl.use("Agg")
    if find_spec("hypothesis"):
        import hypothesis

        # A test that takes 0.2 s alone may take 2 s beside others; the run as a whole has its time-outs.
        hypothesis.settings.register_profile("bluesky_ptycho", deadline=None)
        hypothesis.settings.load_profile("bluesky_ptycho")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a card where there is none."""
    if item.get_closest_marker("gpu") is not None and not cupy_usable():
        pytest.skip("needs a CUDA card and cupy")


@pytest.fixture(scope="session", autouse=True)
def _brief_planning() -> Iterator[None]:
    """Let FFTW take the best of a short look: its patience, seconds for each shape, pays in long reconstructions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bluesky_ptycho.fftw_plans.PATIENCE_S", 0.1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let commands remember their catalogs, and FFTW's plans be kept, here: the user's are not the tests' business."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("matplotlib"):
            import matplotlib as mpl

            patch.setenv(
                "MPLCONFIGDIR", mpl.get_cachedir()
            )  # its list of fonts is the user's: it takes seconds to make
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data(pytestconfig: pytest.Config) -> Path:
    """Directory with measured data; skips where there is none."""
    directory = pytestconfig.getoption("--real-data")
    if not directory.is_dir():
        pytest.skip(f"no measured data: {directory} is not a directory (give one with --real-data DIR)")
    return directory


@pytest.fixture(scope="session")
def real_file(real_data: Path) -> Callable[[str], Path]:
    """Return a function that gives the path of a measured data set, or skips."""

    def find(name: str) -> Path:
        path = real_data / name
        if not path.is_file():
            pytest.skip(f"no measured data: {path} does not exist (give its directory with --real-data DIR)")
        return path

    return find


@pytest.fixture(scope="session")
def blank_catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directory of an empty catalog, to be copied: making its data base takes seconds."""
    from bluesky_ptycho.catalog import backup, open_catalog

    directory = tmp_path_factory.mktemp("blank") / "catalog"
    open_catalog(directory).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "PATIENCE_S", 600.0)  # a busy machine is no catalog that hangs
        _make_routes_once(patch)
        _read_signatures_once(patch)
        yield directory


def _make_routes_once(patch: pytest.MonkeyPatch) -> None:
    """Let servers share their routes, which know of no catalog: to make them is half of the opening of one."""
    from tiled.server import app

    made: dict[str, tuple[list[Any], Any]] = {}

    def once(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def get(*arguments: object) -> Any:
            # Each server has copies of the registries, and what it looks up in them adds to their defaults.
            content = deepcopy([getattr(argument, "__dict__", argument) for argument in arguments])
            if name not in made or made[name][0] != content:
                made[name] = content, make(*arguments)
            return made[name][1]

        return get

    for name in ("get_router", "get_zarr_router_v2", "get_zarr_router_v3"):
        patch.setattr(app, name, once(name, getattr(app, name)))


def _read_signatures_once(patch: pytest.MonkeyPatch) -> None:
    """Let FastAPI remember what functions depend on: for tiled it reads some 160 signatures anew with each request."""
    from fastapi.dependencies import utils

    read = utils.get_dependant

    @functools.lru_cache(maxsize=4096)
    def remembered(call: object, **what: Any) -> Any:
        return read(call=call, **{name: list(v) if isinstance(v, tuple) else v for name, v in what.items()})

    def get_dependant(**what: Any) -> Any:
        return remembered(**{name: tuple(v) if isinstance(v, list) else v for name, v in what.items()})

    patch.setattr(utils, "get_dependant", get_dependant)


@pytest.fixture
def catalog_dir(tmp_path: Path, blank_catalog: Path) -> Path:
    """Directory of an empty catalog of this test's own."""
    return Path(shutil.copytree(blank_catalog, tmp_path / "catalog"))


@pytest.fixture
def catalog(catalog_dir: Path) -> Iterator[Catalog]:
    """An empty catalog on disk, open."""
    from bluesky_ptycho.catalog import open_catalog

    with open_catalog(catalog_dir) as opened:
        yield opened


@pytest.fixture
def ptycho_catalog(catalog: Catalog) -> Catalog:
    """The plug-in's fixture, copied instead of made."""
    return catalog
