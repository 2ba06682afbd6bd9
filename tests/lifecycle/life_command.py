"""The real command line in a process of its own, with the simulated endpoint as Hugging Face."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil
from command import Started, ended, started
from lifecycle_samples import KEY

from distilabel_endpoints.testing import SimulatedEndpoint

PROGRAM = """
import importlib, json, sys
for name, address in json.loads(sys.argv.pop(1)).items():
    owner, _, attribute = name.rpartition(".")
    try:
        holder = importlib.import_module(owner)
    except ImportError:
        module, _, inner = owner.rpartition(".")
        holder = getattr(importlib.import_module(module), inner)
    setattr(holder, attribute, address)
from distilabel_endpoints.cli import main
main()
"""


def environment(state: Path) -> dict[str, str]:
    """A token, a place for state, and nothing of the machine's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "DISTILABEL_ENDPOINTS_", "XDG_"))
    }
    return {
        **kept,
        "HF_TOKEN": KEY,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "XDG_STATE_HOME": str(state),
    }


def start(endpoint: SimulatedEndpoint, state: Path, *words: object) -> Started:
    """Start a command; its standard output and error are pipes."""
    addresses = json.dumps(dict(endpoint.hugging_face_addresses))
    return started([addresses, *map(str, words)], environment(state), PROGRAM)


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
