"""Ray actors: rows per second, and what a row costs, with one, two and four of them.

    .venv/bin/python -m benchmarks ray_actors
    BENCH_RAY_ROWS=4000 .venv/bin/python -m benchmarks ray_actors

The endpoint answers at once and has a process of its own; it, Ray and the actors share this
machine's cores. Starting Ray and its actors is not counted: the clock runs from the first block
that comes back to the last.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.endpoint import served
from benchmarks.tables import note, print_table, size
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.ray import generate_ray

ROWS = int(os.environ.get("BENCH_RAY_ROWS", size("20000", "1000")))
ACTORS = (1, 2, 4)
ROWS_PER_BLOCK = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One execution, from its first block to its last."""

    actors: int
    rows: int
    wall: float
    cpu: float
    """CPU seconds of the actors alone."""

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        per_row = 1e3 * self.cpu / self.rows
        return (str(self.actors), f"{self.rows / self.wall:,.0f}", f"{per_row:.2f}")


def cpu_of_actors() -> float:
    """CPU seconds that the actors which run now have used."""
    used = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if "GenerateRows" in " ".join(process.cmdline()):
                times = process.cpu_times()
                used += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return used


def measured(ray: Any, actors: int) -> Found:
    """All rows, through so many actors."""
    with served("--flavor", "vllm") as endpoint:
        llm = InferenceEndpointsLLM(base_url=endpoint.url)
        rows = [{"prompt": f"Question {n}?"} for n in range(ROWS)]
        ds = ray.data.from_items(rows, override_num_blocks=max(1, ROWS // 5000))
        ds = generate_ray(llm, ds, actors=actors, rows_per_block=ROWS_PER_BLOCK, max_new_tokens=16)
        first, cpu_before, cpu, seen, last = 0.0, 0.0, 0.0, 0, 0.0
        for batch in ds.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            last = time.monotonic()
            if not first:
                first, cpu_before = last, cpu_of_actors()
            else:
                seen += batch.num_rows
                cpu = max(cpu, cpu_of_actors())
    return Found(actors=actors, rows=seen, wall=last - first, cpu=cpu - cpu_before)


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    warnings.filterwarnings("ignore")
    import ray
    import ray.data

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    found = []
    for actors in ACTORS:
        note(f"{actors} actors")
        found.append(measured(ray, actors))
    ray.shutdown()
    print_table(
        f"{ROWS:,} rows in blocks of {ROWS_PER_BLOCK}, an endpoint that answers at once, "
        f"{os.cpu_count()} cores",
        ("actors", "rows/s", "actors' CPU ms/row"),
        [one.cells for one in found],
    )


if __name__ == "__main__":
    main()
