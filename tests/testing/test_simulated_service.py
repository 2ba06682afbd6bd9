"""Slots, queues, times of service and refusals, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_client import now, run_virtually, virtual_endpoint

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.testing import (
    SERVERS,
    Latency,
    Lengths,
    Limits,
    Settings,
    Throughput,
    greedy_bound,
)
from distilabel_endpoints.testing.limits import Bucket, Door
from distilabel_endpoints.testing.service import SharedServer

CONSTANT = Lengths(10, spread="constant")


def test_slots_bound_what_runs_and_the_rest_waits_in_order() -> None:
    """Four slots of 10 s serve ten requests in 30 s, in order of arrival."""

    async def main() -> None:
        async with virtual_endpoint(slots=4, latency=Latency(10)) as (endpoint, talker):
            await asyncio.gather(*(talker.chat(str(i)) for i in range(10)))
            statistics = endpoint.statistics()
            starts = [record.start for record in endpoint.requests]
            assert now() == 30
            assert starts == sorted(starts, key=float)  # type: ignore[arg-type]
            assert (statistics.peak_running, statistics.peak_in_flight) == (4, 10)
            assert (statistics.in_flight, statistics.running) == (0, 0)

    run_virtually(main())


def test_a_client_that_leaves_frees_its_place() -> None:
    """Running or waiting, a request whose client is gone holds nobody up."""

    async def main() -> None:
        async with virtual_endpoint(slots=1, latency=Latency(100)) as (endpoint, talker):
            for _ in range(3):
                with contextlib.suppress(TimeoutError):
                    await talker.chat(timeout=5)
            waiting = [asyncio.create_task(talker.chat(str(i), timeout=20)) for i in range(3)]
            await asyncio.gather(*waiting, return_exceptions=True)
            started = now()
            assert (await talker.chat())[0] == 200
            assert now() - started == 100
            assert endpoint.statistics().aborted == 6
            assert all(record.aborted for record in endpoint.requests[:6])

    run_virtually(main())


def test_latencies_are_the_same_sequence_for_every_client() -> None:
    """Drawn in the order of slots from the seed, whatever is asked."""

    async def latencies(word: str, seed: int) -> tuple[float, ...]:
        latency = Latency(1, sigma=0.8)
        async with virtual_endpoint(latency=latency, seed=seed) as (endpoint, talker):
            for i in range(5):
                await talker.chat(f"{word} {i}")
            spent = [record.end - record.start for record in endpoint.requests]  # type: ignore[operator]
            assert endpoint.latencies == pytest.approx(spent, abs=1e-5)
            return endpoint.latencies

    first = run_virtually(latencies("a", 1))
    assert first == run_virtually(latencies("b", 1))
    assert first != run_virtually(latencies("a", 2))


def test_latency_has_its_mean() -> None:
    """`mean` is the mean of the lognormal draw, too."""
    rng = Random(1)
    draws = [Latency(2, sigma=0.8).draw(1, rng) for _ in range(20_000)]
    assert sum(draws) / len(draws) == pytest.approx(2, rel=0.03)


def test_latency_adds_its_parts() -> None:
    """Prefill, the draw, and the time of each token."""
    assert Latency(1, prefill=0.5, per_token=0.25).draw(8, Random(0)) == 3.5


def test_greedy_bound_is_list_scheduling() -> None:
    """In order, each on the first free slot: the least that a queueing endpoint needs."""
    assert greedy_bound([3, 1, 1, 1, 5], 2) == 8
    assert greedy_bound([], 4) == 0


def test_greedy_bound_is_what_a_saturating_client_takes() -> None:
    """A client that sends everything at once needs exactly the bound of the logged latencies."""

    async def main() -> None:
        latency = Latency(1, sigma=1)
        async with virtual_endpoint(slots=7, latency=latency) as (endpoint, talker):
            await asyncio.gather(*(talker.chat(str(i)) for i in range(60)))
            assert now() == pytest.approx(greedy_bound(endpoint.latencies, 7))

    run_virtually(main())


CURVE = Throughput(((1, 10), (2, 20), (4, 30)), prefill=0)


@pytest.mark.parametrize(
    ("running", "rate"), [(1, 10), (2, 20), (3, 25), (4, 30), (100, 30)], ids=str
)
def test_throughput_is_linear_between_points_and_flat_after(running: int, rate: float) -> None:
    """Rates at and between points."""
    assert CURVE.rate(running) == rate


def test_throughput_below_its_first_point_comes_from_zero() -> None:
    """A curve measured from 10 on is a line from the origin below."""
    assert Throughput(((10, 100.0),)).rate(3) == pytest.approx(30)


@pytest.mark.parametrize("points", [(), ((0, 5.0),), ((1, 0.0),)])
def test_throughput_refuses_senseless_points(points: Any) -> None:
    """No points, none running and no tokens are errors."""
    with pytest.raises(ConfigurationError):
        Throughput(points)


def test_shared_server_shares_equally() -> None:
    """Two requests of 10 and 30 tokens at 20 tokens/s: one ends at 1 s, the other at 3 s."""

    async def main() -> None:
        server = SharedServer(CURVE)
        ends: dict[int, float] = {}

        async def one(tokens: int) -> None:
            await server.work(tokens)
            ends[tokens] = now()

        await asyncio.gather(one(10), one(30))
        assert ends == {10: pytest.approx(1), 30: pytest.approx(3)}

    run_virtually(main())


def test_shared_server_gives_on_what_a_leaver_had() -> None:
    """When one of two leaves, the other gets the server's rate for one."""

    async def main() -> None:
        server = SharedServer(CURVE)
        leaver = asyncio.create_task(server.work(1000))
        stayer = asyncio.create_task(server.work(30))
        await asyncio.sleep(1)
        leaver.cancel()
        await stayer
        assert now() == pytest.approx(3)

    run_virtually(main())


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 20)), min_size=1, max_size=25))
def test_shared_server_does_exactly_its_work(jobs: list[tuple[int, int]]) -> None:
    """Events agree with a fine time-stepped simulation of the same server."""

    async def main() -> list[float]:
        server = SharedServer(CURVE)

        async def one(tokens: int, start: int) -> float:
            await asyncio.sleep(start)
            await server.work(tokens)
            return now()

        return list(await asyncio.gather(*(one(*job) for job in jobs)))

    assert run_virtually(main()) == pytest.approx(_stepped(jobs), abs=0.05 + 0.01 * len(jobs))


