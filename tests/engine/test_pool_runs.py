"""Runs over several endpoints, in virtual time: how fast, and what failures do to them."""

from __future__ import annotations

import asyncio
import math

import pytest
from scripted_client import (
    ScriptedClient,
    answer,
    failure,
    pooled_scheduler_for,
    run_virtual,
    served,
)

from distilabel_endpoints._engine.scheduler import Scheduler
from distilabel_endpoints._limits.limiter import LimiterSettings
from distilabel_endpoints.errors import AccessError, AuthenticationError, RunError, UnavailableError
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request


def requests(count: int) -> list[Request]:
    return [Request(ordinal=n, prompt=f"row {n}") for n in range(count)]


async def drive(scheduler: Scheduler, count: int) -> list[Answer | Failure]:
    """What came of each row."""
    done: list[Answer | Failure] = []
    await scheduler.drive(requests(count), scheduler.complete, done.append)
    return done


def seconds(count: int, *servers: tuple[int, float], ceiling: int | None = None) -> float:
    """How long so many rows take on endpoints with so many slots and seconds a row."""

    async def main() -> float:
        clients = {f"http://{n}": served(*server) for n, server in enumerate(servers)}
        limits = LimiterSettings(max_concurrency=ceiling)
        scheduler = pooled_scheduler_for(clients, limits=limits)
        assert len(await drive(scheduler, count)) == count
        return asyncio.get_running_loop().time()

    return run_virtual(main)


def test_a_second_endpoint_doubles_the_speed_and_a_third_trebles_it() -> None:
    """Goodput is the endpoints' sum, to a twentieth, with nothing set."""
    one = seconds(6000, (64, 1.0))
    assert one / seconds(6000, *[(64, 1.0)] * 2) == pytest.approx(2, rel=0.05)
    assert one / seconds(6000, *[(64, 1.0)] * 3) == pytest.approx(3, rel=0.05)


def test_shares_follow_goodput() -> None:
    """An endpoint that is ten times as slow gets about a tenth; its last answers are awaited."""

    async def main() -> None:
        quick, slow = served(64, 1.0), served(64, 10.0)
        scheduler = pooled_scheduler_for({"quick": quick, "slow": slow})
        await drive(scheduler, 12_000)
        assert len(quick.sent) / len(slow.sent) == pytest.approx(10, rel=0.25)
        assert asyncio.get_running_loop().time() < 1.05 * 12_000 / (64 + 6.4) + 3 * 10

    run_virtual(main)


def test_under_a_ceiling_a_slow_endpoint_is_left_aside() -> None:
    """Where permits are what is scarce, they go to who answers sooner."""
    alone = seconds(4000, (64, 1.0), ceiling=64)
    assert seconds(4000, (64, 1.0), (64, 10.0), ceiling=64) < 1.3 * alone


def test_the_ceiling_is_never_exceeded_over_the_pool() -> None:
    """At no instant are more than `max_concurrency` in flight, all endpoints together."""

    async def main() -> None:
        in_flight = most = 0

        async def script(_: Request) -> Answer | Failure:
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(1)
            in_flight -= 1
            return answer()

        clients = {name: ScriptedClient(script) for name in "abc"}
        limits = LimiterSettings(max_concurrency=7)
        await drive(pooled_scheduler_for(clients, limits=limits), 200)
        assert most == 7
        assert asyncio.get_running_loop().time() < 200 / 7 + 3

    run_virtual(main)


def dying(at: float, kind: FailureKind, status: int, until: float = math.inf) -> ScriptedClient:
    """An endpoint with 64 slots that answers in a second; from `at` to `until` it fails at once."""
    slots = asyncio.Semaphore(64)

    async def script(_: Request) -> Answer | Failure:
        await asyncio.sleep(0.01)
        if at <= asyncio.get_running_loop().time() < until:
            return failure(kind, status=status)
        async with slots:
            await asyncio.sleep(1)
        return answer()

    return ScriptedClient(script)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.UNAVAILABLE, 503),
        (FailureKind.TRANSIENT, 500),
        (FailureKind.TRANSIENT, 502),
        (FailureKind.BAD_RESPONSE, 200),
        (FailureKind.THROTTLE, 429),
    ],
)
def test_an_endpoint_that_dies_costs_no_row_and_little_time(kind: FailureKind, status: int) -> None:
    """The others take over, however it fails; it is asked now and then, and no more."""

    async def main() -> None:
        dead = dying(20.0, kind, status)
        scheduler = pooled_scheduler_for({"dead": dead, "well": served(64, 1.0)})
        done = await drive(scheduler, 6000)
        assert len(done) == 6000
        assert all(isinstance(outcome, Answer) for outcome in done)
        assert asyncio.get_running_loop().time() < 105
        assert sum(at > 30 for at in dead.times) < 150

    run_virtual(main)


