"""CPU of the progress display: a run shown on a terminal over the same run with `--quiet`.

    .venv/bin/python -m benchmarks display

The command line in a pseudo-terminal, 64 slots, answers of about a second. What the display takes
goes with time and not with rows, so it is shown as a share of one core.
"""

from __future__ import annotations

import json
import os
import pty
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.endpoint import served
from benchmarks.tables import print_table, size
from benchmarks.turns import in_turns

ROWS = size(1_500, 60)
MEAN = size(1.0, 0.2)
ROUNDS = size(3, 1)
WAYS: dict[str, tuple[str, ...]] = {
    "--quiet": ("--quiet",),
    "--json": ("--json",),
    "display on a terminal": (),
}


def command(folder: Path, url: str) -> list[str]:
    """A run of all rows."""
    rows = folder / "rows.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for n in range(ROWS):
            file.write(json.dumps({"prompt": f"Question {n}?"}) + "\n")
    words = [sys.executable, "-m", "distilabel_endpoints", "generate", str(rows), "--fresh"]
    return [*words, "-o", str(folder / "out.jsonl"), "--base-url", url]


def on_terminal(words: list[str]) -> tuple[float, float, int]:
    """Wall and CPU seconds of a command on a terminal of its own, and bytes it wrote there."""
    started = time.monotonic()
    master, slave = pty.openpty()
    surroundings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    moves = [(os.POSIX_SPAWN_DUP2, slave, number) for number in (0, 1, 2)]
    child = os.posix_spawn(words[0], words, surroundings, file_actions=moves)
    os.close(slave)
    written = 0

    def read() -> None:
        nonlocal written
        while chunk := _read(master):
            written += len(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    _, status, used = os.wait4(child, 0)
    reader.join()
    os.close(master)
    assert os.waitstatus_to_exitcode(status) == 0, words
    return time.monotonic() - started, used.ru_utime + used.ru_stime, written


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says that the other end is closed in this way
        return b""


def measure(way: str) -> tuple[float, float, int]:
    """One run."""
    latency = ("--slots", "64", "--latency", str(MEAN), "--sigma", "0.8")
    with tempfile.TemporaryDirectory() as folder, served(*latency) as endpoint:
        return on_terminal([*command(Path(folder), endpoint.url), *WAYS[way]])


def main() -> None:
    """Print the table."""
    taken = in_turns("display", ROUNDS, {way: partial(measure, way) for way in WAYS})
    middle = {
        way: tuple(median(figures) for figures in zip(*runs, strict=True))
        for way, runs in taken.items()
    }
    quiet = middle["--quiet"][1]
    rows = [
        (
            way,
            f"{wall:.1f}",
            f"{cpu:.2f}",
            f"{100 * (cpu - quiet) / wall:.1f} %",
            f"{written / wall:,.0f}",
        )
        for way, (wall, cpu, written) in middle.items()
    ]
    heads = ("output", "wall s", "CPU s", "of a core, over --quiet", "bytes/s")
    print_table(f"{ROWS:,} rows, 64 slots, median of {ROUNDS}", heads, rows)


if __name__ == "__main__":
    main()
