"""P7: CPU per row of a run, over raw aiohttp's request and over the same run without a journal.

    .venv/bin/python -m benchmarks journal_cost

All send the same rows to an endpoint that answers at once, 64 in flight, each in a fresh process,
in turns:

- aiohttp: a request with aiohttp by hand, as `cost` has it; no file is read or written.
- off: rows read from the file, planned, sent, and each result made into its output record and
  written to a JSON Lines file as it comes. Nothing would survive a kill but what was written.
- on: the same loop, and each result also handed to a `Journal`, which stores it, checksummed and
  synced to disk in groups, as a run does; closed at the end.
- run: `generate_dataset`, which also looks through the input first and exports in input order.

The first target is what the whole of a durable, ordered, resumable run costs; the second, on over
off, is what the journal itself adds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.endpoint import served
from benchmarks.load import ROOT
from benchmarks.load import spend as spend_of_client
from benchmarks.spent import Load, Spent, Stopwatch, answer, read_answer, read_load
from benchmarks.tables import Bar, print_bars, print_table, size
from benchmarks.turns import in_turns
from distilabel_endpoints import InferenceEndpointsLLM, generate_dataset
from distilabel_endpoints._engine.bridge import iter_results
from distilabel_endpoints._engine.generations import RowPlan, answer_row
from distilabel_endpoints._store.journal import Journal
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.llms.outputs import output_of
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows import Row, open_rows
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.planning import RowPlanner

ROWS = size(10_000, 500)
ROUNDS = size(3, 1)
AT_ONCE = 64
RAW = "aiohttp"
WARM = 200


def _loop(llm: InferenceEndpointsLLM, folder: Path, *, journalled: bool) -> None:
    """A run's own loop over its rows, with or without the journal."""
    source = open_rows(str(folder / "rows.jsonl"))
    planner = RowPlanner(llm, source.columns, RunOptions())
    lease, hashes = engine_of(llm), dict[int, bytes]()

    def plans() -> Iterator[RowPlan]:
        for item in source.rows():
            assert isinstance(item, Row)
            hashes[item.ordinal] = item.content_hash
            yield planner.plan(item)

    async def work(plan: RowPlan) -> Result:
        return await answer_row(lease.scheduler, plan)

    with ExitStack() as stack:
        out = stack.enter_context((folder / "off.jsonl").open("w", encoding="utf-8"))
        journal = stack.enter_context(Journal(folder / "on.jsonl", {})) if journalled else None
        for result in iter_results(lease, plans(), work):
            content_hash = hashes.pop(result.ordinal)
            out.write(json.dumps({**output_of(result), "index": result.ordinal}) + "\n")
            if journal is not None:
                journal.append(result, content_hash)


def _off(llm: InferenceEndpointsLLM, folder: Path) -> None:
    _loop(llm, folder, journalled=False)


def _on(llm: InferenceEndpointsLLM, folder: Path) -> None:
    _loop(llm, folder, journalled=True)


def _run(llm: InferenceEndpointsLLM, folder: Path) -> None:
    rows, output = folder / "rows.jsonl", folder / "run.jsonl"
    generate_dataset(llm, rows, output, progress=open_progress("quiet"))


WAYS: dict[str, Callable[[InferenceEndpointsLLM, Path], None]] = {
    "off": _off,
    "on": _on,
    "run": _run,
}


def spend_here(way: str, load: Load) -> Spent:
    """Do it in this process."""
    with (
        InferenceEndpointsLLM(base_url=load.url, max_concurrency=load.at_once) as llm,
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name)
        for count, place in ((load.warm, folder / "warm"), (load.rows, folder / "rows")):
            place.mkdir()
            with (place / "rows.jsonl").open("w", encoding="utf-8") as file:
                for n in range(count):
                    file.write(json.dumps({"id": n, "prompt": f"Question {n}?"}) + "\n")
        WAYS[way](llm, folder / "warm")
        with Stopwatch() as watch:
            WAYS[way](llm, folder / "rows")
        return watch.spent()


def spend(way: str) -> float:
    """CPU milliseconds a row, in a fresh process."""
    with served() as endpoint:
        load = Load(url=endpoint.url, rows=ROWS, at_once=AT_ONCE, warm=WARM)
        if way == RAW:
            return 1000 * spend_of_client(RAW, load).cpu / ROWS
        words = [sys.executable, "-m", "benchmarks.journal_cost", way, *load.words]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return 1000 * read_answer(done.stdout).cpu / ROWS


def main() -> None:
    """Print the table and the target."""
    taken = in_turns("journal_cost", ROUNDS, {way: partial(spend, way) for way in (RAW, *WAYS)})
    middle = {way: median(costs) for way, costs in taken.items()}
    raw, off = middle[RAW], middle["off"]
    rows = [
        (way, f"{cost:.3f}", f"{cost / raw:.2f}", "" if way == RAW else f"{cost / off:.2f}")
        for way, cost in middle.items()
    ]
    title = f"CPU per row, {ROWS:,} rows, {AT_ONCE} in flight, median of {ROUNDS}"
    print_table(title, ("journal", "CPU ms/row", "over aiohttp", "over off"), rows)
    print_bars(
        Bar("P7", "a whole run over raw aiohttp's request", middle["run"] / raw, 3.5),
        Bar("P7", "journal on over journal off", middle["on"] / off, 1.15),
    )


if __name__ == "__main__":
    answer(spend_here(sys.argv[1], read_load(sys.argv[2:])))
