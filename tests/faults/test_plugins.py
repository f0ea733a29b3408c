"""Row 33: a plug-in that is broken or malicious."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bluesky_ptycho import enable_plugins
from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.errors import NotFoundError, PtychoError
from bluesky_ptycho.registry import algorithms, detectors, preprocessing_steps, sinks
from tests.callbacks.small_data import small_scan
from tests.conftest import REPOSITORY
from tests.distributions import installer

from .scene import SETTINGS, Results, Scan, plain_plan, reconstruct

TABLES = {"algorithms": algorithms, "sinks": sinks, "detectors": detectors, "preprocessing_steps": preprocessing_steps}
EVIL = {
    "evil_module.py": "from pathlib import Path\nPath(__file__).with_name('seen').touch()\n"
    "def evil(*args, **kwargs):\n    raise RuntimeError('mischief')\n"
}
OFFERED = {f"bluesky_ptycho.{table}": {"evil": "evil_module:evil", "rpie": "evil_module:evil"} for table in TABLES}


@pytest.fixture
def install(tmp_path):
    (tmp_path / "site").mkdir()
    with installer(tmp_path / "site") as install:
        yield install
    for table in TABLES.values():
        table._entries.pop("evil", None)


@pytest.fixture
def scan(tmp_path):
    positions_m, patterns, _, _ = small_scan(n_side=5)
    return Scan(plain_plan(positions_m, (64, 64)), tmp_path, patterns)


@pytest.mark.fault("33a", "plug-in not enabled", bound="not imported; the message tells how to enable it")
def test_nothing_of_a_plug_in_runs_unless_it_is_enabled(install, tmp_path, scan, figure):
    install("Evil_plugin", OFFERED, EVIL, enabled=False)
    says = r"'evil' is offered by Evil_plugin 1\.0, which is not enabled; enable_plugins\('evil-plugin'\)"
    for table in TABLES.values():
        assert "evil" not in table
        with pytest.raises(NotFoundError, match=says):
            table["evil"]
    with pytest.raises(NotFoundError, match=says):
        LivePtycho(sinks=["evil"])
    outcome, results = reconstruct(scan.documents(), tmp_path, SETTINGS.with_changes(passes=3))
    assert outcome.progress.used == 25, "a name of ours is never theirs"
    start = next(doc for name, doc in results.documents if name == "start")
    assert "evil-plugin" not in start["versions"]
    figure(modules_imported=len({"evil_module"} & set(sys.modules)))
    assert "evil_module" not in sys.modules and not (tmp_path / "site" / "seen").exists()


@pytest.mark.fault("33b", "plug-in that fails", bound="scan unharmed; stored and reported once; listed with version")
def test_an_enabled_plug_in_is_listed_and_its_failure_is_its_own(install, tmp_path, scan, caplog, figure):
    install("Evil_plugin", OFFERED, EVIL, enabled=False)
    enable_plugins("Evil_plugin")
    results = Results(tmp_path)
    with LivePtycho(SETTINGS.with_changes(**{"solver.algorithm": "evil"}), catalog=results) as live:
        for name, doc in scan.documents():
            live(name, doc)
        with pytest.raises(PtychoError, match="mischief"):
            live.wait(240)
    start = next(doc for name, doc in results.documents if name == "start")
    stop = next(doc for name, doc in results.documents if name == "stop")
    assert start["versions"]["evil-plugin"] == "1.0"
    assert (stop["exit_status"], stop["reason"]) == ("fail", "RuntimeError: mischief")
    told = [r.getMessage() for r in caplog.records if "mischief" in r.getMessage()]
    figure(reports=len(told))
    assert len(told) == 1 and "bluesky-ptycho replay" in told[0]
    assert algorithms["rpie"].__module__.startswith("bluesky_ptycho.")


@pytest.mark.fault("33c", "plug-in that breaks at import", bound="one line that names it")
def test_a_plug_in_that_breaks_at_import_is_named(install, figure):
    install("broken", {"bluesky_ptycho.sinks": {"evil": "broken_module:x"}}, {"broken_module.py": "1 / 0\n"})
    with pytest.raises(PtychoError, match=r"sink 'evil' of broken 1\.0 cannot be loaded: ZeroDivisionError") as refused:
        LivePtycho(sinks=["evil"])
    figure(lines=str(refused.value).count("\n") + 1)
    assert "\n" not in str(refused.value)


def test_a_plug_in_that_is_not_installed_is_refused_by_the_command_too():
    with pytest.raises(NotFoundError, match="plug-in 'no-such-thing' is not installed"):
        enable_plugins("no-such-thing")
    command = [sys.executable, "-m", "bluesky_ptycho", "--plugin", "no-such-thing", "runs"]
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "bluesky-ptycho: error: plug-in 'no-such-thing' is not installed\n"
