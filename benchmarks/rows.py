"""P8 and P9: one run of very many rows through the command line, then the same command again.

    .venv/bin/python -m benchmarks rows            # 10,000 and 1,000,000 rows
    BENCH_ROWS=10000,100000 .venv/bin/python -m benchmarks rows

The endpoint answers at once, so this is the cost of the machinery: rows per second, peak memory,
the size of the journal, and how long it takes to see that nothing is left to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.endpoint import print_table, served

ROWS = tuple(int(count) for count in os.environ.get("BENCH_ROWS", "10000,1000000").split(","))
PEAK = "import re, sys; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"


def timed(words: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a command."""
    code = (
        "import sys\n"
        f"sys.argv = {['distilabel', *words]!r}\n"
        "from distilabel.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"{PEAK}\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    return time.monotonic() - started, int(done.stdout.split()[-1]) / 1024


def measure(count: int, folder: Path) -> tuple[str, ...]:
    rows, output = folder / f"{count}.jsonl", folder / f"{count}-out.jsonl"
    with rows.open("w") as file:
        for n in range(count):
            file.write(f'{{"id": {n}, "prompt": "Question {n}?"}}\n')
    with served("--tokens", "8") as endpoint:
        words = ["generate", str(rows), "-o", str(output), "--base-url", endpoint.url]
        words += ["--max-concurrency", "64", "--quiet"]
        wall, peak = timed(words)
        again, peak_again = timed(words)
    journal = output.with_name(f"{output.name}.journal").stat().st_size
    return (
        f"{count:,}",
        f"{wall:.1f}",
        f"{count / wall:,.0f}",
        f"{peak:.0f}",
        f"{journal / 2**20:.1f}",
        f"{again:.1f}",
        f"{peak_again:.0f}",
    )


def main() -> None:
    heads = ("rows", "wall s", "rows/s", "peak MB", "journal MB", "resume s", "resume peak MB")
    with tempfile.TemporaryDirectory() as folder:
        print_table(
            "one run, zero latency, 64 in flight",
            heads,
            [measure(count, Path(folder)) for count in ROWS],
        )


if __name__ == "__main__":
    main()
