"""The real command line on the real model, killed and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
from command import ids_of, rows_of, run, start, write_rows

ROWS = 16
FLAGS = ("--local", "--max-new-tokens", "6", "--temperature", "0", "--json")


def kill_at(rows: int, words: list[object]) -> bool:
    """Kill a run once so many rows are said to be done; whether it had not ended before."""
    process = start(*words)
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "finished":
            break
        if event.get("ok", -1) >= rows:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.communicate()
            _, alive = psutil.wait_procs(children, timeout=10)
            assert not alive
            return True
    process.communicate()
    return False


@pytest.mark.promise("R1")
def test_killed_on_the_real_model(tmp_path: Path) -> None:
    """At the start and in the middle: every row once, and llama.cpp does not outlive its run."""
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    output = tmp_path / "out.jsonl"
    words: list[object] = ["generate", rows, "-o", output, *FLAGS]
    assert kill_at(0, words)
    kill_at(3, words)
    done = run(*words)
    assert done.returncode == 0, done.stderr
    written = rows_of(output)
    assert ids_of(written) == [f"row-{n}" for n in range(ROWS)]
    assert all(row["generation"] and not row["error"] for row in written)
    kept = json.loads(done.stdout.splitlines()[-1])
    assert kept["ok"] == ROWS
