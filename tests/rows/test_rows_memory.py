"""Memory does not grow with the number of rows, for any way in and out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
from distilabel_endpoints.records import Completion, Result
from distilabel_endpoints.rows import OutputColumns, open_rows, open_writer

folder, inward, outward = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
columns = OutputColumns("model")

def result(ordinal):
    return Result(ordinal=ordinal, completions=(Completion(text="x" * 200),), failures=(None,))

def pass_through(count):
    source = folder / f"{count}.jsonl"
    with source.open("w") as file:
        for n in range(count):
            messages = [{"role": "user", "content": f"question {n} " * 300}]
            file.write(json.dumps({"messages": messages, "n": n}) + "\\n")
    for suffix in (inward, outward):
        rows = open_rows(source)
        target = folder / f"{count}-{suffix}"
        prefix = OutputColumns("model", prefix="second_" if suffix == outward else "")
        with open_writer(target, prefix, rows) as writer:
            for row in rows:
                writer.write(row, result(row.ordinal))
        source = target
    assert sum(1 for _ in open_rows(source)) == count

def peak():
    # Not ru_maxrss: a child starts with what its parent, the test process, has used.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024

pass_through(int(sys.argv[4]))
before = peak()
pass_through(int(sys.argv[5]))
print(before, peak())
"""


WAYS = [
    ("a.jsonl", "b.jsonl.gz"),
    ("a.jsonl", "b.parquet"),
    ("a.parquet", "b.parquet"),
    ("a.csv", "b.csv"),
]


def check(folder: Path, way: tuple[str, str], few: int, many: int) -> None:
    """Run the way with few rows, then with many, and compare the peaks."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), *way, str(few), str(many)],
        check=True,
        capture_output=True,
        text=True,
    )
    before, after = map(int, run.stdout.split())
    # Holding the rows would take several hundred megabytes more.
    assert after < before + 60, run.stdout
    assert after < 300, run.stdout


@pytest.mark.promise("R9")
@pytest.mark.parametrize("way", WAYS[1:2])
def test_memory_is_bounded(tmp_path: Path, way: tuple[str, str]) -> None:
    """Four times the rows take no more memory, and little of it: the way with most to hold."""
    check(tmp_path, way, 4_000, 16_000)


@pytest.mark.promise("R9")
@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
def test_memory_is_bounded_for_many_rows(tmp_path: Path, way: tuple[str, str]) -> None:
    """Ten times the rows take no more memory, whatever the formats."""
    check(tmp_path, way, 8_000, 80_000)
