"""The real command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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


def start(*words: object, **more: str) -> subprocess.Popen[str]:
    """Start a command; its streams are pipes."""
    return subprocess.Popen(
        arguments(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def run(*words: object, stdin: str | None = None, **more: str) -> Any:
    """Run a command to its end; gives back returncode, stdout and stderr."""
    return subprocess.run(
        arguments(*words),
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        env=environment(**more),
        timeout=100,
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ids_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Their ids, in order."""
    return [row["id"] for row in rows]
