"""P11: tokens a second of a real llama.cpp with 4 slots, ours with nothing set over a steady load.

    .venv/bin/python -m benchmarks llama

The embedded endpoint with SmolLM2-135M-Instruct, one process for all. The steady loads are raw
aiohttp with a fixed number in flight, the same prompts and the same limit on tokens; they and our
two clients take turns, forwards and backwards. The model needs both cores of a small machine, where
single runs differ by a tenth: hence many short ones. P11 is the median over the rounds of ours over
the steady load of the same round, of that which is the fastest on the whole; half of the rounds lie
between the two figures beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median, quantiles
from typing import Any

import aiohttp

from benchmarks.load import gathered
from benchmarks.tables import Bar, print_bars, print_table, size
from benchmarks.turns import in_turns
from distilabel_endpoints import InferenceEndpointsLLM, LocalEndpoint

SLOTS = 4
STEADY = (4, 16)
ROWS = size(40, 8)
TOKENS = size(48, 8)
ROUNDS = size(21, 2)
SUBJECTS = ("rain", "bread", "a lighthouse", "prime numbers", "the violin", "moss", "trade winds")


def prompts() -> list[list[dict[str, Any]]]:
    """Short questions, no two alike."""
    asked = (f"Number {n}: tell me about {SUBJECTS[n % len(SUBJECTS)]}." for n in range(ROWS))
    return [[{"role": "user", "content": text}] for text in asked]


def steady(url: str, at_once: int) -> int:
    """Output tokens of all rows, so many in flight."""

    async def main() -> int:
        total = 0
        asked = prompts()
        async with aiohttp.ClientSession() as session:

            async def one(n: int) -> None:
                nonlocal total
                body = {"messages": asked[n], "max_tokens": TOKENS, "temperature": 0.0}
                async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                    answer = await response.json()
                total += answer["usage"]["completion_tokens"]

            await gathered(one, range(ROWS), at_once)
        return total

    return asyncio.run(main())


def ours(url: str, *, use_openai_client: bool = False) -> int:
    """The same by `generate_outputs`, with nothing set."""
    with InferenceEndpointsLLM(base_url=url, use_openai_client=use_openai_client) as llm:
        outputs = llm.generate_outputs(prompts(), max_new_tokens=TOKENS, temperature=0.0)
    return sum(output["statistics"]["output_tokens"][0] or 0 for output in outputs)


def speed(work: Callable[[], int]) -> float:
    """Tokens a second."""
    started = time.monotonic()
    tokens = work()
    return tokens / (time.monotonic() - started)


def main() -> None:
    """Print the table and the target."""
    with LocalEndpoint(slots=SLOTS) as endpoint:
        url = endpoint.base_url
        loads: dict[str, Callable[[], int]] = {
            **{f"raw aiohttp, {k} in flight": partial(steady, url, k) for k in STEADY},
            "ours, hub client, nothing set": partial(ours, url),
            "ours, openai client, nothing set": partial(ours, url, use_openai_client=True),
        }
        steady(url, SLOTS)
        works = {name: partial(speed, work) for name, work in loads.items()}
        taken = in_turns("llama", ROUNDS, works)
    fastest = max(
        (name for name in loads if name.startswith("raw")), key=lambda n: median(taken[n])
    )
    shares = {name: _shares(speeds, taken[fastest]) for name, speeds in taken.items()}
    rows = [
        (name, f"{median(taken[name]):.1f}", f"{max(taken[name]):.1f}", *_shown(share))
        for name, share in shares.items()
    ]
    title = f"llama.cpp, {SLOTS} slots, {ROWS} rows of at most {TOKENS} tokens, {ROUNDS} rounds"
    heads = ("load", "tokens/s, median", "best", "over the best steady load", "half of the rounds")
    print_table(title, heads, rows)
    least = min(median(share) for name, share in shares.items() if name.endswith("nothing set"))
    print_bars(Bar("P11", "nothing set, over the best steady load", least, 0.97, at_least=True))


def _shares(speeds: Sequence[float], steady: Sequence[float]) -> list[float]:
    """One speed over the other, round by round."""
    return [ours / theirs for ours, theirs in zip(speeds, steady, strict=True)]


def _shown(shares: Sequence[float]) -> tuple[str, str]:
    """Their median, and the quartiles around it."""
    low, middle, high = quantiles(shares, method="inclusive")
    return f"{middle:.3f}", f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    main()
