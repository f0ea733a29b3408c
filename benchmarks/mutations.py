"""The tests can fail: each guard is taken out of a copy of the sources, and one test must fail then.

``python -m benchmarks.mutations`` works through ``benchmarks/mutations.toml``: each entry names a piece of source, what
is put in its place and the test that must notice. The working tree is never touched. The exit status is 1 if a piece is
not found exactly once, a test fails without any mutation, or passes in spite of one. ``--only NAME`` takes some of
them; ``--markdown FILE`` writes the table into a page, between the lines that mark its place. ``--from FILE`` tries
nothing and takes the verdicts that earlier runs have written with ``--json``: together they must tell of every entry
as it stands in the table now.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .conditions import run_command
from .faults import REPOSITORY
from .pages import markdown_table, put_between_marks

TABLE = "mutations"
HEADER = ["#", "guard", "taken out of", "test that fails"]
COPIED = ("bluesky_ptycho", "benchmarks", "tests", "docs", "pyproject.toml", "setup.cfg", "README.md")
TIMEOUT_S = 240
"""Without its guard a test may hang; that counts as failing."""


@dataclass(frozen=True)
class Mutation:
    """A guard, what is put in the place of its source, and the test that notices; `row` is that of the fault matrix."""

    name: str
    row: str
    guard: str
    file: str
    source: str
    replacement: str
    test: str


@dataclass(frozen=True)
class Verdict:
    """What became of a test: `problem` is empty where it failed, as it should; `message` is how it failed."""

    mutation: Mutation
    problem: str
    message: str = ""
    seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Try the mutations, write and print what came of them; exit with 1 unless each was noticed."""
    options = parse(arguments)
    mutations = chosen(read(options.table), options.only)
    verdicts = gathered(options.given, mutations) if options.given else tried(mutations)
    if options.json:
        options.json.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1) + "\n")
    if problems := [verdict for verdict in verdicts if verdict.problem]:
        sys.exit(f"{len(problems)} of {len(verdicts)} were not noticed")
    if options.markdown:
        put_between_marks(options.markdown, TABLE, markdown(verdicts))


def tried(mutations: Sequence[Mutation]) -> list[Verdict]:
    """Try mutations in a copy of the sources, and print what comes of each."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Copy(Path(directory))
        copy.require_it_is_imported()
        copy.require_passing({mutation.test for mutation in mutations})
        verdicts = []
        for mutation in mutations:
            verdicts.append(copy.try_out(mutation))
            print(line(verdicts[-1]), flush=True)
    return verdicts


def gathered(files: Iterable[Path], mutations: Sequence[Mutation]) -> list[Verdict]:
    """Return the verdicts of earlier runs on `mutations`, the last one of each; end the program if one is missing."""
    found = {}
    for file in files:
        for fields in json.loads(file.read_text(encoding="utf-8")):
            mutation = Mutation(**fields.pop("mutation"))
            found[mutation] = Verdict(mutation, **fields)
    if absent := [mutation.name for mutation in mutations if mutation not in found]:
        sys.exit(f"no verdict on {', '.join(absent)}, as the table has it now; try with --only")
    return [found[mutation] for mutation in mutations]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="mutations to try (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write verdicts with messages")
    parser.add_argument("--from", dest="given", nargs="+", type=Path, metavar="FILE", help="verdicts to take instead")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="page with a place for the table")
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".toml"), metavar="FILE")
    options = parser.parse_args(arguments)
    if options.only and options.markdown:
        parser.error("--markdown writes the whole table; leave --only out")
    return options


def read(table: Path) -> list[Mutation]:
    """Return the mutations of a TOML file, one table ``[name]`` each."""
    with table.open("rb") as file:
        return [Mutation(name, **fields) for name, fields in tomllib.load(file).items()]


def chosen(mutations: list[Mutation], names: Iterable[str] | None) -> list[Mutation]:
    """Return those that are named, all without names."""
    if names is None:
        return mutations
    known = {mutation.name: mutation for mutation in mutations}
    if unknown := set(names) - set(known):
        sys.exit(f"no mutation is called {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return [known[name] for name in names]


class Copy:
    """A copy of the sources, whose tests import the copy.

    Parameters
    ----------
    directory : Path
        An empty one.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "repository"
        self._scratch = directory / "scratch"
        self.root.mkdir()
        for name in COPIED:
            source = REPOSITORY / name
            # With what numba compiled: it asks for the time of the source, which is copied too.
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, self.root / name)
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            # What was compiled is found by the source's time in whole seconds, in which two mutations may come.
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "300",  # pytest cuts its messages at the end of the line
        }

    def require_it_is_imported(self) -> None:
        """End the program unless the copy, and not an installation, is what its tests import."""
        code = "import bluesky_ptycho, tests; print(bluesky_ptycho.__file__, tests.__file__)"
        found = self._run([sys.executable, "-c", code]).stdout.split()
        if not found or not all(Path(file).is_relative_to(self.root) for file in found):
            sys.exit(f"imported is {' and '.join(found) or 'nothing'}; expected the copy in {self.root}")

    def require_passing(self, tests: Iterable[str]) -> None:
        """End the program unless the tests pass without any mutation."""
        done = self._test(*sorted(tests))
        if done.returncode:
            sys.exit(f"tests fail without any mutation:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")

    def try_out(self, mutation: Mutation) -> Verdict:
        """Run the mutation's test with it."""
        path = self.root / mutation.file
        whole = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (n := whole.count(mutation.source)) != 1:
            return Verdict(mutation, f"its source is there {n} times; expected once")
        changed = path.stat()
        path.write_text(whole.replace(mutation.source, mutation.replacement), encoding="utf-8")
        begun = time.monotonic()
        try:
            done = self._test(mutation.test)
        finally:
            path.write_text(whole, encoding="utf-8")
            os.utime(path, ns=(changed.st_atime_ns, changed.st_mtime_ns))
        seconds = time.monotonic() - begun
        failed = re.search(r"^(?:FAILED|ERROR) \S+::(.*)$", done.stdout, re.MULTILINE)
        if failed:  # whatever the status: a process may even die of what its test left behind
            return Verdict(mutation, "", failed[1].partition(" - ")[2], seconds)
        return Verdict(mutation, f"{mutation.test} did not fail: {tail(done)}", seconds=seconds)

    def _test(self, *tests: str) -> subprocess.CompletedProcess[str]:
        options = ["-q", "-n", "0", "-m", "", "-p", "no:cacheprovider", f"--timeout={TIMEOUT_S}"]
        return self._run([sys.executable, "-m", "pytest", *options, f"--basetemp={self._scratch}", *tests])

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self._environment, capture_output=True, text=True, errors="replace", check=False
        )


def tail(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a test run printed."""
    return (done.stdout + done.stderr).strip().rpartition("\n")[2]


def line(verdict: Verdict) -> str:
    """Return a verdict for a terminal."""
    return f"{verdict.mutation.name} ({verdict.seconds:.0f} s): {verdict.problem or f'noticed: {verdict.message}'}"


def markdown(verdicts: Iterable[Verdict]) -> str:
    """Return the table for a page."""
    tried = sorted((verdict.mutation for verdict in verdicts), key=lambda mutation: int(mutation.row))
    return markdown_table(
        HEADER,
        ([each.row, each.guard, f"`{each.file.partition('/')[2]}`", f"`{test_name(each.test)}`"] for each in tried),
    )


def test_name(test: str) -> str:
    """Return a test's id without its directory."""
    return test.removeprefix("tests/").removeprefix("faults/")


if __name__ == "__main__":
    run_command(main)