def _stepped(jobs: list[tuple[int, int]]) -> list[float]:
    step, time = 0.01, 0.0
    left = [float(tokens) for tokens, _ in jobs]
    ends = [0.0] * len(jobs)
    while any(ends[i] == 0 for i in range(len(jobs))):
        running = [i for i, (_, start) in enumerate(jobs) if start <= time + 1e-9 and not ends[i]]
        time += step
        for i in running:
            left[i] -= CURVE.rate(len(running)) / len(running) * step
            if left[i] <= 1e-9:
                ends[i] = time
    return ends


def test_fluid_endpoint_serves_at_its_rate() -> None:
    """Eight requests of ten tokens on a curve of 30 tokens/s take 80/30 s and the prefill."""

    async def main() -> None:
        curve = Throughput(CURVE.points, prefill=0.5)
        async with virtual_endpoint(latency=curve, lengths=CONSTANT) as (endpoint, talker):
            await asyncio.gather(*(talker.chat(str(i)) for i in range(8)))
            assert now() == pytest.approx(80 / 30 + 0.5)
            assert endpoint.latencies == pytest.approx([80 / 30 + 0.5] * 8)

    run_virtually(main())


def test_n_answers_are_n_times_the_work() -> None:
    """`n` choices take the tokens of all of them."""

    async def main() -> None:
        latency = Latency(per_token=1)
        async with virtual_endpoint(latency=latency, lengths=CONSTANT) as (_, talker):
            await talker.chat(n=3)
            assert now() == 30

    run_virtually(main())


@pytest.mark.parametrize("refusal", [429, 503])
def test_a_full_queue_refuses(refusal: Any) -> None:
    """Beyond slots and queue, the refusal that was set; what was admitted is served."""

    async def main() -> None:
        limits = Limits(queue=2, refusal=refusal)
        async with virtual_endpoint(slots=3, latency=Latency(1), limits=limits) as (_, talker):
            answers = await asyncio.gather(*(talker.chat(str(i)) for i in range(9)))
            statuses = [status for status, _ in answers]
            assert statuses == [200] * 5 + [refusal] * 4

    run_virtually(main())


