"""The real command line in a process of its own, with the simulated endpoint as Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
from command import (
    AT_SIMULATED_HUGGING_FACE,
    MAIN,
    Started,
    addresses_of,
    ended,
    environment,
    started,
)
from lifecycle_samples import KEY

from distilabel_endpoints.testing import SimulatedEndpoint


def start(endpoint: SimulatedEndpoint, state: Path, *words: object) -> Started:
    """Start a command with a token; its standard output and error are pipes."""
    variables = environment(HF_TOKEN=KEY, XDG_STATE_HOME=str(state), **addresses_of(endpoint))
    return started(list(map(str, words)), variables, AT_SIMULATED_HUGGING_FACE + MAIN)


def run(endpoint: SimulatedEndpoint, state: Path, *words: object) -> Any:
    """Run a command to its end; gives back returncode, stdout and stderr."""
    with start(endpoint, state, *words) as process:
        return ended(process)


def watchdogs(state: Path) -> list[psutil.Process]:
    """Those of runs with this folder of state that are alive."""
    return [
        one
        for one in psutil.process_iter(["cmdline", "environ"])
        if "distilabel_endpoints.lifecycle.watchdog" in (one.info["cmdline"] or [])
        and (one.info["environ"] or {}).get("XDG_STATE_HOME") == str(state)
    ]


def rows(path: Path, count: int) -> Path:
    """A file of so many prompts."""
    path.write_text("".join(f'{{"prompt": "Question {n}?"}}\n' for n in range(count)))
    return path
