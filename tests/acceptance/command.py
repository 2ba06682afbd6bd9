"""The real command line in a process of its own.

On Linux the process is a fork of one that has imported the command: see `fork_server.py`.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fork_server import Command, ForkServer

from distilabel_endpoints.testing import SimulatedEndpoint

Started = Command | subprocess.Popen[str]

AT_SIMULATED_HUGGING_FACE = """
import importlib, json, os
for name, address in json.loads(os.environ["SIMULATED_ADDRESSES"]).items():
    owner, _, attribute = name.rpartition(".")
    try:
        holder = importlib.import_module(owner)
    except ImportError:
        module, _, inner = owner.rpartition(".")
        holder = getattr(importlib.import_module(module), inner)
    setattr(holder, attribute, address)
"""
"""A program's beginning: Hugging Face is where `addresses_of` says from now on."""
MAIN = "from distilabel_endpoints.cli import main\nmain()\n"


def write_rows(path: Path, count: int) -> Path:
    """A file of `count` short conversations, each different."""
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            row = {"id": f"row-{n}", "messages": [{"role": "user", "content": f"Question {n}?"}]}
            file.write(json.dumps(row) + "\n")
    return path


def arguments(*words: object) -> list[str]:
    """The words of a command, for this interpreter."""
    return [sys.executable, "-W", "error", "-m", "distilabel_endpoints", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    """The environment without tokens or settings of the machine's own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "DISTILABEL_ENDPOINTS_", "OPENAI_"))
    }
    return {**kept, "HF_HUB_DISABLE_TELEMETRY": "1", **more}


def addresses_of(endpoint: SimulatedEndpoint) -> dict[str, str]:
    """The variable that names a simulated endpoint's addresses to `AT_SIMULATED_HUGGING_FACE`."""
    return {"SIMULATED_ADDRESSES": json.dumps(dict(endpoint.hugging_face_addresses))}


def start(*words: object, **more: str) -> Started:
    """Start a command; its standard output and error are pipes."""
    return started(list(map(str, words)), environment(**more))


def run(*words: object, stdin: str | None = None, **more: str) -> Any:
    """Run a command to its end; gives back returncode, stdout and stderr."""
    variables = environment(**more)
    with started(list(map(str, words)), variables, feed=stdin is not None) as process:
        return ended(process, stdin)


def run_code(code: str, *words: object, **more: str) -> Any:
    """Run a program to its end; gives back returncode, stdout and stderr."""
    with started(list(map(str, words)), environment(**more), code) as process:
        return ended(process)


def started(
    words: Sequence[str],
    variables: dict[str, str],
    code: str = "",
    *,
    feed: bool = False,
    closed: str = "",
) -> Started:
    """Start a command, or a program that is `code`: as a fork if that can be, else anew.

    With `feed` its standard input is a pipe; `closed` are streams closed as in a shell: "<&- >&-".
    """
    server = _fork_server() if sys.platform == "linux" else None
    if server and server.forks(words, variables):
        return server.start(words, variables, code, feed=feed, closed=closed)
    anew = [sys.executable, "-W", "error", "-c", code, *words] if code else arguments(*words)
    if closed:
        anew = ["bash", "-c", f'exec "$@" {closed}', "bash", *anew]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        anew, stdin=pipe if feed else None, stdout=pipe, stderr=pipe, text=True, env=variables
    )


def ended(process: Started, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """What became of a command, at its end."""
    try:
        out, err = process.communicate(stdin, timeout=100)
    except BaseException:
        process.kill()
        raise
    assert process.returncode is not None
    return subprocess.CompletedProcess((), process.returncode, out, err)


@functools.cache
def _fork_server() -> ForkServer:
    return ForkServer(environment())


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ids_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Their ids, in order."""
    return [row["id"] for row in rows]
