"""Where the CPU of a request goes: shares of the engine's thread, by whose code runs.

    .venv/bin/python -m benchmarks layers

`generate` over an endpoint that answers at once, 64 in flight, under cProfile. What runs in C
counts for the Python code that called it. A profiler makes many short calls look dearer than they
are: the shares tell where to look, `cost` tells what a change brings.
"""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from pathlib import PurePath
from typing import Any

from benchmarks.endpoint import served
from benchmarks.load import conversation
from benchmarks.tables import print_table, size
from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints._engine.loop import Task

ROWS = size(3_000, 300)
AT_ONCE = 64
LAYERS = {
    "aiohttp": "aiohttp and what it is built on",
    "yarl": "aiohttp and what it is built on",
    "multidict": "aiohttp and what it is built on",
    "httpx2": "httpx2",
    "huggingface_hub": "the client library",
    "openai": "the client library",
    "pydantic": "the client library",
    "asyncio": "the event loop",
    "_clients": "ours: a request made and read",
    "_engine": "ours: queue, retry, rows",
    "_limits": "ours: the limit",
}
ELSE = "all else"


def layer(filename: str) -> str:
    """Whose code a file is."""
    parts = PurePath(filename).parts
    return next((named for part, named in LAYERS.items() if part in parts), ELSE)


def shares(profile: cProfile.Profile) -> Counter[str]:
    """Seconds by layer."""
    spent: Counter[str] = Counter()
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (filename, _, _), (_, _, own, _, callers) in stats.items():
        if filename == "~" and callers:
            for caller, (_, _, seconds, _) in callers.items():
                spent[layer(caller[0])] += seconds
        else:
            spent[layer(filename)] += own
    return spent


def measure(*, use_openai_client: bool) -> Counter[str]:
    """Seconds by layer of one client's requests."""
    profile = cProfile.Profile()

    async def switch(*, on: bool) -> None:
        if on:
            profile.enable()
        else:
            profile.disable()

    with (
        served() as endpoint,
        InferenceEndpointsLLM(
            base_url=endpoint.url, use_openai_client=use_openai_client, max_concurrency=AT_ONCE
        ) as llm,
    ):
        llm.generate([conversation(n) for n in range(2 * AT_ONCE)])
        Task(lambda: switch(on=True)).run()
        llm.generate([conversation(n) for n in range(ROWS)])
        Task(lambda: switch(on=False)).run()
    return shares(profile)


def main() -> None:
    """Print the table."""
    clients = {"hub client": False, "openai client": True}
    taken = {name: measure(use_openai_client=openai) for name, openai in clients.items()}
    rows = [
        (named, *(f"{100 * spent[named] / spent.total():.0f} %" for spent in taken.values()))
        for named in dict.fromkeys((*LAYERS.values(), ELSE))
    ]
    print_table(f"CPU of a request, {AT_ONCE} in flight, one run", ("code", *taken), rows)


if __name__ == "__main__":
    main()
