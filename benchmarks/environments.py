"""Environments of their own for what is measured beside us and cannot be installed beside us.

They lie in `.bench-envs/`, which git ignores; each is made once, and made anew when what it holds
is changed here. `python_of` gives the interpreter to start a worker script with.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

__all__ = ["PACKAGES", "python_of"]

ROOT: Final = Path(__file__).parents[1] / ".bench-envs"

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
    "uvloop": ("uvloop==0.23.0",),
    "mutation": ("mutmut==3.8.1",),
}
"""What each environment holds, as pip takes it."""

SEES_OURS: Final = frozenset({"mutation", "uvloop"})
"""Environments in which the packages of this one can be imported too, after their own."""


def python_of(name: str) -> Path:
    """The interpreter of an environment of `PACKAGES`; making it takes about a minute.

    Raises:
        KeyError: there is no such environment.
        subprocess.CalledProcessError: it could not be installed; pip has said why.
    """
    folder, packages = ROOT / name, PACKAGES[name]
    python, mark = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(packages)
    if mark.is_file() and mark.read_text() == wanted:
        return python
    print(f"making {folder} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, *packages], check=True)
    if name in SEES_OURS:
        ours = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
        own = next((folder / "lib").glob("python*/site-packages"))
        (own / "ours.pth").write_text(ours)
    mark.write_text(wanted)
    return python
