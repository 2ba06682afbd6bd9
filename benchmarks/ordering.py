"""What the order of a run's rows is worth: the idle tail, and llama.cpp's prefix cache.

    .venv/bin/python -m benchmarks ordering

The same run in the order of the input and in ours, in turns; the tables have the medians. Tail: a
simulated endpoint with 32 slots, and the longest rows last in the input. Cache: the embedded
endpoint with two slots, rows about eight documents shuffled; llama.cpp counts the prompt tokens it
had to read.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import distilabel_endpoints
from benchmarks.endpoint import served
from benchmarks.tables import print_table, size
from benchmarks.turns import in_turns
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.local import LocalEndpoint
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.runs import local as runner
from distilabel_endpoints.runs import ordering

Order = Callable[[Iterable[Any]], Iterator[Any]]
ORDERS: dict[str, Order] = {"that of the input": iter, "ours": ordering.arranged}

ROUNDS = size(3, 1)
SLOTS = 32
SHORT, LONG, FEW = 20, 1000, 8
SECONDS_A_TOKEN = 0.02
SENTENCES = (
    "The ferry to {} leaves at {} in the morning and carries {} passengers.",
    "In the year {1} the library of {0} had {2} books, most of them about birds.",
    "{} lies {} metres above the sea, and {} people live there in winter.",
)


@contextmanager
def sent_in(order: Order) -> Iterator[None]:
    """Runs send their rows in this order."""
    usual = vars(runner)["arranged"]
    vars(runner)["arranged"] = order
    try:
        yield
    finally:
        vars(runner)["arranged"] = usual


def run(url: str, rows: list[dict[str, Any]], order: Order, **options: Any) -> float:
    """Seconds that a run over `rows` takes."""
    with tempfile.TemporaryDirectory() as folder, InferenceEndpointsLLM(base_url=url) as llm:
        started = time.monotonic()
        with sent_in(order):
            done = distilabel_endpoints.generate_dataset(
                llm, rows, Path(folder) / "out.jsonl", progress=open_progress("quiet"), **options
            )
        assert done.summary.ok == len(rows)
        return time.monotonic() - started


def tail() -> None:
    """Seconds of a run whose longest rows come last."""
    count = size(1_500, 100)
    lengths = [SHORT] * count + [LONG] * FEW
    rows = [
        {"prompt": f"Row {n}", "parameters": {"max_new_tokens": most}}
        for n, most in enumerate(lengths)
    ]
    flags = ["--slots", str(SLOTS), "--per-token", str(SECONDS_A_TOKEN), "--tokens", "100000"]
    busy = sum(lengths) * SECONDS_A_TOKEN / SLOTS

    def wall_of(order: Order) -> float:
        with served(*flags) as endpoint:
            return run(endpoint.url, rows, order)

    walls = in_turns("tail", ROUNDS, {name: partial(wall_of, ORDERS[name]) for name in ORDERS})
    middle = {name: median(taken) for name, taken in walls.items()}
    title = f"{count:,} rows of {SHORT} tokens, then {FEW} of {LONG}; {SLOTS} slots"
    print_table(
        f"{title}, median of {ROUNDS}",
        ("order", "wall s", "wall s, all slots busy", "idle"),
        [
            (name, f"{wall:.1f}", f"{busy:.1f}", f"{100 * (1 - busy / wall):.0f} %")
            for name, wall in middle.items()
        ],
    )


def documents(count: int, rng: random.Random) -> Iterator[str]:
    """Texts of some 300 tokens with nothing in common."""
    for _ in range(count):
        said = (
            rng.choice(SENTENCES).format(
                "".join(rng.choices("aeioubdgklmnrst", k=7)).title(),
                rng.randrange(5, 2000),
                rng.randrange(5, 2000),
            )
            for _ in range(12)
        )
        yield " ".join(said)


def read_tokens(url: str) -> int:
    """Prompt tokens that llama.cpp had to read so far; cached ones are not among them."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = re.search(r"^llamacpp:prompt_tokens_total (\S+)", text, re.MULTILINE)
    assert found
    return int(float(found[1]))


def cache() -> None:
    """Prompt tokens read for the same rows."""
    rng = random.Random(1)
    rows = [
        {"prompt": f"{text}\nQuestion {n}: which number in this text is the {n}th?"}
        for text in documents(size(8, 3), rng)
        for n in range(1, size(7, 3))
    ]
    rng.shuffle(rows)

    def read_and_wall(order: Order) -> tuple[int, float]:
        with LocalEndpoint(slots=2) as endpoint:
            url = endpoint.base_url.removesuffix("/v1")
            wall = run(url, rows, order, max_new_tokens=4)
            return read_tokens(url), wall

    works = {name: partial(read_and_wall, order) for name, order in ORDERS.items()}
    taken = in_turns("cache", ROUNDS, works)
    found = []
    for name, runs in taken.items():
        read, wall = (median(each) for each in zip(*runs, strict=True))
        found.append((name, f"{read:,.0f}", f"{wall:.1f}"))
    title = f"{len(rows)} rows about {size(8, 3)} documents, shuffled; llama.cpp, 2 slots"
    heads = ("order", "prompt tokens read", "wall s")
    print_table(f"{title}, median of {ROUNDS}", heads, found)


def main() -> None:
    tail()
    cache()


if __name__ == "__main__":
    main()