def test_one_endpoint_may_be_away_for_longer_than_is_waited_for() -> None:
    """`wait_ready` is for all of them: while another answers, nothing is stopped."""

    async def main() -> None:
        dead = dying(10.0, FailureKind.UNAVAILABLE, 503)
        clients = {"dead": dead, "well": served(32, 1.0)}
        done = await drive(pooled_scheduler_for(clients, wait_ready=30), 4000)
        assert all(isinstance(outcome, Answer) for outcome in done)
        assert max(dead.times) > 60

    run_virtual(main)


def test_an_endpoint_that_comes_back_is_used_again() -> None:
    """After an outage of a minute it has its share of the rest."""

    async def main() -> None:
        flaky = dying(10.0, FailureKind.UNAVAILABLE, 503, until=70.0)
        await drive(pooled_scheduler_for({"flaky": flaky, "well": served(32, 1.0)}), 8000)
        assert sum(at > 90 for at in flaky.times) > 500

    run_virtual(main)


def test_a_pause_at_one_endpoint_is_none_for_the_others() -> None:
    """429 with `Retry-After: 60`: nothing goes there for a minute, and nobody waits."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def script(_: Request) -> Answer | Failure:
            if loop.time() >= 5 and not any(5.5 < at < 64 for at in paused.times):
                return failure(FailureKind.THROTTLE, status=429, retry_after=60.0)
            await asyncio.sleep(1)
            return answer()

        paused = ScriptedClient(script)
        scheduler = pooled_scheduler_for({"paused": paused, "well": served(32, 1.0)})
        done = await drive(scheduler, 3000)
        assert all(isinstance(outcome, Answer) for outcome in done)
        assert not any(6.5 < at < 64 for at in paused.times)
        assert scheduler.statistics().waiting_for is None

    run_virtual(main)


def test_with_all_endpoints_away_the_run_waits_and_then_stops() -> None:
    """As with one: probes for `wait_ready` seconds, then the end; no row has failed."""

    async def main() -> None:
        clients = {f"http://{n}": dying(10.0, FailureKind.UNAVAILABLE, 503) for n in "ab"}
        scheduler = pooled_scheduler_for(clients, wait_ready=120)
        done: list[Answer | Failure] = []
        with pytest.raises(UnavailableError, match="none of the 2 endpoints answers; http://"):
            await scheduler.drive(requests(5000), scheduler.complete, done.append)
        assert all(isinstance(outcome, Answer) for outcome in done)
        assert 130 <= asyncio.get_running_loop().time() < 160
        assert sum(at > 20 for client in clients.values() for at in client.times) < 50

    run_virtual(main)


def test_an_outage_of_all_that_ends_in_time_costs_nothing() -> None:
    """Both away for a minute: every row is answered afterwards."""

    async def main() -> None:
        clients = {n: dying(5.0, FailureKind.UNAVAILABLE, 503, until=65.0) for n in "ab"}
        done = await drive(pooled_scheduler_for(clients), 4000)
        assert all(isinstance(outcome, Answer) for outcome in done)
        assert 65 < asyncio.get_running_loop().time() < 110

    run_virtual(main)


def test_a_retry_goes_to_another_endpoint() -> None:
    """A row that one endpoint cannot do is done by the other, in two attempts."""

    async def main() -> None:
        async def half(request: Request) -> Answer | Failure:
            await asyncio.sleep(1)
            if request.ordinal % 4 == 0:
                return failure(FailureKind.TRANSIENT, status=500)
            return answer()

        picky, well = ScriptedClient(half), served(64, 1.0)
        done = await drive(pooled_scheduler_for({"picky": picky, "well": well}), 400)
        assert all(isinstance(outcome, Answer) for outcome in done)
        tried = [request.ordinal for request in picky.sent]
        assert len(tried) == len(set(tried))

    run_virtual(main)


def test_attempts_are_counted_over_all_endpoints() -> None:
    """A row that fails wherever it goes is filed after five attempts, not five at each."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            await asyncio.sleep(1)
            if request.ordinal == 7:
                return failure(FailureKind.TRANSIENT, status=500)
            return answer()

        clients = {name: ScriptedClient(script) for name in "ab"}
        done = await drive(pooled_scheduler_for(clients, poison_attempts=99), 200)
        (filed,) = [outcome for outcome in done if isinstance(outcome, Failure)]
        assert filed.attempts == 5
        asked = [n for n in "ab" for r in clients[n].sent if r.ordinal == 7]
        assert sorted(asked) in (list("aaabb"), list("aabbb"))

    run_virtual(main)


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (403, AccessError)])
def test_what_rules_out_one_endpoint_ends_the_run_with_its_name(
    status: int, error: type[RunError]
) -> None:
    """Though the other answers; nothing is filed as failed."""

    async def main() -> None:
        condemned = dying(5.0, FailureKind.RUN, status)
        scheduler = pooled_scheduler_for({"http://a": condemned, "http://b": served(64, 1.0)})
        done: list[Answer | Failure] = []
        with pytest.raises(error, match="http://a: no") as caught:
            await scheduler.drive(requests(5000), scheduler.complete, done.append)
        assert "Leave this endpoint out" in (caught.value.failure.hint or "")
        assert all(isinstance(outcome, Answer) for outcome in done)
        assert asyncio.get_running_loop().time() < 20

    run_virtual(main)


