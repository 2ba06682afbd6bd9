"""P1 to P3: how near a run comes to the least time its latencies allow.

Efficiency is the greedy bound over the wall time (latency lognormal, mean 1 s, sigma 0.8). Beside
our two clients with nothing set: raw aiohttp and both stock clients, told the number of slots.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from huggingface_hub import AsyncInferenceClient
from openai import AsyncOpenAI

from benchmarks.endpoint import print_table, served
from distilabel import InferenceEndpointsLLM

One = Callable[[int], Awaitable[Any]]


@dataclass(frozen=True)
class Scenario:
    """An endpoint, and how many rows it is given."""

    name: str
    slots: int
    rows: int
    refuses: bool = False

    @property
    def flags(self) -> list[str]:
        flags = ["--slots", str(self.slots), "--latency", "1", "--sigma", "0.8"]
        return [*flags, "--queue", "0"] if self.refuses else flags


SCENARIOS = (
    Scenario("64 slots, queueing", 64, 4_000),
    Scenario("512 slots, queueing", 512, 30_000),
    Scenario("256 slots, refusing", 256, 15_000, refuses=True),
)


def conversation(n: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"Row {n}"}]


async def gathered(one: One, rows: int, at_once: int) -> None:
    """All rows, at most `at_once` in flight: what users write by hand."""
    gate = asyncio.Semaphore(at_once)

    async def gated(n: int) -> None:
        async with gate:
            await one(n)

    await asyncio.gather(*(gated(n) for n in range(rows)))


def raw_aiohttp(url: str, scenario: Scenario) -> None:
    async def main() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(n: int) -> None:
                body = {"model": "simulated-model", "messages": conversation(n)}
                async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                    await response.json()

            await gathered(one, scenario.rows, scenario.slots)

    asyncio.run(main())


def stock_hub(url: str, scenario: Scenario) -> None:
    async def main() -> None:
        async with AsyncInferenceClient(base_url=url, token="none") as client:

            async def one(n: int) -> None:
                await client.chat_completion(
                    messages=conversation(n),
                    model="simulated-model",
                )

            await gathered(one, scenario.rows, scenario.slots)

    asyncio.run(main())


def stock_openai(url: str, scenario: Scenario) -> None:
    async def main() -> None:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:

            async def one(n: int) -> None:
                await client.chat.completions.create(
                    model="simulated-model",
                    messages=conversation(n),  # type: ignore[arg-type]
                )

            await gathered(one, scenario.rows, scenario.slots)

    asyncio.run(main())


def ours(
    *, use_openai_client: bool = False, given: bool = False
) -> Callable[[str, Scenario], None]:
    def run(url: str, scenario: Scenario) -> None:
        ceiling = scenario.slots if given else None
        with InferenceEndpointsLLM(
            base_url=url, use_openai_client=use_openai_client, max_concurrency=ceiling
        ) as llm:
            outputs = llm.generate([conversation(n) for n in range(scenario.rows)])
        assert all(text is not None for (text,) in outputs)

    return run


CLIENTS: dict[str, Callable[[str, Scenario], None]] = {
    "ours, hub client, nothing set": ours(),
    "ours, openai client, nothing set": ours(use_openai_client=True),
    "ours, hub client, max_concurrency given": ours(given=True),
    "raw aiohttp, slots in flight": raw_aiohttp,
    "AsyncInferenceClient stock, slots in flight": stock_hub,
    "AsyncOpenAI stock, slots in flight": stock_openai,
}


def measure(scenario: Scenario, run: Callable[[str, Scenario], None]) -> tuple[str, ...]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    with served(*scenario.flags) as endpoint:
        started = time.monotonic()
        run(endpoint.url, scenario)
        wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (
        f"{wall:.1f}",
        f"{endpoint.bound(scenario.slots) / wall:.3f}",
        f"{100 * endpoint.rejected:.2f} %",
        str(endpoint.counted["peak_in_flight"]),
        f"{1000 * cpu / scenario.rows:.2f}",
    )


def main() -> None:
    heads = ("client", "wall s", "efficiency", "rejected", "in flight at most", "CPU ms/row")
    for scenario in SCENARIOS:
        rows = [(name, *measure(scenario, run)) for name, run in CLIENTS.items()]
        print_table(f"{scenario.name}, {scenario.rows:,} rows", heads, rows)


if __name__ == "__main__":
    main()
