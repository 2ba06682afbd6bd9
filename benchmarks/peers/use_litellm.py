"""`litellm.acompletion`, so many in flight: URL ROWS AT_ONCE WARM. Runs in its own environment."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from benchmarks.spent import Load, Spent, Stopwatch, answer, read_load


def _completion() -> Any:
    # Or it fetches a price list from the network at import.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm  # type: ignore[import-not-found]

    litellm.suppress_debug_info = True
    return litellm.acompletion


async def _send(load: Load) -> Spent:
    completion, gate = _completion(), asyncio.Semaphore(load.at_once or 1)

    async def one(n: int) -> None:
        async with gate:
            await completion(
                model="openai/simulated-model",
                api_base=f"{load.url}/v1",
                api_key="none",
                messages=[{"role": "user", "content": f"Row {n}"}],
                max_tokens=128,
                num_retries=0,
            )

    await asyncio.gather(*(one(n) for n in range(load.warm)))
    with Stopwatch() as watch:
        await asyncio.gather(*(one(n) for n in range(load.rows)))
    return watch.spent()


if __name__ == "__main__":
    answer(asyncio.run(_send(read_load(sys.argv[1:]))))
