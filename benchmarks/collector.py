"""What Python's garbage collector takes of a run at 512 slots: the limit of P2.

    .venv/bin/python -m benchmarks collector

The same run of `InferenceEndpointsLLM.generate` with `max_concurrency=512` in three ways: with the
collector as it comes, with everything that was there before frozen (`gc.freeze()`), and without it;
in turns, several times over, and the table has the medians. Each full collection stops the client
for as long as the table says, and every slot that falls free meanwhile waits.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from benchmarks.efficiency import QUEUE_512, ROUNDS
from benchmarks.endpoint import served
from benchmarks.load import conversation
from benchmarks.tables import print_table, size
from benchmarks.turns import in_turns

__all__ = ["main"]

ROWS = size(30_000, 1_000)
MODES = {"as it comes": "", "`gc.freeze()` before": "freeze", "`gc.disable()`": "disable"}
HEADS = ("collector", "wall s", "efficiency", "full collections", "seconds in them")


@dataclass(slots=True)
class Pauses:
    """Full collections, counted by `gc.callbacks`."""

    count: int = 0
    seconds: float = 0.0
    _since: float = 0.0

    def __call__(self, phase: str, what: dict[str, Any]) -> None:
        if what["generation"] < 2:
            return
        if phase == "start":
            self._since = time.perf_counter()
        else:
            self.count += 1
            self.seconds += time.perf_counter() - self._since


def run(url: str, mode: str) -> None:
    """In a process of its own; prints the wall time, and what was collected."""
    from distilabel_endpoints import InferenceEndpointsLLM

    with InferenceEndpointsLLM(base_url=url, max_concurrency=QUEUE_512.slots) as llm:
        llm.generate([conversation(0)])
        gc.collect()
        if mode == "freeze":
            gc.freeze()
        elif mode == "disable":
            gc.disable()
        pauses = Pauses()
        gc.callbacks.append(pauses)
        started = time.perf_counter()
        llm.generate([conversation(n) for n in range(ROWS)])
        wall = time.perf_counter() - started
        gc.callbacks.remove(pauses)
    print(wall, pauses.count, pauses.seconds)


def measure(mode: str) -> tuple[float, float, float, float]:
    """Wall seconds, efficiency, full collections and the seconds they took."""
    with served(*QUEUE_512.flags) as endpoint:
        words = [sys.executable, "-m", "benchmarks.collector", endpoint.url, mode]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    wall, count, seconds = (float(word) for word in done.stdout.split())
    return wall, endpoint.bound(QUEUE_512.slots) / wall, count, seconds


def main() -> None:
    """Print the table."""
    works = {named: partial(measure, mode) for named, mode in MODES.items()}
    taken = in_turns("collector", ROUNDS, works)
    rows = []
    for named, runs in taken.items():
        wall, share, count, seconds = (median(each) for each in zip(*runs, strict=True))
        rows.append((named, f"{wall:.1f}", f"{share:.3f}", f"{count:.0f}", f"{seconds:.1f}"))
    print_table(f"{ROWS:,} rows, max_concurrency=512, median of {ROUNDS}", HEADS, rows)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
