"""Inside distilabel's pipelines: our class beside upstream's, and which batches to take.

    .venv/bin/python -m benchmarks pipelines

Each pipeline is real (`pipeline_program.py`) and runs in an environment with upstream; the clock
runs from the first request that comes to the endpoint to the end of the last answer, so that what
a pipeline takes to start is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import python_of
from benchmarks.tables import note, print_table, size
from benchmarks.turns import in_turns
from distilabel_endpoints.testing import (
    Fault,
    Latency,
    Limits,
    Respond,
    SimulatedEndpoint,
    greedy_bound,
)

PROGRAM = Path(__file__).with_name("pipeline_program.py")
CLASSES = {"ours": "distilabel_endpoints.pipeline", "upstream's": "distilabel.models"}
ROWS, ROUNDS = size(300, 40), size(3, 1)
BATCH_ROWS, SLOTS = size(2000, 64), 64
BATCHES = size((50, 100, 250, 500, 1000, 2000), (32, 64))
ENDPOINTS: dict[str, dict[str, Any]] = {
    "queues": {},
    "answers 503 to every tenth request": {"faults": (Fault(Respond(503), chance=0.1),)},
    "refuses more than 32 at once": {"limits": Limits(queue=16)},
    "does both": {"limits": Limits(queue=16), "faults": (Fault(Respond(503), chance=0.1),)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One run of a pipeline."""

    missing: int
    """Rows without an answer."""
    seconds: float
    bound: float
    """What greedy scheduling of the same latencies takes."""


def ran(module: str, rows: int, batch: int, *, replicas: int = 1, **told: Any) -> Ran:
    """Run the program against an endpoint of its own."""
    with SimulatedEndpoint(flavor="tgi", latency=Latency(0.25, sigma=0.8), **told) as endpoint:
        words = [module, endpoint.url, str(rows), str(batch), str(replicas)]
        done = subprocess.run(
            [str(python_of("pipelines")), "-W", "ignore", str(PROGRAM), *words],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "DISTILABEL_LOG_LEVEL": "CRITICAL", "PYTHONPATH": ""},
        )
        records = endpoint.generations
        seconds = max(r.end or 0.0 for r in records) - min(r.arrival for r in records)
        bound = greedy_bound(endpoint.latencies, told["slots"])
    missing = json.loads(done.stdout.splitlines()[-1])["missing"]
    return Ran(missing=missing, seconds=seconds, bound=bound)


def show_losses() -> None:
    """The same rows over the same endpoint, with either class."""
    contenders = {
        (kind, name): lambda kind=kind, module=module: ran(
            module, ROWS, 50, slots=16, **ENDPOINTS[kind]
        )
        for kind in ENDPOINTS
        for name, module in CLASSES.items()
    }
    taken = in_turns("pipelines", ROUNDS, contenders)
    cells = []
    for kind in ENDPOINTS:
        row = [kind]
        for name in CLASSES:
            runs = taken[kind, name]
            row += [
                f"{median(run.missing for run in runs):.0f}",
                f"{median(run.seconds for run in runs):.1f}",
            ]
        cells.append(row)
    heads = ["endpoint with 16 slots"]
    heads += [f"{name}: {what}" for name in CLASSES for what in ("rows without answer", "seconds")]
    print_table(f"{ROWS} rows in batches of 50, medians of {ROUNDS}", heads, cells)


def show_batches() -> None:
    """How long a batch should be, for an endpoint that works at `SLOTS` requests at once."""
    cells = []
    for batch, replicas in [(batch, 1) for batch in BATCHES] + [(BATCHES[len(BATCHES) // 2], 2)]:
        run = ran(CLASSES["ours"], BATCH_ROWS, batch, replicas=replicas, slots=SLOTS)
        note(f"pipelines: batches of {batch}, {replicas} replicas")
        shown = f"{batch:,}" + (f", {replicas} replicas" if replicas > 1 else "")
        cells.append(
            (
                shown,
                f"{batch / SLOTS:.1f}",
                f"{run.seconds:.1f}",
                f"{run.bound / run.seconds:.2f}",
                f"{run.missing}",
            )
        )
    print_table(
        f"{BATCH_ROWS:,} rows, {SLOTS} slots, our class",
        ("`input_batch_size`", "times the slots", "seconds", "efficiency", "rows without answer"),
        cells,
    )


def main() -> None:
    """Both tables."""
    show_losses()
    show_batches()
