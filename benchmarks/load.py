"""The same chats, sent by each client in a process of its own.

    python -m benchmarks.load CLIENT URL ROWS AT_ONCE WARM

AT_ONCE 0 sets nothing, which only our own clients take. Peers with an environment of their own are
in `peers/`; every other client is here, used as its documentation says. The bodies are the same.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.environments import python_of
from benchmarks.peers import PEERS
from benchmarks.spent import Load, Spent, Stopwatch, answer, read_answer, read_load

__all__ = ["contenders", "conversation", "flags_for", "gathered", "named", "spend"]

ROOT = Path(__file__).parents[1]
MODEL = "simulated-model"
MAX_TOKENS = 128

One = Callable[[int], Awaitable[Any]]
Client = Callable[[Load], Spent]


def conversation(n: int) -> list[dict[str, Any]]:
    """Row number `n`."""
    return [{"role": "user", "content": f"Row {n}"}]


async def gathered(one: One, rows: Iterable[int], at_once: int) -> None:
    """All rows, at most `at_once` in flight: what users write by hand."""
    gate = asyncio.Semaphore(at_once)

    async def gated(n: int) -> None:
        async with gate:
            await one(n)

    await asyncio.gather(*(gated(n) for n in rows))


@asynccontextmanager
async def raw_aiohttp(url: str) -> AsyncIterator[One]:
    """The least that a request costs with the HTTP client that ours is built on."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(n: int) -> None:
            body = {"model": MODEL, "messages": conversation(n), "max_tokens": MAX_TOKENS}
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                await response.json()

        yield one


@asynccontextmanager
async def stock_hub(url: str) -> AsyncIterator[One]:
    """`AsyncInferenceClient` as it comes."""
    from huggingface_hub import AsyncInferenceClient

    async with AsyncInferenceClient(base_url=url, token="none") as client:

        async def one(n: int) -> None:
            await client.chat_completion(conversation(n), model=MODEL, max_tokens=MAX_TOKENS)

        yield one


@asynccontextmanager
async def _openai(url: str, **arguments: Any) -> AsyncIterator[One]:
    from openai import AsyncOpenAI

    client: Any = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, **arguments)
    async with client:

        async def one(n: int) -> None:
            await client.chat.completions.create(
                model=MODEL, messages=conversation(n), max_tokens=MAX_TOKENS
            )

        yield one


def stock_openai(url: str) -> AbstractAsyncContextManager[One]:
    """`AsyncOpenAI` as it comes."""
    return _openai(url)


def openai_on_aiohttp(url: str) -> AbstractAsyncContextManager[One]:
    """`AsyncOpenAI` on its optional aiohttp client."""
    from openai import DefaultAioHttpClient

    return _openai(url, http_client=DefaultAioHttpClient())


def _by_hand(opened: Callable[[str], AbstractAsyncContextManager[One]]) -> Client:
    async def main(load: Load) -> Spent:
        assert load.at_once is not None
        async with opened(load.url) as one:
            await gathered(one, range(load.warm), load.at_once)
            with Stopwatch() as watch:
                await gathered(one, range(load.rows), load.at_once)
            return watch.spent()

    return lambda load: asyncio.run(main(load))


def _ours(*, use_openai_client: bool) -> Client:
    """`generate` of `InferenceEndpointsLLM`: the whole engine."""

    def run(load: Load) -> Spent:
        from distilabel_endpoints import InferenceEndpointsLLM

        with InferenceEndpointsLLM(
            base_url=load.url, use_openai_client=use_openai_client, max_concurrency=load.at_once
        ) as llm:
            llm.generate([conversation(n) for n in range(load.warm)])
            with Stopwatch() as watch:
                outputs = llm.generate([conversation(n) for n in range(load.rows)])
        assert all(text is not None for (text,) in outputs)
        return watch.spent()

    return run


CLIENTS: Mapping[str, Client] = {
    "ours-hub": _ours(use_openai_client=False),
    "ours-openai": _ours(use_openai_client=True),
    "aiohttp": _by_hand(raw_aiohttp),
    "hub": _by_hand(stock_hub),
    "openai": _by_hand(stock_openai),
    "openai-aiohttp": _by_hand(openai_on_aiohttp),
}
_NAMED: Mapping[str, str] = {
    "ours-hub": "ours, hub client",
    "ours-openai": "ours, openai client",
    "aiohttp": "raw aiohttp",
    "hub": "AsyncInferenceClient",
    "openai": "AsyncOpenAI",
    "openai-aiohttp": "AsyncOpenAI on aiohttp",
}


def contenders() -> list[str]:
    """The clients here and the peers whose environments were made."""
    return [*CLIENTS, *(name for name, peer in PEERS.items() if peer.installed)]


def named(client: str) -> str:
    """What tables call it."""
    return _NAMED.get(client) or PEERS[client].named


def flags_for(client: str) -> tuple[str, ...]:
    """What a client needs of the endpoint."""
    return PEERS[client].flags if client in PEERS else ()


def spend(client: str, load: Load) -> Spent:
    """Have a fresh process send the load."""
    if client in PEERS:
        peer = PEERS[client]
        words = [str(python_of(peer.environment)), "-m", f"benchmarks.peers.{peer.module}"]
    else:
        words = [sys.executable, "-m", "benchmarks.load", client]
    words += load.words
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return read_answer(done.stdout)


def main() -> None:
    """Send the load of the command line."""
    answer(CLIENTS[sys.argv[1]](read_load(sys.argv[2:])))


if __name__ == "__main__":
    main()
