"""An endpoint that says "unavailable" (503) to what is above its slots, whatever it means."""

from __future__ import annotations

import asyncio
import random

import pytest
from scripted_client import ScriptedClient, answer, failure, run_virtual, scheduler_for

from distilabel_endpoints.records import Answer, Failure, FailureKind, Request

SLOTS, ROWS = 16, 1500


def full_above(slots: int, seconds: float, spread: float) -> _Counting:
    """Refuses at once what is more than `slots`; the rest takes about `seconds`."""
    rng = random.Random(7)

    async def script(_: Request) -> Answer | Failure:
        if client.in_flight > slots:
            await asyncio.sleep(0.005)
            client.refused += 1
            return failure(FailureKind.UNAVAILABLE, status=503, code="starting")
        await asyncio.sleep(seconds * rng.uniform(1 - spread, 1 + spread))
        return answer()

    client = _Counting(script)
    return client


class _Counting(ScriptedClient):
    """Counts what it refused."""

    refused: int = 0


@pytest.mark.parametrize("spread", [0.0, 0.5])
@pytest.mark.parametrize("seconds", [0.25, 4.0, 30.0])
def test_a_full_server_costs_few_requests_whatever_it_says(seconds: float, spread: float) -> None:
    """1,500 rows over 16 slots: 50 refused at most, no row failed, and little time lost."""

    async def main() -> None:
        client = full_above(SLOTS, seconds, spread)
        scheduler = scheduler_for(client)
        rows = [Request(ordinal=n, prompt=f"row {n}") for n in range(ROWS)]
        done: list[Answer | Failure] = []
        await scheduler.drive(rows, scheduler.complete, done.append)
        assert all(isinstance(outcome, Answer) for outcome in done)
        assert len(done) == ROWS
        assert client.refused <= 50
        assert asyncio.get_running_loop().time() <= 1.3 * ROWS * seconds / SLOTS

    run_virtual(main)