def test_request_rate_is_a_bucket_of_a_tenth() -> None:
    """60 a minute: six at once, then one a second."""

    async def main() -> None:
        async with virtual_endpoint(limits=Limits(requests_per_minute=60)) as (_, talker):
            first = [(await talker.chat())[0] for _ in range(8)]
            assert first == [200] * 6 + [429] * 2
            await asyncio.sleep(3)
            assert [(await talker.chat())[0] for _ in range(4)] == [200] * 3 + [429]

    run_virtually(main())


def test_token_rate_counts_prompts_and_answers() -> None:
    """600 tokens a minute: 60 in the bucket, eleven a request."""

    async def main() -> None:
        limits = Limits(tokens_per_minute=600)
        async with virtual_endpoint(limits=limits, lengths=CONSTANT) as (_, talker):
            statuses = [(await talker.chat())[0] for _ in range(7)]
            assert statuses == [200] * 5 + [429] * 2

    run_virtually(main())


def test_buckets_say_how_they_stand() -> None:
    """Where switched on: `Retry-After` on a refusal, rate headers on everything."""

    async def main() -> None:
        limits = Limits(requests_per_minute=10, retry_after=True, rate_headers=True)
        body = {"model": "simulated-model", "messages": [{"role": "user", "content": "x"}]}
        async with virtual_endpoint(limits=limits) as (_, talker):
            async with talker.raw("/v1/chat/completions", body) as response:
                assert response.headers["x-ratelimit-limit-requests"] == "10"
                assert response.headers["x-ratelimit-remaining-requests"] == "0"
                assert response.headers["x-ratelimit-reset-requests"] == "6000ms"
            async with talker.raw("/v1/chat/completions", body) as response:
                assert response.status == 429
                assert response.headers["Retry-After"] == "6"
            await asyncio.sleep(6)
            assert (await talker.chat())[0] == 200

    run_virtually(main())


def test_a_request_larger_than_its_bucket_goes_when_it_is_full() -> None:
    """Or it could never go at all."""
    bucket = Bucket(60)
    assert bucket.wait(100, 0) == 0
    bucket.take(100)
    assert bucket.wait(100, 50) == pytest.approx(50)


def test_random_refusals_come_at_their_chance() -> None:
    """Half of two thousand, to a few percent, and the same ones for the same seed."""
    settings = Settings(limits=Limits(random_refusals=0.5), seed=4)
    doors = [Door(settings), Door(settings)]
    refused = [[door.refuse(1, 0.0) is not None for _ in range(2000)] for door in doors]
    assert refused[0] == refused[1]
    assert sum(refused[0]) == pytest.approx(1000, rel=0.06)


def test_gateway_kills_what_is_too_old_and_frees_it() -> None:
    """504 at the age, waiting included; the slot is free for the next."""

    async def main() -> None:
        limits = Limits(gateway_timeout=60)
        async with virtual_endpoint(slots=1, latency=Latency(50), limits=limits) as (_, talker):
            answers = await asyncio.gather(*(talker.chat(str(i)) for i in range(3)))
            assert [status for status, _ in answers] == [200, 504, 504]
            assert "504" in answers[1][1]
            assert now() == 60
            assert (await talker.chat())[0] == 200

    run_virtually(main())


def test_gateway_lets_a_begun_stream_live() -> None:
    """A stream of 100 s outlives a gateway of 60 s, since it began before."""

    async def main() -> None:
        limits = Limits(gateway_timeout=60)
        latency = Latency(100)
        async with virtual_endpoint(latency=latency, limits=limits, lengths=CONSTANT) as (
            _,
            talker,
        ):
            status, text = await talker.chat(stream=True)
            assert status == 200
            assert text.endswith("data: [DONE]\n\n")
            assert now() == pytest.approx(100)

    run_virtually(main())


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_built_in_servers_serve(name: str) -> None:
    """Each of the nine serves a client of eight, by its own rules and at its own rate."""

    async def main() -> tuple[int, float]:
        async with virtual_endpoint(**_changes(SERVERS[name])) as (endpoint, talker):

            async def worker(index: int) -> int:
                done = 0
                while now() < 300 and done < 50:
                    status, _ = await talker.chat(f"{index} {done} {now()}")
                    done += status == 200
                    if status != 200:
                        await asyncio.sleep(1)
                return done

            done = sum(await asyncio.gather(*(worker(i) for i in range(8))))
            return done, endpoint.statistics().output_tokens / now()

    done, rate = run_virtually(main())
    assert done > 20
    assert rate < 1_900


def _changes(settings: Settings) -> Any:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}