def test_an_endpoint_that_refuses_every_row_files_none() -> None:
    """What the other one answers does not settle whose refusals they are: the run stops."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            await asyncio.sleep(1 + 0.37 * (request.ordinal % 11))
            return failure(FailureKind.ROW, status=422, message="too long")

        clients = {"http://a": ScriptedClient(script), "http://b": served(64, 1.0)}
        scheduler = pooled_scheduler_for(clients)
        done: list[Answer | Failure] = []
        with pytest.raises(RunError, match=r"http://a: .* refused alike") as caught:
            await scheduler.drive(requests(1000), scheduler.complete, done.append)
        assert caught.value.failure.code == "systemic"
        assert all(isinstance(outcome, Answer) for outcome in done)

    run_virtual(main)


def test_a_row_that_each_endpoint_would_refuse_is_filed_when_its_own_has_answered() -> None:
    """One bad row in a pool of good endpoints is that row's failure."""

    async def main() -> None:
        async def script(request: Request) -> Answer | Failure:
            await asyncio.sleep(1)
            if request.ordinal == 3:
                return failure(FailureKind.ROW, status=400)
            return answer()

        clients = {name: ScriptedClient(script) for name in "ab"}
        done = await drive(pooled_scheduler_for(clients), 100)
        assert sum(isinstance(outcome, Failure) for outcome in done) == 1
        assert sum(len(client.sent) for client in clients.values()) == 100

    run_virtual(main)


def test_each_endpoint_gets_the_options_in_its_own_words() -> None:
    """A request that speaks two dialects arrives in the right one."""

    async def main() -> None:
        clients = {"a": served(4, 1.0), "b": served(4, 1.0)}
        scheduler = pooled_scheduler_for(clients)
        scheduler._pool.members[1].dialect = 1
        rows = [
            Request(ordinal=n, options={"stop": []}, dialects=({"stop_sequences": []},))
            for n in range(20)
        ]
        await scheduler.drive(rows, scheduler.complete, lambda _: None)
        assert {str(r.options) for r in clients["a"].sent} == {"{'stop': []}"}
        assert {str(r.options) for r in clients["b"].sent} == {"{'stop_sequences': []}"}

    run_virtual(main)


def test_cancelling_gives_every_permit_back_and_closing_closes_all() -> None:
    """Permits out are permits in at each endpoint; `aclose` reaches every client."""

    async def main() -> None:
        clients = {"a": served(4, 1.0), "b": served(4, 1.0)}
        limits = LimiterSettings(max_concurrency=8)
        scheduler = pooled_scheduler_for(clients, limits=limits)
        task = asyncio.ensure_future(drive(scheduler, 100))
        await asyncio.sleep(1.5)
        assert scheduler.statistics().limiter.in_flight == 8
        assert {n: e.in_flight for n, e in scheduler.statistics().endpoints.items()} == {
            "a": 4,
            "b": 4,
        }
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scheduler.statistics().limiter.in_flight == 0
        assert isinstance(await scheduler.complete(requests(1)[0]), Answer)
        await scheduler.aclose()
        assert all(client.closed for client in clients.values())

    run_virtual(main)
