"""The scheduler while a server fails everything, or only some rows: what is sent, what is filed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from scripted_client import ScriptedClient, answer, failure, run_virtual, scheduler_for

from distilabel_endpoints._engine.in_flight import Drain
from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints.errors import UnavailableError
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request

BROKEN = failure(FailureKind.TRANSIENT, status=500, code="server_error")
Outcomes = dict[int, Answer | Failure]


def client_of(fails: Callable[[Request, float], bool]) -> ScriptedClient:
    """Answers after a second, but for what `fails` at that time."""

    async def script(request: Request) -> Answer | Failure:
        await asyncio.sleep(1)
        now = asyncio.get_running_loop().time()
        return BROKEN if fails(request, now) else answer()

    return ScriptedClient(script)


async def driven(scheduler: Scheduler, rows: int, drain: Drain | None = None) -> Outcomes:
    outcomes: Outcomes = {}

    async def work(request: Request) -> tuple[int, Answer | Failure]:
        return request.ordinal, await scheduler.complete(request)

    def deliver(result: tuple[int, Answer | Failure]) -> None:
        assert result[0] not in outcomes
        outcomes[result[0]] = result[1]

    requests = (Request(ordinal=n, prompt=f"row {n}") for n in range(rows))
    try:
        await scheduler.drive(requests, work, deliver, drain)
    finally:
        statistics = scheduler.statistics()
        assert statistics.limiter.in_flight == statistics.waiting == statistics.delayed == 0
    return outcomes


@pytest.mark.promise("R8")
@pytest.mark.parametrize("seed", range(3))
def test_an_outage_fails_no_row_and_is_not_hammered(seed: int) -> None:
    """Ten minutes of nothing but 500s: a burst, a share of what was answered, and probes."""

    async def main() -> None:
        client = client_of(lambda _, now: 10 < now < 610)
        scheduler = scheduler_for(client, max_concurrency=8, seed=seed)
        outcomes = await driven(scheduler, 300)
        assert all(isinstance(outcome, Answer) for outcome in outcomes.values())
        assert len(outcomes) == 300
        sent = [
            request.ordinal
            for request, time in zip(client.sent, client.times, strict=True)
            if 10 < time < 609
        ]
        again = len(sent) - len(set(sent))
        answered = sum(time <= 9 for time in client.times)
        probes = 600 / 15 + 7
        assert again <= 50 + 0.2 * answered + probes
        assert max(client.times) < 700, "they all come back soon after"

    run_virtual(main)


def test_an_outage_that_lasts_ends_the_run_and_files_nothing() -> None:
    """Every row is still to be done; what is waited for is said meanwhile."""

    async def main() -> None:
        client = client_of(lambda *_: True)
        scheduler = scheduler_for(client)
        seen = set()

        async def look() -> None:
            while True:
                await asyncio.sleep(50)
                seen.add(scheduler.statistics().waiting_for)

        looking = asyncio.create_task(look())
        with pytest.raises(UnavailableError, match="nothing but failures for 9"):
            await driven(scheduler, 1000)
        looking.cancel()
        assert seen == {"the server fails every request"}
        assert 900 < asyncio.get_running_loop().time() < 930
        # Twice the window, the burst, and the probes.
        assert len(client.sent) < 2 * 64 + 50 + 70

    run_virtual(main)


@pytest.mark.parametrize("bad", [2, 3, 10])
def test_rows_that_always_fail_are_no_outage(bad: int) -> None:
    """Half, a third or a tenth of the rows fail and are filed; the others are answered."""

    async def main() -> None:
        client = client_of(lambda request, _: request.ordinal % bad == 0)
        outcomes = await driven(scheduler_for(client), 400)
        failed = [n for n, outcome in outcomes.items() if isinstance(outcome, Failure)]
        assert sorted(failed) == list(range(0, 400, bad))
        assert len(client.sent) <= 400 + 4.5 * len(failed)

    run_virtual(main)


def test_few_rows_fail_as_they_always_did() -> None:
    """Where the retries of all rows fit into the burst, five attempts each end it."""

    async def main() -> None:
        client = client_of(lambda *_: True)
        outcomes = await driven(scheduler_for(client), 12)
        assert [f.attempts for f in outcomes.values() if isinstance(f, Failure)] == [5] * 12
        assert asyncio.get_running_loop().time() < 60

    run_virtual(main)


@pytest.mark.parametrize("rows", [1, 10, 50])
def test_a_short_outage_among_the_last_rows_costs_seconds(rows: int) -> None:
    """The first one that is answered calls back the others, and no row fails for it."""

    async def main() -> None:
        client = client_of(lambda _, now: 100 <= now < 104)
        scheduler = scheduler_for(client, max_concurrency=64)
        await driven(scheduler, 200)
        await asyncio.sleep(99.5 - asyncio.get_running_loop().time())
        outcomes = await driven(scheduler, rows)
        assert all(isinstance(outcome, Answer) for outcome in outcomes.values())
        assert asyncio.get_running_loop().time() < 112

    run_virtual(main)


@pytest.mark.parametrize("rows", [30, 50])
def test_probes_among_the_last_rows_cost_them_nothing(rows: int) -> None:
    """A server that is down for good fails each of them after five attempts that are its own."""

    async def main() -> None:
        client = client_of(lambda *_: True)
        outcomes = await driven(scheduler_for(client, max_concurrency=64), rows)
        attempts = [f.attempts for f in outcomes.values() if isinstance(f, Failure)]
        assert len(attempts) == rows
        assert min(attempts) == 5
        assert asyncio.get_running_loop().time() < 300
        assert len(client.sent) <= 5 * rows + 40

    run_virtual(main)


def test_a_drain_does_not_wait_for_a_sign_of_life() -> None:
    """Rows whose retries wait leave at once, undone."""

    async def main() -> None:
        client = client_of(lambda *_: True)
        scheduler = scheduler_for(client)
        drain = Drain()
        driving = asyncio.create_task(driven(scheduler, 500, drain))
        await asyncio.sleep(200)
        drain.begin(30.0)
        assert await driving == {}
        assert asyncio.get_running_loop().time() <= 230

    run_virtual(main)


def test_a_second_outage_is_measured_from_its_own_start() -> None:
    """Two of ten minutes each, with answers between them, do not add up."""

    async def main() -> None:
        client = client_of(lambda _, now: 5 < now < 600 or 640 < now < 1240)
        outcomes = await driven(scheduler_for(client, max_concurrency=4), 300)
        assert len(outcomes) == 300
        assert all(isinstance(outcome, Answer) for outcome in outcomes.values())

    run_virtual(main)


@pytest.mark.promise("R8")
@pytest.mark.parametrize("slots", [16, 200])
def test_answers_that_were_on_their_way_are_no_sign_of_life(slots: int) -> None:
    """From one moment on all new attempts fail; what was in flight is still answered, late."""

    async def main() -> None:
        lengths = random.Random(0)

        async def script(request: Request) -> Answer | Failure:
            began = asyncio.get_running_loop().time()
            if 5 < began < 300:
                await asyncio.sleep(0.1)
                return BROKEN
            await asyncio.sleep(lengths.lognormvariate(0.0, 0.8))
            return answer()

        client = ScriptedClient(script)
        outcomes = await driven(scheduler_for(client, max_concurrency=slots), 1500)
        assert len(outcomes) == 1500
        assert all(isinstance(outcome, Answer) for outcome in outcomes.values())

    run_virtual(main)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("CUDA error: device-side assert", "the server fails every request: CUDA error: device-"),
        ("Internal Server Error", "the server fails every request"),
    ],
)
def test_what_the_server_says_is_shown_while_it_is_waited_for(message: str, shown: str) -> None:
    """Not only in the end; words that say nothing are left out."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            if request.ordinal < 20:
                return answer()
            return failure(FailureKind.TRANSIENT, status=500, message=message, code="server_error")

        scheduler = scheduler_for(ScriptedClient(script))
        rows = [Request(ordinal=n, prompt="x") for n in range(500)]
        drive = asyncio.create_task(scheduler.drive(rows, scheduler.complete, lambda _: None))
        await asyncio.sleep(200)
        waiting = scheduler.statistics().waiting_for
        assert waiting is not None
        assert waiting.startswith(shown)
        assert shown.endswith(":") or message in waiting or waiting == shown
        drive.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drive

    run_virtual(main)
