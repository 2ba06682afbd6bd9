"""The memory of a whole run does not grow with its rows: read, sent, committed, exported.

`PROVE_ROWS` shortens or lengthens the run of `make prove`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from command import Started, environment, start

MEBIBYTE = 1024 * 1024
PROVE_ROWS = int(os.environ.get("PROVE_ROWS", "1000000"))


def memory_of_run(folder: Path, count: int, warm: int) -> tuple[int, int]:
    """Bytes that a run of `count` rows holds after `warm` of them, and at most after that."""
    rows = folder / "rows.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        file.writelines(f'{{"id": {n}, "prompt": "Question {n}?"}}\n' for n in range(count))
    serving = subprocess.Popen(
        [sys.executable, "-m", "distilabel_endpoints.testing"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert serving.stdout is not None
        url = json.loads(serving.stdout.readline())["url"]
        words = ["generate", rows, "-o", folder / "out.jsonl", "--base-url", url, "--json"]
        process = start(*words, "--max-concurrency", "32", "--max-new-tokens", "4")
        at_first, most = watch(process, warm)
        _, said = process.communicate(timeout=60)
    finally:
        serving.terminate()
        serving.communicate()
    assert process.returncode == 0, said
    with (folder / "out.jsonl").open(encoding="utf-8") as file:
        assert sum(1 for _ in file) == count
    assert at_first
    return at_first, most


def watch(process: Started, warm: int) -> tuple[int, int]:
    """Bytes held after `warm` rows, and at most after that, until the run has ended."""
    assert process.stdout is not None
    holds = psutil.Process(process.pid)
    at_first, most = 0, 0
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["ok"] >= warm:
            held = holds.memory_info().rss
            at_first, most = at_first or held, max(most, held)
    return at_first, most


@pytest.mark.promise("R9")
def test_a_run_holds_the_same_throughout(tmp_path: Path) -> None:
    """From the 1,000th row to the end of 4,000: less than 20 MB more."""
    warm, most = memory_of_run(tmp_path, 4_000, warm=1_000)
    assert most - warm < 20 * MEBIBYTE


@pytest.mark.prove
@pytest.mark.promise("R9")
@pytest.mark.timeout(7200)
def test_a_million_rows_hold_no_more(tmp_path: Path) -> None:
    """From the 10,000th row to the millionth: less than 8 MB more, a tenth."""
    warm, most = memory_of_run(tmp_path, PROVE_ROWS, warm=10_000)
    assert most - warm < 8 * MEBIBYTE
