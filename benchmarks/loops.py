"""Whether uvloop would pay as the engine's loop: whole runs through the command line, in turns.

    .venv/bin/python -m benchmarks loops

Both run with one interpreter, of an environment that has uvloop beside what this one has. The
engine takes asyncio's own loop whatever is installed, so uvloop is put under it here.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.endpoint import served
from benchmarks.environments import python_of
from benchmarks.rows import line
from benchmarks.tables import print_table, size
from benchmarks.turns import in_turns

ROUNDS = size(4, 1)
LOOPS = ("asyncio", "uvloop")
ROWS = {64: size(4_000, 200), 512: size(30_000, 600)}
"""By slots: about half a minute each."""
WORKER = """
import json, resource, sys, time
from distilabel_endpoints._engine import loop
if sys.argv.pop(1) == "uvloop":
    import uvloop
    loop.Engine.__init__.__defaults__ = (uvloop.new_event_loop,)
from distilabel_endpoints.cli import main
started = time.monotonic()
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([time.monotonic() - started, used.ru_utime + used.ru_stime]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one run came to."""

    wall: float
    efficiency: float
    cpu_ms: float
    """A row, start and imports included."""


def measure(name: str, slots: int, folder: Path) -> Found:
    """One run of a file into another."""
    rows, output = folder / f"{slots}.jsonl", folder / "out.jsonl"
    rows.write_bytes(b"".join(line(n) + b"\n" for n in range(ROWS[slots])))
    mean = str(size(0.5, 0.05))
    with served("--slots", str(slots), "--latency", mean, "--sigma", "0.8") as endpoint:
        words = ["generate", str(rows), "-o", str(output), "--fresh", "--quiet"]
        words += ["--base-url", endpoint.url, "--max-concurrency", str(slots)]
        command = [str(python_of("uvloop")), "-c", WORKER, name, *words]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        wall, cpu = json.loads(done.stdout.splitlines()[-1])
    return Found(
        wall=wall,
        efficiency=endpoint.bound(slots) / wall,
        cpu_ms=1000 * cpu / ROWS[slots],
    )


def main() -> None:
    """Print a table for each number of slots."""
    python_of("uvloop")
    heads = ("loop", "rows", "wall s", "efficiency", "CPU ms/row")
    with tempfile.TemporaryDirectory() as folder:
        for slots, count in ROWS.items():
            works = {name: partial(measure, name, slots, Path(folder)) for name in LOOPS}
            taken = in_turns(f"{slots} slots", ROUNDS, works)
            rows = [
                (
                    name,
                    f"{count:,}",
                    f"{median(one.wall for one in found):.1f}",
                    f"{median(one.efficiency for one in found):.3f}",
                    f"{median(one.cpu_ms for one in found):.2f}",
                )
                for name, found in taken.items()
            ]
            print_table(f"{slots} slots, queueing, median of {ROUNDS}", heads, rows)


if __name__ == "__main__":
    main()
