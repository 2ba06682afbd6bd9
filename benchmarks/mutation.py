"""Mutation scores: how many small changes of a module its own tests notice.

    python -m benchmarks.mutation              # every module of `MODULES`; about an hour
    python -m benchmarks.mutation retry        # these only: about two minutes
    python -m benchmarks.mutation --write ...  # the scores also go to docs/reliability.md

mutmut works on a copy of the tree, at the lowest priority. The mutants that survived are printed
as diffs; most are boundaries that no caller can tell apart, some are tests that are missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.environments import python_of
from benchmarks.tables import DOCS, note

__all__ = ["MODULES", "main"]

ROOT: Final = Path(__file__).parents[1]
SECTION: Final = ("<!-- mutation -->\n", "<!-- /mutation -->")


@dataclass(frozen=True, slots=True)
class Subject:
    """A module, or several by a pattern, and the tests that have to notice."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Tests that take seconds, as every mutant that is not noticed at once would have to wait."""

    @property
    def named(self) -> str:
        return ", ".join(f"`{module}`" for module in self.modules)


MODULES: Final[dict[str, Subject]] = {
    "retry": Subject(
        ("_engine/retry.py", "_engine/evidence.py"),
        (
            "tests/engine/test_retry.py",
            "tests/engine/test_retry_edges.py",
            "tests/properties/test_retry_properties.py",
        ),
    ),
    "failures": Subject(
        ("_clients/failures.py",),
        (
            "tests/clients/test_failures.py",
            "tests/clients/test_failures_edges.py",
            "tests/properties/test_failures_properties.py",
        ),
    ),
    "limiter": Subject(
        ("_limits/limiter.py", "_limits/search.py"),
        (
            "tests/limits/test_limiter.py",
            "tests/limits/test_limiter_edges.py",
            "tests/limits/test_limiter_properties.py",
            "tests/limits/test_search.py",
            "tests/limits/test_ramp.py",
        ),
        without=("servers_nobody_tuned_for",),
    ),
    "journal": Subject(
        ("_store/journal/*.py",),
        (
            "tests/store/test_journal.py",
            "tests/store/test_journal_commit.py",
            "tests/store/test_journal_damage.py",
            "tests/store/test_journal_edges.py",
            "tests/store/test_journal_lock_edges.py",
            "tests/store/test_journal_pages.py",
            "tests/store/test_journal_readers.py",
            "tests/properties/test_journal_machine.py",
        ),
        without=(
            "any_history",
            "one_flipped_byte",
            "flipped_bytes",
            "blotted_out",
            "beside_a_writer",
        ),
    ),
}
"""What is measured. Tests that start processes of their own are left out: what those import is not
the mutant."""

_PYTEST: Final = ("-p", "no:cacheprovider", "-p", "no:xdist", "-q", "-x", "-m", "not prove")

_SETTINGS: Final = """\
[tool.mutmut]
source_paths = ["src"]
only_mutate = {modules}
pytest_add_cli_args = {arguments}
pytest_add_cli_args_test_selection = {tests}
track_dependencies = false
use_git_change_detection = false

[tool.pytest.ini_options]
pythonpath = ["tests/acceptance"]
markers = ["prove", "live", "promise(name)"]
"""


@dataclass(frozen=True, slots=True)
class Score:
    """What became of the mutants of one subject."""

    mutants: int
    survived: int
    untested: int
    seconds: float

    @property
    def share(self) -> float:
        return 1 - (self.survived + self.untested) / self.mutants

    def row(self, subject: Subject) -> str:
        tests = ", ".join(f"`{Path(test).name}`" for test in subject.tests)
        cells = (
            subject.named,
            tests,
            str(self.mutants),
            f"{100 * self.share:.1f} %",
            str(self.survived + self.untested),
            f"{self.seconds:.0f}",
        )
        return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure what the command line names, one after the other."""
    names = [word for word in sys.argv[1:] if word != "--write"] or list(MODULES)
    if unknown := [name for name in names if name not in MODULES]:
        sys.exit(f"no subject {', '.join(unknown)}; there are: {', '.join(MODULES)}")
    for name in names:
        score = measure(MODULES[name])
        row = score.row(MODULES[name])
        print(row, flush=True)
        if "--write" in sys.argv:
            _put(MODULES[name], row)


def measure(subject: Subject) -> Score:
    """Mutate a copy of the tree, and print what nobody noticed."""
    python = python_of("mutation")
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder)
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        (tree / "pyproject.toml").write_text(_settings(subject))
        started = time.monotonic()
        children = str(max(1, (os.cpu_count() or 2) // 2))
        note(f"mutating {subject.named}, {children} at a time ...")
        _mutmut(python, tree, "run", "--max-children", children)
        seconds = time.monotonic() - started
        for name in _survivors(python, tree):
            print(_mutmut(python, tree, "show", name), flush=True)
        _mutmut(python, tree, "export-cicd-stats")
        counts = json.loads((tree / "mutants" / "mutmut-cicd-stats.json").read_text())
    return Score(counts["total"], counts["survived"], counts["no_tests"], seconds)


def _settings(subject: Subject) -> str:
    unwanted = " or ".join(subject.without)
    arguments = [*_PYTEST, "-k", f"not ({unwanted})"] if unwanted else [*_PYTEST]
    return _SETTINGS.format(
        modules=json.dumps([f"src/distilabel_endpoints/{module}" for module in subject.modules]),
        arguments=json.dumps(arguments),
        tests=json.dumps(subject.tests),
    )


def _mutmut(python: Path, tree: Path, *words: str) -> str:
    done = subprocess.run(
        ["nice", "-n", "19", str(python), "-m", "mutmut", *words],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"mutmut {words[0]} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def _survivors(python: Path, tree: Path) -> Iterator[str]:
    for line in _mutmut(python, tree, "results").splitlines():
        name, _, status = line.strip().rpartition(": ")
        if status in {"survived", "no tests"}:
            yield name


def _put(subject: Subject, row: str) -> None:
    """Replace the subject's row in the page's table, or add it."""
    place = DOCS / "reliability.md"
    before, mark, rest = place.read_text(encoding="utf-8").partition(SECTION[0])
    table, end, after = rest.partition(SECTION[1])
    if not mark or not end:
        sys.exit(f"{place} has no section for the scores.")
    lines = [line for line in table.splitlines() if not line.startswith(f"| {subject.named} ")]
    while lines and not lines[-1]:
        lines.pop()
    text = "\n".join([*lines, row])
    place.write_text(f"{before}{mark}{text}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
