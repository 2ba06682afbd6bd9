"""The same broken endpoints for our clients, for both libraries as they come, and for distilabel.

    python -m benchmarks reliability --write

Real sockets, real waiting, all cases at once: two to three minutes, and one more where the
environment of distilabel 1.5.3 has to be made first. `matrix.py` holds the faults, `stage.py` plays
them, `worker.py` is the client's side, `verdicts.py` says it in tables.
"""

from __future__ import annotations

import asyncio
import logging

from benchmarks.reliability.stage import AT_ONCE, CONTENDERS, Contender, Report, measure
from benchmarks.reliability.verdicts import print_reports

__all__ = ["main"]


def main() -> None:
    """Measure and print."""
    # Clients that leave in the middle of an answer are the point, not an error of the server.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    print_reports(asyncio.run(_all_of_them()))


async def _all_of_them() -> list[Report]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated(contender: Contender) -> Report:
        async with gate:
            return await measure(contender)

    return await asyncio.gather(*(gated(contender) for contender in CONTENDERS))
