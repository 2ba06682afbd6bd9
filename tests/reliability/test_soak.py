"""Hours of runs against an endpoint with faults: what the process holds does not grow.

`SOAK_SECONDS` shortens or lengthens the soak of `make prove`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from command import environment

SCRIPT = Path(__file__).with_name("soak.py")
SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
MEBIBYTE = 1024 * 1024


def soak(folder: Path, seconds: float, rows: int) -> list[dict[str, Any]]:
    """What a process held after each of its rounds."""
    serving = subprocess.Popen(
        [sys.executable, str(SCRIPT), "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert serving.stdout is not None
    with serving:
        url = json.loads(serving.stdout.readline())["url"]
        words = ["run", url, str(folder), str(seconds), str(rows)]
        done = subprocess.run(
            [sys.executable, "-W", "error", str(SCRIPT), *words],
            check=False,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=seconds + 300,
        )
        assert serving.stdin is not None
        serving.stdin.close()
        assert serving.wait(timeout=30) == 0
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_flat(rounds: list[dict[str, Any]], *, memory: float) -> None:
    """Nothing grows once it is warm: the last quarter against the second."""
    quarter = len(rounds) // 4
    warm, last = rounds[quarter : 2 * quarter], rounds[-quarter:]
    for name in ("files", "threads", "tasks"):
        # Connections come and go with the limit; a leak goes with the rounds.
        assert median(r[name] for r in last) <= median(r[name] for r in warm) * 1.1 + 4, name
    grown = median(r["memory"] for r in last) - median(r["memory"] for r in warm)
    assert grown <= memory * MEBIBYTE
    objects = median(r["objects"] for r in last) - median(r["objects"] for r in warm)
    assert objects <= 0.05 * warm[0]["objects"]


@pytest.mark.promise("R10")
def test_a_short_soak(tmp_path: Path) -> None:
    """A few rounds with every fault leave no file, thread or task behind."""
    rounds = soak(tmp_path, 0.0, rows=24)
    assert sum(r["failed"] for r in rounds) < sum(r["ok"] for r in rounds) / 20
    check_flat(rounds, memory=20)


@pytest.mark.prove
@pytest.mark.promise("R9")
@pytest.mark.promise("R10")
@pytest.mark.timeout(SECONDS + 600)
def test_a_long_soak(tmp_path: Path) -> None:
    """An hour of it: memory, files, threads and tasks are flat."""
    rounds = soak(tmp_path, SECONDS, rows=400)
    (tmp_path / "rounds.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rounds))
    assert sum(r["failed"] for r in rounds) < sum(r["ok"] for r in rounds) / 20
    check_flat(rounds, memory=20)
